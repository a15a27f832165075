"""The page of one run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropkd.report.classes import build_confusion, describe_pairs, tabulate_classes
from dropkd.report.curves import EPOCH_COLUMNS, draw_learning_curves, tabulate_epochs
from dropkd.report.figures import accuracy_dots, tabulate_figures
from dropkd.report.predictions import Answers, Predictions
from dropkd.report.rendering import write_page
from dropkd.report.run_record import RunRecord, read_run
from dropkd.report.samples import Picture, SampleGroup, choose_samples, embed_picture
from dropkd.report.settings import list_environment, list_settings, repeat_command
from dropkd.report.summary import SPLIT_NAMES, summarise
from dropkd.report.wording import count, duration, percent, plural

__all__ = ["AnswerLine", "Card", "CardGroup", "read_answer", "write_run_report"]



@dataclass(frozen=True)
class AnswerLine:
    """One network's answer to an image: who, what, how sure (text and 0-100), and whether it is right."""

    who: str
    look: str
    answer: str
    sure: str
    width: float
    is_right: bool


@dataclass(frozen=True)
class Card:
    """An image with the true class and the answers."""

    picture: Picture
    true: str
    path: str
    answers: tuple[AnswerLine, ...]


@dataclass(frozen=True)
class CardGroup:
    """Cards of one kind."""

    title: str
    text: str
    total: int
    cards: tuple[Card, ...]


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


def read_answer(who: str, look: str, answers: Answers, row: int, target: int, run: RunRecord) -> AnswerLine:
    """Return a network's answer to one image, for a card."""
    prediction, confidence = int(answers.prediction[row]), float(answers.confidence[row])
    known = confidence == confidence  # noqa: PLR0124  (not NaN)
    sure = percent(confidence, 0) if known else ""
    width = round(100 * confidence, 1) if known else 0.0
    return AnswerLine(who, look, run.class_name(prediction), sure, width, prediction == target)


def _describe_run(run: RunRecord) -> dict[str, Any]:
    split = _answered_split(run)
    answers = run.predictions[split] if split else None
    classes, class_total = tabulate_classes(run, split) if split else ([], 0)
    groups, missing = _build_cards(run, answers) if answers else ([], 0)
    gaps = [*run.gaps, *_name_missing(run, missing), *_check_answers(run, split)]
    return {
        "title": _title(run), "run": run, "summary": summarise(run), "facts": _list_facts(run),
        "dots": accuracy_dots(run), "figures": tabulate_figures(run), "gaps": gaps,
        "curves": draw_learning_curves(run), "epochs": tabulate_epochs(run), "epoch_columns": EPOCH_COLUMNS,
        "split_name": SPLIT_NAMES.get(split or "", split), "confusion": build_confusion(run, answers) if answers else None,
        "pairs": describe_pairs(run, answers) if answers else [], "classes": classes, "class_total": class_total,
        "groups": groups, "settings": list_settings(run.config), "environment": list_environment(run),
        "command": repeat_command(run),
    }  # fmt: skip


def _title(run: RunRecord) -> str:
    if run.method == "plain" or run.teacher_name is None:
        return f"{run.student_name}, trained {'alone' if run.method == 'plain' else f'by {run.method}'}"
    return f"{run.student_name}, taught by {Path(run.teacher_name).name} with {run.method}"


def _list_facts(run: RunRecord) -> list[tuple[str, str]]:
    """Return the facts under the title: what was trained, on how much, how long."""
    done = len(run.log.epochs)
    planned = run.setting("training", "epochs")
    facts = {
        "status": run.status,
        "method": run.method,
        "seed": None if run.seed is None else str(run.seed),
        "training images": _count(run.figure("train_images")),
        "epochs": f"{done} of {planned}" if isinstance(planned, int) and planned != done else str(done),
        "steps": _count(run.figure("steps")),
        "images a step": _count(run.figure("global_batch") or run.setting("training", "batch_size")),
        "time": duration(run.figure("seconds")) if run.figure("seconds") else None,
        "parameters": _count(run.figure("student", "parameters")),
        "of the method (dropped after training)": _count(run.figure("method_parameters") or None),
        "started from": {True: "published weights", False: "random weights"}.get(
            (run.metrics.get("student") or {}).get("pretrained")
        ),
    }
    return [(name, value) for name, value in facts.items() if value is not None]


def _count(value: float | None) -> str | None:
    return None if value is None else count(value)


def _answered_split(run: RunRecord) -> str | None:
    places = [run.split, "test", "val", *run.predictions]
    return next((s for s in places if s in run.predictions and len(run.predictions[s].target)), None)


def _build_cards(run: RunRecord, answers: Predictions) -> tuple[list[CardGroup], int]:
    """Return the groups of sample images, and how many pictures could not be read."""
    student = answers.student
    chosen = choose_samples(answers.student_right, answers.teacher_right, student.confidence, student.truth)
    groups = [
        CardGroup(g.title, g.text, g.total, tuple(_build_card(run, answers, row) for row in g.rows))
        for g in _with_images(chosen)
    ]
    return groups, sum(card.picture.uri is None for group in groups for card in group.cards)


def _with_images(groups: list[SampleGroup]) -> list[SampleGroup]:
    return [group for group in groups if group.rows]


def _build_card(run: RunRecord, answers: Predictions, row: int) -> Card:
    target, path = int(answers.target[row]), answers.paths[row]
    lines = [read_answer("student", "student", answers.student, row, target, run)]
    if answers.teacher is not None:
        lines.append(read_answer("teacher", "teacher", answers.teacher, row, target, run))
    return Card(embed_picture(run.data_root, path), run.class_name(target), path, tuple(lines))


def _name_missing(run: RunRecord, missing: int) -> list[str]:
    if not missing:
        return []
    place = f"below {str(run.data_root)!r}" if run.data_root else "(the configuration names no data folder)"
    return [f"{plural(missing, 'sample image')} could not be read {place}; their answers are shown without a picture."]


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
