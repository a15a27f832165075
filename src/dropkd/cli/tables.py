"""The tables that close a run, a dry run or an evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from dropkd.cli.console import output

if TYPE_CHECKING:
    from dropkd.engine.finetuning import RateRow
    from dropkd.engine.rehearsal import DryRun
    from dropkd.run import Run

__all__ = [
    "FIGURES",
    "add_row",
    "make_table",
    "mark_unprintable",
    "print_dry_run",
    "print_heading",
    "print_line",
    "print_outcome",
    "print_rates",
    "say_percent",
    "say_time",
]

# How a split's figures are called, in the order in which they are shown.
FIGURES = {
    "accuracy": "accuracy",
    "top5_accuracy": "top 5",
    "uar": "UAR",
    "map": "mAP",
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "exact_match": "all right",
    "auroc": "AUROC",
    "ece": "calibration error",
    "loss": "loss",
}


def say_percent(fraction: float | None) -> str:
    """Return a fraction as a percentage, or a dash for none."""
    return "-" if fraction is None else f"{100 * fraction:.2f} %"


def say_time(seconds: float) -> str:
    """Return a time span as ``4.2 s``, ``3 min 05 s`` or ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def make_table(*columns: str, figures: bool = True) -> Table:
    """Return an empty table whose first column holds text, and the others too unless they hold figures."""
    table = Table()
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if figures and number else "left", overflow="fold")
    return table


def add_row(table: Table, *cells: object) -> None:
    """Add a row of plain text: brackets are no markup, and what a terminal would obey is shown as a mark."""
    table.add_row(*(Text(mark_unprintable(str(cell))) for cell in cells))


def mark_unprintable(text: str) -> str:
    """Return a text with a mark for each character that a terminal would obey."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def print_heading(text: str) -> None:
    """Print the line above a table; as a title of the table it would be wrapped to the table's width."""
    output.print(Text(text, style="bold"), soft_wrap=True)


def print_line(label: str, value: object) -> None:
    """Print a labelled value that is not wrapped, so that a path can be copied."""
    output.print(Text.assemble((f"{label:<9}", "bold"), str(value)), soft_wrap=True)


def print_outcome(run: Run) -> None:
    """Print a finished run's accuracies and where its files are."""
    metrics = run.metrics
    splits = [name for name in ("val", "test") if name in metrics.get("splits", {})]
    # Where classes are uneven, accuracy is mostly that of the large ones.
    kinds = ["accuracy", "uar"] if metrics.get("imbalanced") else ["accuracy"]
    kinds = ["map", "micro_f1"] if metrics.get("multi_label") else kinds
    table = make_table(FIGURES[kinds[0]], *splits, *(f"{name}, {FIGURES[k]}" for k in kinds[1:] for name in splits))
    for label, scores in _collect_rows(metrics, run.folder):
        add_row(table, label, *(say_percent(scores.get(name, {}).get(kind)) for kind in kinds for name in splits))
    output.print()
    print_heading(_describe_run(metrics))
    output.print(table)
    if bonus := metrics.get("selection_bonus"):
        print_line("picking", _describe_bonus(bonus))
    if stopped := metrics.get("stopped_early"):
        print_line("stopped", _describe_stop(stopped))
    if relabelled := metrics.get("relabelled"):
        print_line("labels", _describe_relabelled(relabelled, metrics["train_images"], run.folder / "relabelled.csv"))
    print_line("run", run.folder)
    for label, name in (("student", "student.safetensors"), ("report", "report.html")):
        if (run.folder / name).is_file():
            print_line(label, run.folder / name)


