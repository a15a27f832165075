"""A run's student as files, each checked on the run's own images before it is there."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

from dropkd.errors import ConfigError, DropKDError, ModelError, did_you_mean
from dropkd.export.formats import FORMATS, Format, FormatOptions
from dropkd.export.parity import Parity, check_parity
from dropkd.export.preparing import Prepared, prepare_student
from dropkd.files import writable_folder, write_text
from dropkd.models import count_parameters
from dropkd.run import Run

__all__ = ["FORMATS", "Export", "export_run"]


@dataclass(frozen=True)
class Export:
    """What was written.

    Args:
        path: the model's file.
        description: the JSON file beside it: input, preprocessing, classes.
        parameters: of the exported model.
        fused: parameters that fusing took away.
        parity: how near its answers are to the network's.
    """

    path: Path
    description: Path
    parameters: int
    fused: int
    parity: Parity


def export_run(
    run: Run | str | Path,
    *,
    to: str = "onnx",
    output: str | Path | None = None,
    preprocessing: bool = False,
    fuse: bool = True,
    model: nn.Module | None = None,
    licence: str | None = None,
    unfinished: bool = False,
    opset: int | None = None,
) -> Export:
    """Write a run's selected student as a file that needs no dropkd, with a description beside it.

    The batch size is free, re-parameterisable blocks are fused, and nothing of the distillation is left. The file
    is compared with the network on images of the run's data; where it answers otherwise nothing is written.

    Args:
        run: a run or its folder.
        to: ``onnx``, or ``pt2`` for PyTorch's own exported program.
        output: the file; by default ``student.onnx`` or ``student.pt2`` in the run folder.
        preprocessing: the file takes RGB bytes (B, 3, H, W) in 0..255 and normalises them itself.
        fuse: fuse re-parameterisable blocks.
        model: a module of the student's class, where the run was started with one.
        licence: of the exported model, as it is to stand in its metadata.
        unfinished: export the best student so far of a run that is not at its end.
        opset: version of ONNX's operators; None: the exporter's own.

    Raises:
        ConfigError: an unknown format, or a library that it needs is not installed.
        RunError: the run has no student yet or is not finished, or the file can't be written.
        ModelError: the student can't be exported, or the file answers otherwise than the network.
    """
    kind, options = _find_format(to), FormatOptions(opset)
    kind.check(options)
    opened = run if isinstance(run, Run) else Run.open(run)
    path = Path(output) if output is not None else opened.folder / f"student{kind.suffix}"
    if path.suffix != kind.suffix:
        raise ConfigError(f"A file of the format {to!r} ends in {kind.suffix}, got {str(path)!r}.")
    prepared = prepare_student(
        opened, preprocessing=preprocessing, fuse=fuse, model=model, licence=licence, unfinished=unfinished
    )
    writable_folder(path.parent)
    # Written and checked elsewhere, so that a file that fails is never in its place.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        draft = Path(folder) / path.name
        _write(kind, prepared, draft, options)
        parity = check_parity(prepared.expected, kind.open(draft), prepared.inputs)
        _move_beside(draft, path)
    description = path.with_name(path.name + ".json")
    said = {**prepared.facts, "format": kind.name, "file": path.name, "parity": asdict(parity)}
    write_text(description, json.dumps(said, indent=2) + "\n")
    return Export(path, description, count_parameters(prepared.module), prepared.fused, parity)


def _find_format(name: str) -> Format:
    if name not in FORMATS:
        raise ConfigError(f"unknown format {name!r}. There are: {', '.join(FORMATS)}.{did_you_mean(name, FORMATS)}")
    return FORMATS[name]


def _write(kind: Format, prepared: Prepared, path: Path, options: FormatOptions) -> None:
    try:
        kind.write(prepared, path, options)
    except DropKDError:
        raise
    except OSError as error:
        raise ModelError(f"Can't write {str(path)!r}: {error.strerror or error}.") from error
    except Exception as error:
        # Exporters raise many kinds of error; the first line says what the model does that they don't know.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        raise ModelError(
            f"{prepared.spec.name!r} can't be written as {kind.name} ({type(error).__name__}: {reason})."
        ) from error


def _move_beside(draft: Path, path: Path) -> None:
    """Move the draft to its place, and what lies beside the draft to the same folder; the model itself comes last."""
    others: Sequence[Path] = [entry for entry in draft.parent.iterdir() if entry != draft]
    for source in (*others, draft):
        target = path.parent / source.name
        if target.is_dir():
            shutil.rmtree(target)
        source.replace(target)
