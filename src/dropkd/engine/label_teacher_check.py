"""Before the first step on images with several labels: does the teacher know these labels, in this order?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd.engine.evaluation import Answers
from dropkd.engine.teacher_check import TeacherVerdict
from dropkd.metrics.multi_label import average_precision, mean_prevalence

__all__ = ["find_odd_probabilities", "judge_label_teacher"]

# Random orders of the teacher's answers, which say how far mAP may lie above chance by luck.
_ORDERS = 20
# Trying each class as each other takes the square of their number.
_MOST_CLASSES = 100


def judge_label_teacher(
    answers: Answers, classes: Sequence[str], teacher_classes: Sequence[str] | None
) -> TeacherVerdict:
    """Return the teacher's mAP on the data and what is wrong with it, or None.

    As for one class an image, two mistakes are told apart: mAP near chance, and another class order.

    Args:
        answers: the teacher's answers to images of the data, with as many logits as the data has classes.
        classes: the data's class names, in the order of the labels.
        teacher_classes: the teacher's class names in the order of its logits, where known.
    """
    found, chance = _mean(average_precision(answers.logits, answers.target)), mean_prevalence(answers.target)
    if teacher_classes is not None and list(teacher_classes) != list(classes) and set(teacher_classes) == set(classes):
        pairs = [(a, b) for a, b in zip(teacher_classes, classes, strict=True) if a != b]
        return found, _order_text(found, "Its file lists the same classes in another order.", pairs)
    bound = _bound_luck(answers)
    renamed = _find_renaming(answers) if len(classes) <= _MOST_CLASSES else None
    if renamed is not None and renamed[0] >= max(found + 0.2, bound):
        text = f"Renaming its classes one to one would give {renamed[0]:.1%}."
        return found, _order_text(found, text, [(classes[a], classes[b]) for a, b in renamed[1]])
    if found < bound:
        return found, (
            f"The teacher's mAP on {len(answers.target)} images of your data is {found:.1%}; a random order has "
            f"{chance:.1%}. It does not know this task: check that its weights were loaded, that it was trained on "
            "these labels, and its input size (teacher.image_size) and normalisation."
        )
    return found, None


def find_odd_probabilities(answers: Answers) -> str | None:
    """Say so where a teacher ranks images well and its probabilities are worse than none at all, else None.

    That is what a teacher of softmax gives, or one that was trained with weights on its labels.
    """
    shares = answers.target.mean(dim=0, dtype=torch.float64).clamp(1e-6, 1 - 1e-6).expand(answers.target.shape)
    blind = float(F.binary_cross_entropy(shares, answers.target.double()))
    loss = float(F.binary_cross_entropy_with_logits(answers.logits, answers.target))
    if loss <= blind:
        return None
    return (
        f"The teacher's probabilities are further from the labels (binary cross-entropy {loss:.3f}) than the share of "
        f"images that has each label ({blind:.3f}). Was it trained for one class an image, or with weights on its "
        "labels? Its order of the images counts in mAP; distillation by kd takes its probabilities as they are."
    )


def _bound_luck(answers: Answers) -> float:
    """Return the mAP that a teacher without knowledge stays below: that of random orders, and five points."""
    source = torch.Generator().manual_seed(0)
    drawn = []
    for _ in range(_ORDERS):
        order = torch.randperm(len(answers.target), generator=source)
        drawn.append(_mean(average_precision(answers.logits[order], answers.target)))
    values = torch.tensor(drawn, dtype=torch.float64)
    return float(values.mean() + max(3 * float(values.std()), 0.05))


def _find_renaming(answers: Answers) -> tuple[float, list[tuple[int, int]]] | None:
    """Return the mAP with the best of the teacher's classes for each label, and the pairs; None if not one to one."""
    count = answers.target.shape[1]
    by_pair = torch.stack(
        [average_precision(answers.logits[:, [k] * count], answers.target).nan_to_num(-1.0) for k in range(count)]
    )
    best, taken = by_pair.max(dim=0)
    present = (answers.target > 0.5).any(dim=0)
    chosen = taken[present].tolist()
    if len(set(chosen)) < len(chosen):
        return None
    pairs = [(int(taken[k]), k) for k in range(count) if bool(present[k]) and int(taken[k]) != k]
    return float(best[present].mean()), pairs


def _mean(by_class: Tensor) -> float:
    return float(by_class.nanmean().nan_to_num(0.0))


def _order_text(found: float, finding: str, pairs: Sequence[tuple[str, str]]) -> str:
    shown = ", ".join(f"its {a!r} is your {b!r}" for a, b in pairs[:5]) + (", ..." if len(pairs) > 5 else "")
    return (
        f"The teacher's mAP on your images is {found:.1%}, and its classes stand in another order than yours. "
        f"{finding} For example: {shown}. Give the classes in the teacher's order by ?classes=FILE, or say by "
        "--label-map which of its classes is which of yours."
    )
