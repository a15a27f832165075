"""``dropkd export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dropkd.cli import export_int8 as whole
from dropkd.errors import ConfigError

__all__ = ["export"]


def export(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)],
    to: Annotated[
        str, typer.Option("--to", metavar="onnx|pt2", help="pt2 is PyTorch's own exported program.")
    ] = "onnx",
    output_file: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: student.onnx or student.pt2 in the run folder."),
    ] = None,
    preprocessing: Annotated[
        bool,
        typer.Option("--preprocessing", help="The file takes RGB bytes and normalises them itself."),
    ] = False,
    fuse: Annotated[
        bool,
        typer.Option("--fuse/--no-fuse", help="Fuse blocks of several branches (RepViT, FastViT, ...) into one."),
    ] = True,
    int8: whole.Int8Flag = False,
    calibration: whole.Calibration = None,
    calibration_images: whole.CalibrationImages = None,
    calibration_method: whole.CalibrationMethod = None,
    max_drop: whole.MaxDrop = None,
    weight_bits: whole.WeightBits = None,
    keep_float: whole.KeepFloat = None,
    threads: whole.LatencyThreads = None,
) -> None:
    """Write a run's student as one file that needs no dropkd.

    What it has to be fed and its classes stand in a JSON file beside it. The file's answers are
    compared with the network's on the run's images first; if they differ, nothing is written.

    Examples:
      dropkd export runs/first
      dropkd export runs/first --to pt2 --output student.pt2
      dropkd export runs/first --preprocessing
      dropkd export runs/first --int8 --max-drop 0.5
    """
    from dropkd.cli.console import output
    from dropkd.cli.tables import print_line
    from dropkd.export import export_int8, export_run

    if (settings := whole.read_int8(context.params)) is not None:
        if to != "onnx":
            raise ConfigError(f"--int8 writes ONNX alone; leave out --to {to}.")
        with output.status("Exporting and measuring ..."):
            made = export_int8(run, settings, output=output_file, preprocessing=preprocessing, fuse=fuse)
        whole.print_int8(made)
        return
    with output.status("Exporting ..."):
        written = export_run(run, to=to, output=output_file, preprocessing=preprocessing, fuse=fuse)
    parity = written.parity
    print_line("model", written.path)
    print_line("described in", written.description)
    fused = f", {written.fused:,} fused away" if written.fused else ""
    output.print(f"{written.parameters:,} parameters{fused}; {written.path.stat().st_size:,} bytes")
    output.print(
        f"Same class as the network on {parity.images} of {parity.images} images; "
        f"logits differ by {parity.max_difference:.1e} at most."
    )
