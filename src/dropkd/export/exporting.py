"""A run's student as files, each checked on the run's own images before it is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from dropkd.export.drafts import Export, draft_folder, put_in_place, write_draft
from dropkd.export.formats import FORMATS, FormatOptions
from dropkd.export.places import check_formats, choose_places
from dropkd.export.preparing import prepare_student
from dropkd.run import Run

__all__ = ["FORMATS", "Export", "export_formats", "export_run"]


def export_formats(
    run: Run | str | Path,
    to: Sequence[str],
    *,
    output: str | Path | None = None,
    preprocessing: bool = False,
    fuse: bool = True,
    model: nn.Module | None = None,
    licence: str | None = None,
    unfinished: bool = False,
    unchecked: bool = False,
    opset: int | None = None,
    samples: int = 6,
) -> list[Export]:
    """Write a run's selected student in several formats: all of them, or none where one fails.

    Args:
        run: a run or its folder.
        to: the formats, keys of ``FORMATS``.
        output: a folder for the files, or, for one format, its file; by default the run folder.
        preprocessing: the files take RGB bytes (B, 3, H, W) in 0..255 and normalise them themselves.
        fuse: fuse re-parameterisable blocks.
        model: a module of the student's class, where the run was started with one.
        licence: of the exported model, as it is to stand in its metadata.
        unfinished: export the best student so far of a run that is not at its end.
        unchecked: write formats that can't be run on this machine too, though nobody has compared their answers.
        opset: version of ONNX's operators; None: the exporter's own.
        samples: how many images of the run's data are put on a web page, for its visitors to try.

    Raises:
        ConfigError: an unknown format, or a library that it needs is not installed.
        RunError: the run has no student yet or is not finished, or a file can't be written.
        ModelError: the student can't be exported, or a file answers otherwise than the network.
    """
    options = FormatOptions(opset, samples)
    kinds = check_formats(to, options, unchecked=unchecked)
    opened = run if isinstance(run, Run) else Run.open(run)
    places = choose_places(kinds, output, opened.folder)
    prepared = prepare_student(
        opened, preprocessing=preprocessing, fuse=fuse, model=model, licence=licence, unfinished=unfinished
    )
    folder = places[0].parent
    # Written and checked elsewhere, so that a file that fails is never in its place.
    with draft_folder(folder) as workshop:
        drafts = [
            write_draft(kind, prepared, workshop / kind.name / place.name, options)
            for kind, place in zip(kinds, places, strict=True)
        ]
        return [put_in_place(draft, folder) for draft in drafts]


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
    unchecked: bool = False,
    opset: int | None = None,
    samples: int = 6,
) -> Export:
    """Write a run's selected student as a file that needs no dropkd, with a description beside it.

    The batch size is free, re-parameterisable blocks are fused, and nothing of the distillation is left. The file
    is compared with the network on images of the run's data; where it answers otherwise nothing is written.

    Args:
        run: a run or its folder.
        to: the format, a key of ``FORMATS``.
        output: the file; by default ``student.onnx``, ``student.pt2``, ... in the run folder.
        preprocessing: see :func:`export_formats`, as for the further ones.
        fuse: fuse re-parameterisable blocks.
        model: a module of the student's class, where the run was started with one.
        licence: of the exported model.
        unfinished: export the best student so far of a run that is not at its end.
        unchecked: write a format that can't be run on this machine.
        opset: version of ONNX's operators.
        samples: images on a web page.

    Raises:
        ConfigError: an unknown format, or a library that it needs is not installed.
        RunError: the run has no student yet or is not finished, or the file can't be written.
        ModelError: the student can't be exported, or the file answers otherwise than the network.
    """
    (written,) = export_formats(
        run, [to], output=output, preprocessing=preprocessing, fuse=fuse, model=model, licence=licence,
        unfinished=unfinished, unchecked=unchecked, opset=opset, samples=samples,
    )  # fmt: skip
    return written
