"""Files are written and compared in a folder of their own, and moved to their place once all are right."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dropkd.errors import DropKDError, ModelError
from dropkd.export.formats import Format, FormatOptions
from dropkd.export.formats.capturing import first_words
from dropkd.export.parity import Parity, check_parity
from dropkd.export.preparing import Prepared
from dropkd.files import explained, writable_folder
from dropkd.models import count_parameters

__all__ = ["Export", "draft_folder", "put_in_place", "write_draft"]


@dataclass(frozen=True)
class Export:
    """What was written.

    Args:
        format: the name of its format.
        path: the model's file, or its folder.
        description: the JSON file beside it: input, preprocessing, classes.
        files: all that was written: the model, what belongs to it, and the description.
        parameters: of the exported model.
        fused: parameters that fusing took away.
        parity: how near its answers are to the network's; None where the file can't be run on this machine.
        unchecked: why it was not compared, where it was not.
        remark: what is to be known of the format.
    """

    format: str
    path: Path
    description: Path
    files: tuple[Path, ...]
    parameters: int
    fused: int
    parity: Parity | None
    unchecked: str | None = None
    remark: str = ""

    @property
    def bytes(self) -> int:
        """The size of the model and of what belongs to it on disk."""
        return sum(_measure(path) for path in self.files if path != self.description)


@contextmanager
def draft_folder(beside: Path) -> Iterator[Path]:
    """Give a folder in ``beside`` that is gone afterwards; ``beside`` too, where it is new and the work fails.

    Raises:
        RunError: nothing can be written there.
    """
    is_new = not beside.exists()
    try:
        writable_folder(beside)
        with explained(beside), tempfile.TemporaryDirectory(dir=beside, prefix=".export-") as folder:
            yield Path(folder)
    except BaseException:
        if is_new:
            with suppress(OSError):
                beside.rmdir()
        raise


def write_draft(kind: Format, prepared: Prepared, path: Path, options: FormatOptions) -> Export:
    """Write the model and its description to a new folder, and compare its answers with the network's.

    Raises:
        ModelError: it can't be written so, or answers otherwise.
    """
    path.parent.mkdir()
    try:
        kind.write(prepared, path, options)
        reason = kind.say_why_not_run()
        answer = kind.open(path) if reason is None else None
    except (DropKDError, OSError):
        raise
    except Exception as error:
        # Exporters raise many kinds of error; the first line says what the model does that they don't know.
        raise ModelError(
            f"{prepared.spec.name!r} can't be written as {kind.name} ({type(error).__name__}: {first_words(error)})."
        ) from error
    parity = None if answer is None else check_parity(prepared.expected, answer, prepared.inputs, kind.name)
    description = path.with_name(path.name + ".json")
    said = {
        **kind.describe(prepared),
        "format": kind.name,
        "file": path.name,
        "parity": None if parity is None else {**asdict(parity), "split": prepared.split, "by": kind.runs_by},
        "unchecked": reason,
    }
    description.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    return Export(
        kind.name, path, description, tuple(sorted(path.parent.iterdir())), count_parameters(prepared.module),
        prepared.fused, parity, reason, kind.remark,
    )  # fmt: skip


def put_in_place(draft: Export, folder: Path) -> Export:
    """Move what was written to its place, the model last, and return it as it lies there."""
    moved = {source: folder / source.name for source in draft.files}
    for source in sorted(moved, key=lambda entry: entry == draft.path):
        if source.is_dir() and moved[source].is_dir():
            # Of an earlier export, as was seen before: a folder can't take another's place in one step.
            shutil.rmtree(moved[source])
        source.replace(moved[source])
    return replace(draft, path=moved[draft.path], description=moved[draft.description], files=tuple(moved.values()))


def _measure(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
