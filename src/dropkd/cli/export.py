"""``dropkd export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dropkd.cli import export_int8 as whole
from dropkd.errors import ConfigError

if TYPE_CHECKING:
    from dropkd.export import Export

__all__ = ["export"]


def export(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)],
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            metavar="onnx|pt2|openvino|tflite|coreml|torchscript|web",
            help="Several are listed with commas. pt2 is PyTorch's own exported program, web a folder with a page that "
            "runs the student in a browser. Default: onnx.",
            show_default=False,
        ),
    ] = None,
    output_file: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE|FOLDER", help="Default: student.onnx, student.pt2, ... in the run folder."
        ),
    ] = None,
    preprocessing: Annotated[
        bool,
        typer.Option("--preprocessing", help="The file takes RGB bytes and normalises them itself."),
    ] = False,
    fuse: Annotated[
        bool,
        typer.Option("--fuse/--no-fuse", help="Fuse blocks of several branches (RepViT, FastViT, ...) into one."),
    ] = True,
    licence: Annotated[
        str | None,
        typer.Option("--licence", metavar="TEXT", help="Licence of the model for its metadata, such as Apache-2.0."),
    ] = None,
    opset: Annotated[
        int | None, typer.Option("--opset", metavar="N", help="Version of ONNX's operators, 18 or later.")
    ] = None,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Take the best student so far of a run that is not at its end.")
    ] = False,
    unchecked: Annotated[
        bool,
        typer.Option("--unchecked", help="Write formats too that can't be run, so not be compared, on this machine."),
    ] = False,
    samples: Annotated[
        int,
        typer.Option("--samples", metavar="N", min=0, max=24, help="Images of the run's data on the page of --to web."),
    ] = 6,
    int8: whole.Int8Flag = False,
    calibration: whole.Calibration = None,
    calibration_images: whole.CalibrationImages = None,
    calibration_method: whole.CalibrationMethod = None,
    max_drop: whole.MaxDrop = None,
    weight_bits: whole.WeightBits = None,
    keep_float: whole.KeepFloat = None,
    threads: whole.LatencyThreads = None,
) -> None:
    """Write a run's student as files that need no dropkd.

    What a file has to be fed and its classes stand in a JSON file beside it. The file's answers are
    compared with the network's on the run's images first; if they differ, nothing is written.

    Examples:
      dropkd export runs/first
      dropkd export runs/first --to onnx,openvino --output exported
      dropkd export runs/first --to pt2 --output student.pt2
      dropkd export runs/first --to web --output try-it --samples 0
      dropkd export runs/first --preprocessing --licence Apache-2.0
      dropkd export runs/first --int8 --max-drop 0.5
    """
    from dropkd.cli.console import output
    from dropkd.export import export_formats, export_int8

    names = [name.strip() for given in to or ["onnx"] for name in given.split(",") if name.strip()]
    if (settings := whole.read_int8(context.params)) is not None:
        if names != ["onnx"]:
            raise ConfigError(f"--int8 writes ONNX alone; leave out --to {','.join(names)}.")
        with output.status("Exporting and measuring ..."):
            made = export_int8(
                run, settings, output=output_file, preprocessing=preprocessing, fuse=fuse, licence=licence,
                unfinished=unfinished, opset=opset,
            )  # fmt: skip
        whole.print_int8(made)
        return
    with output.status("Exporting ..."):
        written = export_formats(
            run, names, output=output_file, preprocessing=preprocessing, fuse=fuse, licence=licence,
            unfinished=unfinished, unchecked=unchecked, opset=opset, samples=samples,
        )  # fmt: skip
    for number, one in enumerate(written):
        if number:
            output.print()
        _tell(one)


def _tell(written: Export) -> None:
    from dropkd.cli.console import output
    from dropkd.cli.tables import print_line
    from dropkd.files import say_bytes

    others = [path for path in written.files if path not in (written.path, written.description)]
    print_line(f"{written.format:<13}", written.path)
    for path in others:
        print_line(f"{'with':<13}", path)
    print_line(f"{'described in':<13}", written.description)
    fused = f", {written.fused:,} fused away" if written.fused else ""
    output.print(f"{written.parameters:,} parameters{fused}; {say_bytes(written.bytes)}")
    if written.parity is None:
        output.print(f"Not compared with the network: {written.unchecked}.", style="bold yellow")
    else:
        images = written.parity.images
        output.print(
            f"Same class as the network on {images} of {images} images; "
            f"logits differ by {written.parity.max_difference:.1e} at most."
        )
    if written.remark:
        output.print(written.remark)
