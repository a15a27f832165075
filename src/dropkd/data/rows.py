"""Lists of images as text: reading them, and saying what is wrong in which row."""

from __future__ import annotations

from pathlib import Path

from dropkd.errors import DataError

__all__ = ["RowMistakes", "read_lines"]

# How many mistakes a message lists.
_LISTED = 10


class RowMistakes:
    """Gathers what is wrong with a list, so that all of it is said at once.

    Args:
        file: the list.
        unit: what its rows are called, ``line`` or ``row``.
    """

    def __init__(self, file: Path, unit: str = "line") -> None:
        self.file = file
        self.unit = unit
        self.texts: list[str] = []

    def add(self, number: int, text: str) -> None:
        """Note down what is wrong with a row; numbers start from 1."""
        self.texts.append(f"{self.unit} {number}: {text}")

    def check(self, advice: str = "") -> None:
        """Raise an error if anything was noted down.

        Raises:
            DataError: the first mistakes, one a line, and how many more there are.
        """
        if not self.texts:
            return
        lines = [f"\n  {text}" for text in self.texts[:_LISTED]]
        if len(self.texts) > _LISTED:
            lines.append(f"\n  and {len(self.texts) - _LISTED:,} more")
        raise DataError(f"{str(self.file)!r} is not as it should be:{''.join(lines)}{advice and chr(10) + advice}")


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 text file, with or without a byte order mark.

    Raises:
        DataError: the file can't be read, or is in another encoding; then the line of the first such byte is named.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"can't read {str(path)!r}: {error.strerror}.") from error
    try:
        # Not splitlines(), which also parts lines at characters that a file's name may hold.
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{str(path)!r}, line {line}: byte {data[error.start]:#04x} is not UTF-8. "
            "The file is in another encoding; save it as UTF-8."
        ) from error
