"""The page of one run."""

from __future__ import annotations

import shlex
from pathlib import Path, PurePath
from typing import Any

from dropkd.report.beside_teacher import describe_beside
from dropkd.report.calibration import describe_calibration
from dropkd.report.cards import build_cards, name_absent
from dropkd.report.class_table import tabulate_classes
from dropkd.report.cost import describe_cost, read_cost
from dropkd.report.curves import draw_learning_curves, name_epoch_columns, tabulate_epochs
from dropkd.report.figures import accuracy_dots, tabulate_figures
from dropkd.report.label_classes import build_label_cards, tabulate_labels
from dropkd.report.layer_similarity import read_similarity
from dropkd.report.mistakes import build_confusion, describe_pairs
from dropkd.report.overlays import read_overlays
from dropkd.report.relabelled_images import choose_relabelled
from dropkd.report.relabels import describe_relabels
from dropkd.report.rendering import write_page
from dropkd.report.run_record import RunRecord, read_run
from dropkd.report.sections import choose_sections
from dropkd.report.settings import again_command, list_environment, list_settings, repeat_command
from dropkd.report.summary import SPLIT_NAMES, summarise
from dropkd.report.wording import count, duration, percent

__all__ = ["write_run_report"]


# What only pages of one class an image, or only those of several labels, have.
_NOTHING_SHOWN: dict[str, Any] = {
    "confusion": None, "pairs": [], "classes": None, "labels": None,
}  # fmt: skip
_BEGINNINGS = {"True": "published weights", "False": "random weights"}


def write_run_report(run_folder: Path) -> Path:
    """Write ``report.html`` into a run folder and return its path.

    A run that is still going, was interrupted, or whose images have moved gives a page that says what is missing.

    Args:
        run_folder: what ``dropkd train`` or ``dropkd distill`` wrote.

    Raises:
        RunError: the folder is no run folder, or can't be written to.
    """
    run = read_run(Path(run_folder))
    return write_page(run.folder / "report.html", "run.html.j2", _describe_run(run))


def _describe_run(run: RunRecord) -> dict[str, Any]:
    split = _answered_split(run)
    shown = _NOTHING_SHOWN | (_show_labels(run) if run.is_multi_label else _show_classes(run, split))
    _, cost_gap = read_cost(run)
    gaps = [*run.gaps, *name_absent(run, shown["groups"]), *_check_answers(run, split)]
    gaps += [cost_gap] if cost_gap else []
    judged = run.split
    told = {
        "beside": describe_beside(run, judged) if judged else None,
        "calibration": describe_calibration(run, judged) if judged else None,
        "cost": describe_cost(run),
        "curves": draw_learning_curves(run),
        "epochs": tabulate_epochs(run),
        "epoch_columns": name_epoch_columns(run),
        "relabels": describe_relabels(run),
        "relabelled": choose_relabelled(run),
        "looks": read_overlays(run.folder),
        "similarity": read_similarity(run.folder),
        "settings": list_settings(run.config, run.departures),
        "environment": list_environment(run),
        "command": repeat_command(run),
        "again": again_command(run),
        "resume": shlex.join(["dropkd", "resume", str(run.folder)]),
        "watch": shlex.join(["dropkd", "watch", str(run.folder)]),
    }
    top = {"title": _title(run), "run": run, "summary": summarise(run), "facts": _list_facts(run), "gaps": gaps}
    values = top | shown | told | {"dots": accuracy_dots(run), "figures": tabulate_figures(run)}
    return values | {"sections": choose_sections(values)}


def _show_classes(run: RunRecord, split: str | None) -> dict[str, Any]:
    """Return the mistakes, the classes and the sample images where each image has one class."""
    answers = run.predictions[split] if split else None
    return {
        "split_name": SPLIT_NAMES.get(split or "", split),
        "confusion": build_confusion(run, answers) if answers else None,
        "pairs": describe_pairs(run, answers) if answers else [],
        "classes": tabulate_classes(run, split) if split else None,
        "groups": build_cards(run, answers) if answers else [],
    }


