"""The tables of an evaluation: figures with their intervals, weak classes, what is the teacher's, spoilt images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dropkd.cli.console import output
from dropkd.cli.tables import FIGURES, add_row, make_table, print_heading, print_line, say_percent

__all__ = ["print_compound_scores", "print_scores"]

_BESIDE_TEACHER = {
    "agreement": "same answer as the teacher",
    "accuracy_teacher_right": "right where the teacher is right",
    "accuracy_teacher_wrong": "right where the teacher is wrong",
    "shared_errors": "errors that are the teacher's too",
    "kl_to_teacher": "KL(teacher || student)",
}
# Figures that are no shares.
_PLAIN = frozenset({"loss", "kl_to_teacher"})
_WEAKEST = 5


def print_scores(scores: Mapping[str, Mapping[str, Any]], title: str, classes: Sequence[str] | None = None) -> None:
    """Print each split's figures.

    Args:
        scores: figures by split, as under ``splits`` in ``metrics.json``.
        title: the line above the table.
        classes: names of the classes; None: their numbers.
    """
    print_heading(title)
    table = make_table("95 % interval in brackets", *(f"{name}, {s['images']:,} images" for name, s in scores.items()))
    for key, label in (FIGURES | _BESIDE_TEACHER).items():
        if any(score.get(key) is not None for score in scores.values()):
            add_row(table, label, *(_say_figure(score, key) for score in scores.values()))
    output.print(table)
    for name, score in scores.items():
        _print_weakest(name, score, classes)
        _print_corruptions(name, score)


def _say_figure(score: Mapping[str, Any], key: str) -> str:
    value, interval = score.get(key), score.get("intervals", {}).get(key)
    if value is None:
        return "-"
    if interval is None:
        return f"{value:.4f}" if key in _PLAIN else say_percent(value)
    low, high = interval
    if key in _PLAIN:
        return f"{value:.4f} ({low:.4f} to {high:.4f})"
    return f"{say_percent(value)} ({100 * low:.2f} to {100 * high:.2f})"


def _print_weakest(split: str, score: Mapping[str, Any], classes: Sequence[str] | None) -> None:
    """Print the classes with the lowest F1."""
    table = score.get("by_class")
    if table is None or len(table["f1"]) < 3:
        return
    known = [number for number, value in enumerate(table["f1"]) if value is not None]
    weakest = sorted(known, key=lambda number: table["f1"][number])[:_WEAKEST]
    shown = make_table(f"{split}, weakest classes", "images", "precision", "recall", "F1")
    for number in weakest:
        name = classes[number] if classes is not None else f"class {number}"
        figures = (say_percent(table[key][number]) for key in ("precision", "recall", "f1"))
        add_row(shown, name, f"{table['images'][number]:,}", *figures)
    output.print(shown)
    absent = len(table["f1"]) - len(known)
    if absent:
        print_line("absent", f"{absent} of {len(table['f1'])} classes have no image in {split}")


def _print_corruptions(split: str, score: Mapping[str, Any]) -> None:
    found = score.get("corruptions")
    if found is None:
        return
    strengths = range(1, 1 + max(len(values) for values in found["kinds"].values()))
    table = make_table(f"{split}, spoilt by", *(f"strength {n}" for n in strengths), "mean")
    for kind, values in found["kinds"].items():
        add_row(table, kind.replace("_", " "), *map(say_percent, values), say_percent(sum(values) / len(values)))
    output.print(table)
    print_line("spoilt", f"{FIGURES[found['figure']]} {say_percent(found['mean'])} over all kinds and strengths")


def print_compound_scores(scores: Mapping[str, Mapping[str, Any]], title: str) -> None:
    """Print how often a student's best basic classes are those that compound classes are made of.

    Args:
        scores: figures by split, as ``dropkd.evaluate(..., task="compound")`` returns them.
        title: the line above the table.
    """
    table = make_table("compound", "images", "both of 2", "best is one", "one of best 2", "both, by class")
    print_heading(title)
    for name, score in scores.items():
        keys = ("acc_both", "acc_single", "acc_single_top2", "uar_both")
        add_row(table, name, f"{score['images']:,}", *(say_percent(score[key]) for key in keys))
    output.print(table)
    for score in list(scores.values())[:1]:
        basic = f"accuracy {say_percent(score['basic_accuracy'])}, UAR {say_percent(score['basic_uar'])}"
        print_line("basic", f"{basic}, as the run measured them")
