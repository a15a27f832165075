"""``metrics.jsonl``: one line per thing that happened, and the loggers that hear the same numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dropkd.engine.loggers import Logger
from dropkd.errors import RunError
from dropkd.file_locks import hold_lock, release_lock
from dropkd.files import explained

__all__ = ["Journal", "read_journal"]


class Journal:
    """Appends events to ``metrics.jsonl`` and passes their numbers on to the loggers.

    The file is held until it is closed: others see by that lock that the run goes on, and two processes never train
    the same run.

    Args:
        path: the file.
        size: bytes to keep of an existing file: a resumed run goes on where its checkpoint was written, so that no
            event stands twice.
        loggers: TensorBoard, Weights & Biases, MLflow; see :mod:`dropkd.engine.loggers`.

    Raises:
        RunError: another process writes to the file, or it can't be written.
    """

    def __init__(self, path: Path, size: int = 0, loggers: tuple[Logger, ...] = ()) -> None:
        self.path, self.loggers = path, loggers
        with explained(path):
            self._file = path.open("ab")
            if not hold_lock(self._file):
                self._file.close()
                raise RunError(
                    f"Another process is training the run {str(path.parent)!r}. Wait for its end, or end it first."
                )
            self._file.truncate(size)

    def write(self, event: str, step: int | None = None, **fields: Any) -> None:
        """Append one event and give its numbers to the loggers where it has a step."""
        record = {"event": event, **({} if step is None else {"step": step}), **fields}
        with explained(self.path):
            self._file.write((json.dumps(record) + "\n").encode())
            self._file.flush()
        if step is not None:
            for logger in self.loggers:
                logger.log({f"{event}/{name}": value for name, value in _flatten(fields)}, step)

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._file.tell()

    def close(self) -> None:
        """Close the file and the loggers."""
        if not self._file.closed:
            release_lock(self._file)
        self._file.close()
        for logger in self.loggers:
            logger.close()


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Return the events of a ``metrics.jsonl``; a last line that is still being written is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def _flatten(fields: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    numbers: list[tuple[str, float]] = []
    for name, value in fields.items():
        if isinstance(value, dict):
            numbers += _flatten(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            numbers.append((f"{prefix}{name}", float(value)))
    return numbers
