"""The figures of a model card: those of the student on the split that they are of, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult

from dropkd.report.run_record import RunRecord
from dropkd.report.summary import SPLIT_NAMES
from dropkd.sharing.markdown import as_text, make_table

__all__ = ["FIGURES", "list_results", "list_weakest", "tabulate_figures", "write_figure"]

# By key: how a figure is called, and by which name the hub knows it, where it knows it.
FIGURES: Mapping[str, tuple[str, str | None]] = {
    "accuracy": ("Accuracy", "accuracy"),
    "top5_accuracy": ("Top-5 accuracy", "accuracy"),
    "uar": ("Mean recall of the classes (UAR, balanced accuracy)", "balanced_accuracy"),
    "map": ("Mean average precision (mAP)", "mean_average_precision"),
    "macro_f1": ("Mean F1 of the classes", "f1"),
    "micro_f1": ("F1 of all labels together", "f1"),
    "exact_match": ("All labels of an image right", "exact_match"),
    "auroc": ("AUROC", "roc_auc"),
    "loss": ("Cross-entropy (lower is better)", None),
    "ece": ("Calibration error (ECE, lower is better)", None),
    "agreement": ("Same answer as the teacher", None),
}
# Figures that are no shares of something.
_PLAIN = frozenset({"loss"})
_FEW_CLASSES = 5


def tabulate_figures(run: RunRecord, split: str) -> str:
    """Return the table of a split's figures in Markdown."""
    shown = _list_shown(run, split)
    teacher = run.teacher_score(split) is not None
    rows = []
    for key in shown:
        row = [FIGURES[key][0], write_figure(key, run.figure("splits", split, key)), _write_interval(run, split, key)]
        if teacher:
            row.append(write_figure(key, run.figure("teacher", "splits", split, key)) if key != "agreement" else "")
        rows.append(row)
    head = [f"{SPLIT_NAMES[split]} images", "this model", "95 % interval", *(["its teacher"] if teacher else [])]
    return make_table(head, rows)


def list_results(run: RunRecord, split: str, data: str, data_type: str) -> list[EvalResult]:
    """Return the figures as the hub's own tables take them.

    Args:
        run: a finished run.
        split: which split's.
        data: name of the data set.
        data_type: the same as an identifier.
    """
    task: dict[str, Any] = {"task_type": "image-classification", "task_name": "Image classification"}
    place: dict[str, Any] = {"dataset_name": data, "dataset_type": data_type, "dataset_split": SPLIT_NAMES[split]}
    results = []
    for key in _list_shown(run, split):
        name, kind = FIGURES[key]
        value = run.figure("splits", split, key)
        if kind is not None and value is not None:
            results.append(
                EvalResult(metric_type=kind, metric_name=name, metric_value=round(value, 6), **task, **place)
            )
    return results


def list_weakest(run: RunRecord, split: str, count: int) -> str:
    """Return the classes with the lowest F1 as a table in Markdown; empty where there are too few to choose from."""
    table = run.metrics["splits"][split].get("by_class") or {}
    f1 = table.get("f1") or []
    known = [number for number, value in enumerate(f1) if value is not None]
    if len(known) < 3:
        return ""
    weakest = sorted(known, key=lambda number: (f1[number], number))[:count]
    rows = []
    for number in weakest:
        shares = (write_figure(key, table[key][number]) for key in ("recall", "precision", "f1"))
        rows.append([as_text(run.class_name(number)), f"{table['images'][number]:,}", *shares])
    return make_table(["class", "images", "recall", "precision", "F1"], rows)


def write_figure(key: str, value: float | None) -> str:
    """Return a figure as text: a share as a percentage.

    Example:
        >>> write_figure("accuracy", 0.9012), write_figure("loss", 0.25), write_figure("uar", None)
        ('90.1 %', '0.250', '–')
    """
    if value is None:
        return "\u2013"
    return f"{value:.3f}" if key in _PLAIN else f"{100 * value:.1f} %"


def _write_interval(run: RunRecord, split: str, key: str) -> str:
    bounds: Any = run.metrics["splits"][split].get("intervals", {}).get(key)
    if not bounds or None in bounds:
        return "\u2013"
    low, high = bounds
    return f"{low:.3f} to {high:.3f}" if key in _PLAIN else f"{100 * low:.1f} to {100 * high:.1f} %"


def _list_shown(run: RunRecord, split: str) -> list[str]:
    few = len(run.classes or ()) <= _FEW_CLASSES
    there = [key for key in FIGURES if run.figure("splits", split, key) is not None]
    return [key for key in there if not (few and key == "top5_accuracy")]
