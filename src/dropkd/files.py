"""Files that are either whole or not there: everything in a run folder is written beside its place and then renamed."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dropkd.errors import RunError

__all__ = ["replacing", "say_bytes", "writable_folder", "write_bytes", "write_csv", "write_text"]

# A spreadsheet takes a cell that begins with one of these for a formula, and would run it.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

_REASONS = {
    errno.ENOSPC: "no space is left on the disk. Free some and go on with `dropkd resume`.",
    errno.EDQUOT: "the disk quota is used up. Free some space and go on with `dropkd resume`.",
    errno.EACCES: "permission was denied. Choose another place with --output.",
    errno.EPERM: "permission was denied. Choose another place with --output.",
    errno.ENOENT: "its folder is not there.",
    errno.EROFS: "the file system is read-only. Choose another place with --output.",
}


@contextlib.contextmanager
def explained(path: Path, deed: str = "write") -> Iterator[None]:
    """Turn the operating system's refusal to touch ``path`` into an error that says how to mend it."""
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0)
        if reason is None:
            raise
        raise RunError(f"Can't {deed} {str(path)!r}: {reason}") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; on success it takes the place of ``path`` in one step.

    Raises:
        RunError: the disk is full, read-only or closed to the user; nothing is left behind then.
    """
    with explained(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        partial = Path(name)
        try:
            yield partial
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            # mkstemp makes files for the owner alone; a run folder follows the user's umask like any other file.
            umask = os.umask(0)
            os.umask(umask)
            partial.chmod(0o666 & ~umask)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one step."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file in one step."""
    write_bytes(path, text.encode())


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str | int | float]]) -> None:
    """Write a table in one step; a text that a spreadsheet would run as a formula gets an apostrophe before it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_csv(Path(folder) / "cats.csv", ("path", "age"), [("a, b.png", -1), ("=1+1.png", 2)])
        ...     print((Path(folder) / "cats.csv").read_text())
        path,age
        "a, b.png",-1
        '=1+1.png,2
        <BLANKLINE>
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_defuse(cell) for cell in row] for row in rows)
    # A file name may hold bytes that are no text: they are spelt out.
    write_bytes(path, text.getvalue().encode(errors="backslashreplace"))


def _defuse(cell: str | int | float) -> str | int | float:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell


def say_bytes(count: float) -> str:
    """Return a size in words.

    Example:
        >>> say_bytes(16), say_bytes(2_560_000)
        ('16 bytes', '2.6 MB')
    """
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def writable_folder(path: Path) -> Path:
    """Make a folder (and its parents) and make sure that files can be written there.

    Raises:
        RunError: a file stands in the way, or the folder can't be made or written.
    """
    with explained(path, "create"):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise RunError(f"Can't create the folder {str(path)!r}: a file stands in the way.") from error
    with replacing(path / ".probe") as partial:
        partial.write_bytes(b"")
    (path / ".probe").unlink()
    return path
