"""The flags of ``dropkd export --int8``, and what it prints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dropkd.errors import ConfigError

if TYPE_CHECKING:
    from dropkd.costing.latency import Latency
    from dropkd.export import Int8, Int8Export

__all__ = [
    "Calibration",
    "CalibrationImages",
    "CalibrationMethod",
    "Int8Flag",
    "KeepFloat",
    "LatencyThreads",
    "MaxDrop",
    "WeightBits",
    "print_int8",
    "read_int8",
]

_PANEL = "Whole numbers (int8)"

Int8Flag = Annotated[
    bool,
    typer.Option(
        "--int8",
        help="Write an ONNX file of 8-bit whole numbers, student.int8.onnx: about a quarter of the size. Its accuracy "
        "is measured beside the float one's, and the time that one image takes.",
        rich_help_panel=_PANEL,
    ),
]
Calibration = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        metavar="FOLDER",
        help="Images that show which values occur. Default: training images, as they are evaluated.",
        rich_help_panel=_PANEL,
    ),
]
CalibrationImages = Annotated[
    int | None,
    typer.Option(
        "--calibration-images", metavar="N", help="How many of them at most. Default: 512.", rich_help_panel=_PANEL
    ),
]
CalibrationMethod = Annotated[
    str | None,
    typer.Option(
        "--calibration-method",
        metavar="minmax|percentile|entropy",
        help="Ends of the ranges: the lowest and highest value seen, those of 99.99 % of the values, or those that "
        "keep most of the distribution. Default: minmax.",
        rich_help_panel=_PANEL,
    ),
]
MaxDrop = Annotated[
    float | None,
    typer.Option(
        "--max-drop",
        metavar="POINTS",
        help="Write nothing if more percentage points of accuracy are lost. Default: whatever is lost is told.",
        rich_help_panel=_PANEL,
    ),
]
WeightBits = Annotated[
    int | None,
    typer.Option(
        "--weight-bits",
        metavar="4-8",
        help="Bits of a weight. 7 for x86 processors without VNNI. Default: 8.",
        rich_help_panel=_PANEL,
    ),
]
KeepFloat = Annotated[
    list[str] | None,
    typer.Option(
        "--keep-float",
        metavar="LAYER",
        help="A layer, or a module of some, to leave as it is; * for any letters. Can be given often.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
LatencyThreads = Annotated[
    int | None,
    typer.Option("--threads", metavar="N", help="CPU threads to measure the time with.", rich_help_panel=_PANEL),
]

# The parameters of the verb that are settings of an int8 file, and how the user writes them.
_SETTINGS = {
    "calibration": ("folder", "--calibration"),
    "calibration_images": ("images", "--calibration-images"),
    "calibration_method": ("method", "--calibration-method"),
    "max_drop": ("max_drop", "--max-drop"),
    "weight_bits": ("weight_bits", "--weight-bits"),
    "keep_float": ("keep_float", "--keep-float"),
    "threads": ("threads", "--threads"),
}


def read_int8(parameters: Mapping[str, Any]) -> Int8 | None:
    """Return the settings of an int8 file; None where none is asked for.

    Args:
        parameters: those of the verb, by the names that its function gives them.

    Raises:
        ConfigError: a value out of its range, or a setting of int8 without ``--int8``.
    """
    given = {name: value for name, value in parameters.items() if name in _SETTINGS and value not in (None, (), [])}
    if not parameters.get("int8"):
        if given:
            flags = ", ".join(_SETTINGS[name][1] for name in given)
            raise ConfigError(f"{flags} can only be given with --int8.")
        return None
    from dropkd.export import Int8

    values: dict[str, Any] = {_SETTINGS[n][0]: tuple(v) if isinstance(v, list) else v for n, v in given.items()}
    return Int8(**values)


def print_int8(written: Int8Export) -> None:
    """Print what an int8 file weighs, costs and saves."""
    from dropkd.cli.console import output
    from dropkd.cli.tables import FIGURES, add_row, make_table, print_line, say_percent

    loss, paired = written.loss, written.loss.paired
    print_line(f"{'int8':<13}", written.path)
    print_line(f"{'described in':<13}", written.description)
    size = written.path.stat().st_size
    kept = f", {len(written.kept)} left as they are ({', '.join(written.kept[:3])}, ...)" if written.kept else ""
    output.print(
        f"{written.layers} layers in whole numbers{kept}; {size:,} bytes, {size / written.float_bytes:.0%} of "
        f"{written.float_bytes:,}; ranges {written.ranges}"
    )
    table = make_table("", f"{FIGURES[loss.figure]} on {loss.split}", "p50", "p95")
    rows: list[tuple[str, float, Latency | None]] = [
        ("float" if written.learned is None else "float, before --qat", loss.before, written.latency["float"])
    ]
    if written.learned is not None:
        rows.append(("student, rounded", written.learned.before, None))
    for name, figure, taken in [*rows, ("int8", loss.after, written.latency["int8"])]:
        times = ["-", "-"] if taken is None else [f"{1e3 * part:.2f} ms" for part in (taken.p50, taken.p95)]
        add_row(table, name, say_percent(figure), *times)
    output.print(table)
    low, high = (100 * end for end in paired.interval)
    output.print(
        f"{100 * paired.difference:+.2f} points on {loss.images:,} images (95 % interval {low:+.2f} to {high:+.2f}); "
        f"the same answer to {say_percent(loss.same)} of them. Time for one image by onnxruntime with "
        f"{written.threads} thread{'' if written.threads == 1 else 's'}, in turn with the float file."
    )
    if paired.verdict == "worse":
        output.print(
            "That is more than chance. Where it is too much: --calibration-method, --keep-float, or let the student "
            "learn to be rounded from its teacher: dropkd distill DATA --qat --student RUN --teacher TEACHER"
        )
    if written.learned is not None:
        output.print(
            f"It answers as the student that learned to be rounded on {say_percent(written.learned.same)} of them."
        )