def print_rates(rows: Sequence[RateRow], by: str) -> None:
    """Print what is trained when, and at which peak rate.

    Args:
        rows: a line for each part.
        by: what orders the layers.
    """
    table = make_table("trained", "parameters", "peak rate", "when", figures=False)
    for row in rows:
        rate = "-" if not row.highest else f"{row.highest:.3g}"
        rate = rate if row.lowest == row.highest else f"{row.lowest:.3g} to {rate}"
        add_row(table, row.part, f"{row.parameters:,}", rate, row.note)
    output.print(table)
    if any(row.part.startswith("layer") for row in rows):
        print_line("layers", f"by {by}")


def print_dry_run(plan: DryRun) -> None:
    """Print what a run would do and what it would cost."""
    output.print(Syntax(plan.config, "yaml", background_color="default"))
    table = make_table("network", "parameters", "logits", "maps (C, H, W), shallow to deep", "embedding", figures=False)
    for name, shapes in (("student", plan.student), ("teacher", plan.teacher)):
        if shapes is not None:
            maps = ", ".join(map(str, shapes.maps))
            add_row(table, name, f"{plan.parameters[name]:,}", shapes.logits, maps, shapes.embedding)
    add_row(table, "method", f"{plan.parameters['method']:,}", "", "", "")
    output.print(table)
    print_rates(plan.rates, plan.layers_by)
    print_line("images", ", ".join(f"{count:,} {split}" for split, count in plan.images.items()))
    if plan.mix is not None:
        print_line("batch", plan.mix)
    if plan.cache is not None:
        print_line("cache", plan.cache)
    print_line("steps", f"{plan.steps:,}, {1000 * plan.seconds_per_step:.0f} ms each")
    print_line("time", f"about {say_time(plan.seconds)}, by a few real steps")
    print_line("memory", f"{plan.peak_memory / 2**30:.1f} GiB at most, in these steps")
    output.print("Nothing was written.")


def _describe_run(metrics: Mapping[str, Any]) -> str:
    student, teacher = metrics["student"], metrics.get("teacher")
    text = f"{metrics['method']}: {student['name']} ({student['parameters']:,} parameters)"
    if teacher:
        text += f" from {teacher['source']} ({teacher['parameters']:,})"
    return f"{text}, seed {metrics['seed']}"


def _describe_bonus(bonus: Mapping[str, Any]) -> str:
    best, figure = say_percent(bonus["best"]), FIGURES[bonus["figure"]]
    more = f"{100 * bonus['bonus']:.2f} points above that of the epoch that was kept"
    return f"the best test {figure} of any epoch was {best} (epoch {bonus['best_epoch'] + 1}), {more}"


def _describe_stop(stopped: Mapping[str, Any]) -> str:
    from dropkd.engine.selection import EarlyStop

    return str(EarlyStop(**stopped)).removeprefix("Stopped early, ")


def _describe_relabelled(relabelled: Mapping[str, int], train_images: int, file: Path) -> str:
    images, changes = relabelled["images"], relabelled["changes"]
    times = "" if changes == images else f" ({changes:,} times in all)"
    deed = f"{'was' if images == 1 else 'were'} given another class{times}"
    return f"{images:,} of {train_images:,} training images {deed}: {file}"


def _collect_rows(metrics: Mapping[str, Any], folder: Path) -> list[tuple[str, Mapping[str, Any]]]:
    rows: list[tuple[str, Mapping[str, Any]]] = []
    teacher, selected, last = (metrics.get(key) for key in ("teacher", "selected", "last_epoch"))
    if teacher and teacher.get("splits"):
        rows.append(("teacher", teacher["splits"]))
    if metrics.get("baseline"):
        baseline = folder / metrics["baseline"] / "metrics.json"
        if baseline.is_file():
            rows.append(("student alone", json.loads(baseline.read_text(encoding="utf-8")).get("splits", {})))
    if metrics.get("qat"):
        rows.append(("student, before it was rounded", metrics["qat"]["float"]))
    if selected:
        rows.append((f"student, epoch {selected['epoch'] + 1} (by {selected['by']})", metrics["splits"]))
    if last:
        rows.append((f"student, last epoch ({last['epoch'] + 1})", last))
    return rows