def _show_labels(run: RunRecord) -> dict[str, Any]:
    """Return the labels and the sample images where an image has several; there is no confusion of one for another."""
    places = [run.split or "test", "test", "val", *run.label_sets]
    split = next((s for s in places if s in run.label_sets), None)
    return {
        "split_name": SPLIT_NAMES.get(split or "", split),
        "labels": tabulate_labels(run, split) if split else None,
        "groups": build_label_cards(run, run.label_sets[split]) if split else [],
    }


def _title(run: RunRecord) -> str:
    if run.method == "plain":
        return f"{run.student_name}, trained alone"
    return f"{run.student_name}, {'trained' if run.teacher_name is None else 'distilled'} with {run.method}"


def _list_facts(run: RunRecord) -> list[tuple[str, str]]:
    """Return the facts under the title: what was trained, on how much, how long."""
    done = len(run.log.epochs)
    planned = run.setting("training", "epochs")
    facts = {
        "teacher": _describe_teacher(run),
        "the teacher\u2019s parameters": _count(run.figure("teacher", "parameters")),
        "the teacher\u2019s answers": _describe_cache(run),
        "student": run.student_name,
        "the student\u2019s parameters": _count(run.figure("student", "parameters")),
        "training images": _count(run.figure("train_images")),
        "unlabelled images, for the teacher\u2019s terms alone": _describe_unlabelled(run),
        "epochs": f"{done} of {planned}" if isinstance(planned, int) and planned != done else str(done),
        "steps": _count(run.figure("steps")),
        "images a step": _count(run.figure("global_batch") or run.setting("training", "batch_size")),
        "time": duration(run.figure("seconds")) if run.figure("seconds") else None,
        "the method\u2019s parameters (dropped after training)": _count(run.figure("method_parameters") or None),
        "started from": _BEGINNINGS.get(str(run.figure_text("student", "pretrained"))),
    }
    return [(name, value) for name, value in facts.items() if value is not None]


def _describe_teacher(run: RunRecord) -> str | None:
    """Return the teacher's name, and what it was read from; the whole path stands in the configuration."""
    source, name = run.teacher_name, run.figure_text("teacher", "name")
    if source is None or name in (None, source):
        return source
    return f"{name}, from {PurePath(source.removeprefix(f'{name}:')).name}"


def _describe_cache(run: RunRecord) -> str | None:
    name, views, size = (
        run.figure_text("teacher_cache", "name"),
        run.figure("teacher_cache", "views"),
        run.figure("teacher_cache", "bytes_per_image"),
    )
    if name is None or views is None or size is None:
        return None
    said = f"from the cache {name}, {count(views)} views of each image, {count(size)} bytes a view"
    return said if run.metrics["teacher_cache"].get("to_the_end", True) else f"{said}; its end from the teacher itself"


def _describe_unlabelled(run: RunRecord) -> str | None:
    images, step = run.figure("unlabelled", "images"), run.figure("unlabelled", "images_per_step")
    if images is None or step is None:
        return None
    left_out = run.metrics["unlabelled"].get("left_out") or {}
    places = {"unreadable": "could not be read"}
    reasons = [f"{count(n)} {places.get(name, f'are in {name}')}" for name, n in left_out.items()]
    said = f"{count(images)}, {count(step)} a step beside the labelled ones"
    return said + (f"; left out: {', '.join(reasons)}" if reasons else "")


def _count(value: float | None) -> str | None:
    return None if value is None else count(value)


def _answered_split(run: RunRecord) -> str | None:
    """Return the split whose answers are shown: that of the headline, else any that has answers."""
    places = [run.split or "test", "test", "val", *run.predictions]
    return next((s for s in places if s in run.predictions and len(run.predictions[s].target)), None)


def _check_answers(run: RunRecord, split: str | None) -> list[str]:
    """Say so where the stored answers are not those that the figures were taken from."""
    accuracy = run.figure("splits", split, "accuracy") if split else None
    if split is None or accuracy is None:
        return []
    answers = run.predictions[split]
    stored = float(answers.student_right.mean())
    if abs(stored - accuracy) * len(answers.target) < 1:
        return []
    return [
        f"predictions.parquet gives {percent(stored)} on the {SPLIT_NAMES.get(split, split)} images, metrics.json "
        f"{percent(accuracy)}: one of the two is of another state of the run."
    ]
