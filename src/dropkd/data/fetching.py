"""Brings a file from a URL to this machine, trying again where trying again may help."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from dropkd.errors import DataError

__all__ = ["Fetched", "NotThereError", "fetch"]

_LOG = logging.getLogger(__name__)
# Seconds before the next try; a server that restarts, or asks for patience, is back after these.
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
_TIMEOUT_SECONDS = 60
_PIECE = 2**20
# Too early or too many requests, and what servers say while they are not well.
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Fetched:
    """What was brought.

    Args:
        bytes: how many.
        sha256: their hash, in hexadecimal digits.
    """

    bytes: int
    sha256: str


class NotThereError(DataError):
    """Where it was looked for is nothing that may be read."""


class _PassingError(Exception):
    """What may be over at the next try."""


def fetch(url: str, target: Path, *, limit: int | None = None) -> Fetched:
    """Write the content of a URL to a file.

    ``http`` and ``https`` need nothing more; other schemes are those of fsspec.

    Args:
        url: where the content is.
        target: the file to write; what a failed try has written is overwritten by the next one.
        limit: how many bytes there may be.

    Raises:
        NotThereError: there is nothing at the URL.
        DataError: it can't be had; the text says how often that was tried, and how to go on.
    """
    tries = len(_PAUSES) + 1
    for number in range(1, tries + 1):
        try:
            return _fetch_once(url, target, limit)
        except _PassingError as error:
            if number == tries:
                raise DataError(_explain(url, f"{error} ({tries} tries)")) from error
            _LOG.warning("%s: %s; trying again in %g s", url, error, _PAUSES[number - 1])
            time.sleep(_PAUSES[number - 1])
    raise AssertionError("unreachable")


def _fetch_once(url: str, target: Path, limit: int | None) -> Fetched:
    digest, count = hashlib.sha256(), 0
    # Not emptied first: its size may hold a place on the disk.
    with _opened(url) as (stream, promised), target.open("r+b" if target.exists() else "wb") as file:
        if limit is not None and promised is not None and promised > limit:
            raise DataError(f"{url} has {promised:,} bytes, more than may be kept, {limit:,}. Raise ?cache_gb=")
        for piece in _pieces(stream):
            count += len(piece)
            if limit is not None and count > limit:
                raise DataError(f"{url} has more bytes than may be kept, {limit:,}. Raise ?cache_gb=")
            digest.update(piece)
            file.write(piece)
        file.truncate()
    if promised is not None and count != promised:
        raise _PassingError(f"the connection ended after {count:,} of {promised:,} bytes")
    return Fetched(count, digest.hexdigest())


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while True:
        try:
            piece = stream.read(_PIECE)
        except http.client.IncompleteRead as error:
            yield error.partial
            return
        except (OSError, http.client.HTTPException) as error:
            raise _PassingError(f"the connection broke ({error})") from error
        if not piece:
            return
        yield piece


@contextlib.contextmanager
def _opened(url: str) -> Iterator[tuple[IO[bytes], int | None]]:
    """Give the content as a stream, and its length where that is told."""
    if url.startswith(("http://", "https://")):
        with _open_http(url) as response:
            length = response.headers.get("Content-Length")
            yield response, int(length) if length and length.isdigit() else None
        return
    with _open_other(url) as stream:
        yield stream, getattr(stream, "size", None)


def _open_http(url: str) -> Any:
    try:
        # The scheme was checked by the only caller.
        return urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS)  # noqa: S310
    except urllib.error.HTTPError as error:
        said = f"the server answered {error.code} {error.reason}"
        error.close()
        if error.code in _TRANSIENT:
            raise _PassingError(said) from error
        advice = {401: " It asks who you are", 403: " You may not read it", 404: " Look for a slip in the name"}
        hint = f".{advice[error.code]}" if error.code in advice else ""
        kind = NotThereError if error.code in (403, 404, 410) else DataError
        raise kind(_explain(url, f"{said}{hint}")) from error
    except (OSError, http.client.HTTPException) as error:
        raise _PassingError(f"no answer ({getattr(error, 'reason', error)})") from error
    except ValueError as error:
        raise DataError(f"{url!r} is no URL: {error}.") from error


def _open_other(url: str) -> Any:
    import fsspec

    try:
        return fsspec.open(url, "rb").open()
    except ImportError as error:
        raise DataError(f"{url}: the package for this kind of place is not installed. {error}") from error
    except ValueError as error:
        raise DataError(f"{url}: {error}. Places that need no more packages are http:// and https://.") from error
    except FileNotFoundError as error:
        raise NotThereError(_explain(url, "there is no such file")) from error
    except PermissionError as error:
        raise DataError(_explain(url, f"you may not read it ({error})")) from error
    # Each kind of place fails in its own way.
    except Exception as error:
        raise _PassingError(f"it can't be opened ({str(error) or type(error).__name__})") from error


def _explain(url: str, reason: str) -> str:
    return (
        f"can't fetch {url}: {reason}. When it can be reached again, go on with the same command (a run with `dropkd "
        "resume`). Without a network: bring the shards to this machine by other means and name them by their path in "
        "place of the URL."
    )
