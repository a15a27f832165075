"""``dropkd evaluate``, ``dropkd predict`` and ``dropkd report``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dropkd.cli.options import Device, Threads, Workers

if TYPE_CHECKING:
    from dropkd.prediction import Prediction

__all__ = ["evaluate", "predict", "report"]

_Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)]
_BatchSize = Annotated[
    int, typer.Option("--batch-size", metavar="N", min=1, help="Images at a time; the answers are the same.")
]


def evaluate(
    run: _Run,
    data: Annotated[
        Path | None,
        typer.Argument(metavar="[DATA]", help="Images, as for training. Default: the run's own.", show_default=False),
    ] = None,
    task: Annotated[
        str,
        typer.Option(
            "--task",
            metavar="classes|compound",
            help="compound: the classes of DATA are pairs of the student's, which are basic emotions.",
        ),
    ] = "classes",
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="NAME", help="Only train, val or test. Default: val and test."),
    ] = None,
    teacher: Annotated[
        bool,
        typer.Option(
            "--teacher",
            help="Ask the teacher too, for the figures beside it. What the run kept of its answers is used unasked.",
        ),
    ] = False,
    tta: Annotated[bool, typer.Option("--tta", help="Show each image also mirrored, and average.")] = False,
    corruptions: Annotated[
        bool,
        typer.Option("--corruptions", help="Judge it on images spoilt in 15 ways at 5 strengths as well: slow."),
    ] = False,
    kept: Annotated[
        bool,
        typer.Option("--kept", help="Compute from the answers in predictions.parquet, without network and images."),
    ] = False,
    batch_size: _BatchSize = 64,
    device: Device = None,
    workers: Workers = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of tables: all figures, classes and calibration.")
    ] = False,
) -> None:
    """Measure a run's student on images with labels.

    Each figure has a 95 % interval, from drawing the images again and again; seeds are not in it.

    Examples:
      dropkd evaluate runs/first
      dropkd evaluate runs/first other-photos --teacher --json
      dropkd evaluate runs/first --kept
      dropkd evaluate runs/faces raf-db/compound --task compound
    """
    from dropkd import api
    from dropkd.cli.console import errors, output
    from dropkd.cli.progress import Progress
    from dropkd.cli.score_tables import print_compound_scores, print_scores
    from dropkd.engine.outcome import read_metrics

    # Before anything is computed: it may be damaged.
    classes = read_metrics(run).get("classes")
    with Progress(errors) as progress:
        scores = api.evaluate(
            run,
            data,
            split=split,
            task=task,
            teacher=teacher,
            mirrored=tta,
            corruptions=corruptions,
            kept=kept,
            batch_size=batch_size,
            device=device or "auto",
            workers=workers or 0,
            observer=progress,
        )
    if as_json:
        output.print_json(json.dumps(scores))
    elif task == "compound":
        print_compound_scores(scores, title=str(run))
    else:
        print_scores(scores, title=str(run), classes=classes)


def predict(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|FILE.onnx",
            help="Folder of a run, or a file that `dropkd export` wrote, which needs no torch.",
            show_default=False,
        ),
    ],
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGES...", help="Image files, or folders of them.", show_default=False),
    ],
    output_file: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write .csv, .json or .parquet instead of a table."),
    ] = None,
    batch_size: _BatchSize = 64,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Name the class of each image.

    Examples:
      dropkd predict runs/first photo.jpg
      dropkd predict runs/first new-photos/ --output answers.csv
      dropkd predict student.onnx new-photos/ --threads 2
    """
    from dropkd.cli.console import output
    from dropkd.cli.prediction_files import check_format, find_images, print_predictions, write_predictions

    if output_file is not None:
        check_format(output_file)
    ask = _ask_file if run.is_file() or run.suffix.lower() == ".onnx" else _ask_run
    predictions = ask(run, find_images(images), batch_size, device, threads)
    if output_file is None:
        print_predictions(predictions)
    else:
        write_predictions(predictions, output_file)
        output.print(f"{len(predictions):,} answers written to {output_file}", markup=False, soft_wrap=True)


def _ask_run(
    folder: Path, images: Sequence[Path], batch_size: int, device: str | None, threads: int | None
) -> list[Prediction]:
    import torch

    from dropkd.engine.fabric import choose_device
    from dropkd.run import Run

    if threads is not None:
        torch.set_num_threads(threads)
    return Run.open(folder).predict(images, batch_size=batch_size, device=str(choose_device(device or "auto")))


def _ask_file(
    path: Path, images: Sequence[Path], batch_size: int, device: str | None, threads: int | None
) -> list[Prediction]:
    from dropkd.inference import ExportedModel

    where = "cpu" if device in (None, "auto") else str(device)
    return ExportedModel.open(path, threads=threads, device=where).predict(images, batch_size=batch_size)


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of one run, of several, or of a group.", show_default=False),
    ],
    output_file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.html",
            help="The page. Default: report.html in the run folder; comparison.html for several runs, in the folder of "
            "a group.",
        ),
    ] = None,
) -> None:
    """Write a self-contained page about a run, or one that compares several.

    Examples:
      dropkd report runs/first
      dropkd report runs/plain runs/kd runs/dropkd --output comparison.html
      dropkd report runs/group
    """
    from dropkd import report as pages
    from dropkd.cli.tables import print_line
    from dropkd.files import write_bytes

    folders = [folder for run in runs for folder in pages.list_run_folders(run)]
    if len(folders) > 1:
        place = runs[0] if len(runs) == 1 else Path()
        page = pages.write_comparison(folders, output_file or place / "comparison.html")
    else:
        page = pages.write_run_report(folders[0])
        if output_file is not None:
            write_bytes(output_file, page.read_bytes())
            page = output_file
    print_line("report", page)
