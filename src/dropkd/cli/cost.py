"""``dropkd cost``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from dropkd.cli.options import Device, parse_image_size

__all__ = ["cost"]


def cost(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|MODEL...",
            help="Folders of runs or of groups, models by name, ONNX files, whatever can be a teacher.",
            show_default=False,
        ),
    ],
    image_size: Annotated[
        str | None,
        typer.Option("--image-size", metavar="N|HxW", help="Of models by name. Default: each model's own."),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option("--classes", metavar="K", help="Of models by name: a head for K classes. Default: its own."),
    ] = None,
    batch: Annotated[str, typer.Option("--batch", metavar="N,N,...", help="Images at a time.")] = "1,8,32",
    threads: Annotated[
        str | None,
        typer.Option("--threads", metavar="N,N,...", help="CPU threads. Default: one, and as many as there are cores."),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(
            "--seconds", metavar="S", help="The most for each network, runtime, batch size and number of threads."
        ),
    ] = 3.0,
    teacher: Annotated[bool, typer.Option("--teacher/--no-teacher", help="Measure a run's teacher as well.")] = True,
    onnx: Annotated[
        bool | None,
        typer.Option(
            "--onnx/--no-onnx",
            help="Time a run's ONNX files by onnxruntime; --onnx exports one where there is none. Default: if there.",
            show_default=False,
        ),
    ] = None,
    memory: Annotated[
        bool, typer.Option("--memory/--no-memory", help="Measure the most memory, each network in its own process.")
    ] = True,
    device: Device = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Measure what networks cost here: parameters, multiply-adds, files, time and memory.

    All of them are timed in turns, each until its median is known to 2 %, or its time is up; no slow call is left out.
    A batch lies in memory: reading and resizing images is not timed. What is measured of a run is kept as cost.json
    in its folder, and its report shows it.

    Examples:
      dropkd cost runs/first
      dropkd cost runs/first runs/plain --batch 1 --threads 1 --onnx
      dropkd cost resnet18 mobilenetv3_small_100 --image-size 224 --classes 7
    """
    from dropkd.cli.console import errors, output
    from dropkd.cli.cost_tables import print_record
    from dropkd.cli.progress import Progress
    from dropkd.costing.measuring import measure_costs
    from dropkd.errors import ConfigError
    from dropkd.report import write_run_report
    from dropkd.report.run_groups import list_run_folders

    size = parse_image_size(image_size)
    if isinstance(size, str):
        raise ConfigError(f"--image-size: must be a whole number of pixels, or HxW, got {size!r}.")
    if classes is not None and classes < 1:
        raise ConfigError(f"--classes: must be at least 1, got {classes}.")
    with Progress(errors) as progress:
        record = measure_costs(
            sources,
            image_size=size,
            num_classes=classes,
            batch_sizes=_read_numbers("--batch", batch),
            threads=None if threads is None else _read_numbers("--threads", threads),
            seconds=seconds,
            teacher=teacher,
            onnx=onnx,
            memory=memory,
            device=device or "cpu",
            observer=progress,
        )
        folders = [folder for source in sources if _is_folder(source) for folder in list_run_folders(Path(source))]
        for folder in dict.fromkeys(folders):
            write_run_report(folder)
    if as_json:
        output.print_json(json.dumps(record.to_dict()))
        return
    print_record(record)


def _is_folder(source: str) -> bool:
    from dropkd.models.names import is_model_name

    return not is_model_name(source) and Path(source).is_dir()


def _read_numbers(flag: str, text: str) -> list[int]:
    """Return the numbers of ``1,8,32``.

    Raises:
        ConfigError: it is something else.
    """
    from dropkd.errors import ConfigError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 0 < int(part) <= 100_000 for part in parts):
        raise ConfigError(f"{flag}: must be whole numbers of 1 or more with commas between, as in 1,8, got {text!r}.")
    return [int(part) for part in parts]
