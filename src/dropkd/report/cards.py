"""Cards: an image, its true class, and what each network answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dropkd.report.predictions import Answers, Predictions
from dropkd.report.run_record import RunRecord
from dropkd.report.samples import WORST, Picture, choose_samples, embed_picture
from dropkd.report.wording import percent, plural

__all__ = ["AnswerLine", "Card", "CardGroup", "build_cards", "name_absent", "read_answer"]


@dataclass(frozen=True)
class AnswerLine:
    """One network's answer to an image: who, what, how sure, and whether it is right."""

    who: str
    look: str
    answer: str
    sure: str
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
    """Cards of one kind, and how many images are of it."""

    title: str
    text: str
    total: int
    cards: tuple[Card, ...]


def build_cards(run: RunRecord, answers: Predictions) -> list[CardGroup]:
    """Return the sample images of a run, kinds without an image left out."""
    student = answers.student
    chosen = choose_samples(answers.student_right, answers.teacher_right, student.confidence, student.truth)
    groups = [
        CardGroup(g.title, g.text, g.total, tuple(_build_card(run, answers, row) for row in g.rows))
        for g in chosen
        if g.rows
    ]
    doubt = _doubt_labels(answers)
    return [replace(g, text=g.text + doubt) if g.title == WORST else g for g in groups]


def _doubt_labels(answers: Predictions) -> str:
    """Say of how many images both networks name the same other class: their labels are worth a look."""
    if answers.teacher is None:
        return ""
    same = ~answers.student_right & np.equal(answers.student.prediction, answers.teacher.prediction)
    number = int(np.count_nonzero(same))
    return (
        f"; for {plural(number, 'image')} both name the same class, so the label itself may be wrong" if number else ""
    )


def read_answer(who: str, look: str, answers: Answers, row: int, target: int, run: RunRecord) -> AnswerLine:
    """Return a network's answer to one image."""
    prediction, confidence = int(answers.prediction[row]), float(answers.confidence[row])
    sure = "" if math.isnan(confidence) else percent(confidence, 0)
    return AnswerLine(who, look, run.class_name(prediction), sure, prediction == target)


def name_absent(run: RunRecord, groups: Sequence[CardGroup]) -> list[str]:
    """Say how many pictures could not be read, if any."""
    absent = sum(card.picture.uri is None for group in groups for card in group.cards)
    if not absent:
        return []
    place = f"below {str(run.data_root)!r}" if run.data_root else "(the configuration names no data folder)"
    return [f"{plural(absent, 'sample image')} could not be read {place}; the answers stand without a picture."]


def _build_card(run: RunRecord, answers: Predictions, row: int) -> Card:
    target, path = int(answers.target[row]), answers.paths[row]
    lines = [read_answer("student", "student", answers.student, row, target, run)]
    if answers.teacher is not None:
        lines.append(read_answer("teacher", "teacher", answers.teacher, row, target, run))
    return Card(embed_picture(run.pictures, path), run.class_name(target), path, tuple(lines))
