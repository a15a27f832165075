"""The files of a repository of models: in a folder, in the hub's cache, or fetched from the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from dropkd.errors import ModelError, did_you_mean
from dropkd.models.hub import cache_folder, is_reachable, note_partial
from dropkd.models.hub_names import check_repository, check_revision

__all__ = ["FolderFiles", "HubFiles", "RepositoryFiles", "read_json"]

# What Git leaves in the place of a large file that it was not asked to fetch.
_POINTER = b"version https://git-lfs.github.com/spec/"
_MAX_LISTED = 10


class RepositoryFiles(Protocol):
    """Where a repository's files are had from."""

    source: str

    def find(self, name: str) -> Path | None:
        """Return the file of that name, or None where the repository has none."""
        ...

    def explain_absence(self, *names: str) -> str:
        """Return why none of these files can be had, and what to do about it."""
        ...


class FolderFiles:
    """A repository's files in a folder.

    Args:
        folder: holds the files.
        source: how the user wrote it.
    """

    def __init__(self, folder: Path, source: str) -> None:
        self.folder = folder
        self.source = source

    def find(self, name: str) -> Path | None:
        """Return the file of that name, or None; see :class:`RepositoryFiles`.

        Raises:
            ModelError: it was not fetched, or not to its end.
        """
        path = self.folder / name
        if not path.is_file():
            return None
        with path.open("rb") as file:
            if file.read(len(_POINTER)) == _POINTER:
                raise ModelError(
                    f"{str(path)!r} is not the file itself but Git's note of it: fetch it by `git lfs pull`."
                )
        return path

    def explain_absence(self, *names: str) -> str:
        """Return what the folder lacks and what it holds; see :class:`RepositoryFiles`."""
        held = sorted(entry.name for entry in self.folder.iterdir())
        shown = ", ".join(held[:_MAX_LISTED]) + (", ..." if len(held) > _MAX_LISTED else "")
        wanted = " or ".join(names)
        near = did_you_mean(names[0], held)
        partial = [name for name in held if name.endswith((".incomplete", ".part", ".crdownload", ".tmp"))]
        cut = f" {partial[0]!r} looks like a download that was cut off." if partial else ""
        return f"The folder {str(self.folder)!r} has no {wanted}. It holds: {shown or 'nothing'}.{cut}{near}"


class HubFiles:
    """A repository's files on the Hugging Face hub, each fetched once into the hub's cache.

    Args:
        repository: ``ORG/NAME``.
        revision: branch, tag or commit; None for the main branch.
        by_hand: how the user names a folder in which the files were put by hand.

    Raises:
        ModelError: the repository or the revision has a name that none can have.
    """

    def __init__(self, repository: str, revision: str | None = None, *, by_hand: str = "hf:FOLDER") -> None:
        self.repository = check_repository(repository)
        self.revision = None if revision is None else check_revision(revision)
        self.by_hand = by_hand
        self.source = f"the Hugging Face repository {repository!r}" + (f" at {revision!r}" if revision else "")
        self._is_reachable = is_reachable()

    def find(self, name: str) -> Path | None:
        """Return the file of that name, or None; see :class:`RepositoryFiles`.

        Raises:
            ModelError: there is no such repository or revision, or it is closed to this user.
        """
        if not self._is_reachable:
            found = huggingface_hub.try_to_load_from_cache(
                self.repository, name, revision=self.revision, cache_dir=cache_folder()
            )
            return Path(found) if isinstance(found, str) else None
        return self._fetch(name)

    def _fetch(self, name: str) -> Path | None:
        try:
            fetched = huggingface_hub.hf_hub_download(
                self.repository, name, revision=self.revision, cache_dir=cache_folder()
            )
        except GatedRepoError as error:
            raise ModelError(
                f"{self.source} is open only to those who have accepted its terms: do so at "
                f"{constants.ENDPOINT}/{self.repository}, then log in by `hf auth login`."
            ) from error
        except RepositoryNotFoundError as error:
            raise ModelError(
                f"The hub {constants.ENDPOINT} has no repository {self.repository!r} that is open to you. Check its "
                "name; a private one needs `hf auth login`."
            ) from error
        except RevisionNotFoundError as error:
            raise ModelError(f"The repository {self.repository!r} has no revision {self.revision!r}.") from error
        except (EntryNotFoundError, OSError) as error:
            if isinstance(error, EntryNotFoundError) and not isinstance(error, FileNotFoundError):
                return None
            raise ModelError(self._explain(name, f"{type(error).__name__}: {error}")) from error
        except Exception as error:
            # The client passes on what its own libraries raise.
            raise ModelError(self._explain(name, f"{type(error).__name__}: {error}")) from error
        return Path(fetched)

    def explain_absence(self, *names: str) -> str:
        """Return what was tried and how the files are put there by hand; see :class:`RepositoryFiles`."""
        wanted = " or ".join(names)
        if self._is_reachable:
            return f"{self.source[0].upper()}{self.source[1:]} has no {wanted}."
        offline = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "it can't be reached"
        return self._explain(wanted, offline)

    def _explain(self, wanted: str, reason: str) -> str:
        cut = note_partial(self.repository)
        return (
            f"{wanted} of {self.source} could not be had: looked in the cache {cache_folder()}, then asked "
            f"{constants.ENDPOINT} ({reason}).{cut} Without a network, fetch the repository's files "
            f"elsewhere (`hf download {self.repository} --local-dir FOLDER`), put the folder on this machine and give "
            f"it as '{self.by_hand}'; or copy the cache of a machine that has it."
        )


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file of a repository.

    Raises:
        ModelError: it is no JSON, or something else than an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{str(path)!r} is damaged or no JSON ({error}).") from error
    if not isinstance(content, dict):
        raise ModelError(f"{str(path)!r} must hold an object with keys, got {type(content).__name__}.")
    return content
