"""Images on which the runs of a comparison differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dropkd.report.cards import AnswerLine, Card, CardGroup, read_answer
from dropkd.report.groups import Group
from dropkd.report.pairing import shared_rows
from dropkd.report.predictions import Predictions
from dropkd.report.run_record import RunRecord
from dropkd.report.samples import embed_picture, pick_most

__all__ = ["contrast_groups"]

# All cards of a page: few enough to be looked at, and to keep the file small.
_MOST_CARDS = 24
_MOST_NETWORKS = 6


def contrast_groups(groups: Sequence[Group], reference: Group, split: str) -> list[CardGroup]:
    """Return, for each other group, images that it has right and the reference wrong, and the reverse.

    The first run of each group with answers speaks for it; images are ordered by how far the two networks'
    probabilities of the true class lie apart.
    """
    speakers = {g.label: run for g in groups if (run := _find_speaker(g, split))}
    base = speakers.get(reference.label)
    others = [g for g in groups if g.label in speakers and g.label != reference.label]
    if base is None or not others:
        return []
    each = max(2, _MOST_CARDS // (2 * len(others)))
    shown = [g for g in groups if g.label in speakers][:_MOST_NETWORKS]
    found = []
    for group in others[: _MOST_CARDS // 4]:
        found += _contrast(group, reference, speakers, shown, split, each)
    return [group for group in found if group.cards]


def _find_speaker(group: Group, split: str) -> RunRecord | None:
    return next((run for run in group.runs if split in run.predictions), None)


def _contrast(
    group: Group, reference: Group, speakers: dict[str, RunRecord], shown: Sequence[Group], split: str, each: int
) -> list[CardGroup]:
    run, base = speakers[group.label], speakers[reference.label]
    mine, theirs = run.predictions[split], base.predictions[split]
    rows, other_rows = shared_rows(mine, theirs)
    right, other_right = mine.student_right[rows], theirs.student_right[other_rows]
    apart = np.nan_to_num(mine.student.truth[rows] - theirs.student.truth[other_rows])
    kinds = [
        (f"{group.label} right, {reference.label} wrong", right & ~other_right, apart),
        (f"{reference.label} right, {group.label} wrong", ~right & other_right, -apart),
    ]
    text = "where the two are furthest apart on the true class"
    return [
        CardGroup(title, text, int(np.count_nonzero(among)), tuple(
            _build_card(run, int(rows[k]), shown, speakers, split) for k in pick_most(among, by, each)
        ))
        for title, among, by in kinds
    ]  # fmt: skip


def _build_card(run: RunRecord, row: int, shown: Sequence[Group], speakers: dict[str, RunRecord], split: str) -> Card:
    answers = run.predictions[split]
    path, target = answers.paths[row], int(answers.target[row])
    lines = [line for g in shown if (line := _find_answer(g, speakers[g.label], split, path, target)) is not None]
    teacher = next((r for r in speakers.values() if r.predictions[split].teacher is not None), None)
    if teacher is not None:
        place = _find_row(teacher.predictions[split], path)
        told = teacher.predictions[split].teacher
        if place is not None and told is not None:
            lines.append(read_answer("teacher", "teacher", told, place, target, teacher))
    return Card(embed_picture(run.pictures, path), run.class_name(target), path, tuple(lines))


def _find_answer(group: Group, run: RunRecord, split: str, path: str, target: int) -> AnswerLine | None:
    row = _find_row(run.predictions[split], path)
    return (
        None if row is None else read_answer(group.label, group.look, run.predictions[split].student, row, target, run)
    )


def _find_row(answers: Predictions, path: str) -> int | None:
    try:
        return answers.paths.index(path)
    except ValueError:
        return None
