"""Before the first step: does the teacher know these classes, in this order?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dropkd.engine.evaluation import Answers
from dropkd.errors import TrainingError

__all__ = ["TeacherVerdict", "judge_teacher", "require_teacher"]

TeacherVerdict = tuple[float, str | None]


def judge_teacher(answers: Answers, classes: Sequence[str], teacher_classes: Sequence[str] | None) -> TeacherVerdict:
    """Return the teacher's accuracy on the data and what is wrong with it, or None.

    Two mistakes are told apart: answers near chance (the accuracy is within three standard errors, or five points, of
    always naming the commonest class), and another class order, which is the case where most of the teacher's answers
    become right once its classes are renamed one to one.

    Args:
        answers: the teacher's answers to images of the data, with as many logits as the data has classes.
        classes: the data's class names, in the order of the labels.
        teacher_classes: the teacher's class names in the order of its logits, where known.
    """
    target, prediction = answers.target, answers.prediction
    count, images = len(classes), len(target)
    accuracy = float((prediction == target).double().mean())
    if teacher_classes is not None and list(teacher_classes) != list(classes) and set(teacher_classes) == set(classes):
        return accuracy, _order_text(accuracy, "The teacher's file lists the same classes in another order.", [
            (a, b) for a, b in zip(teacher_classes, classes, strict=True) if a != b
        ])  # fmt: skip
    chance = float(torch.bincount(target, minlength=count).max()) / images
    margin = max(3 * math.sqrt(chance * (1 - chance) / images), 0.05)
    as_label, right = _rename(prediction, target, count)
    one_to_one = len(set(as_label.values())) == len(as_label)
    # One image of each class says what it would be renamed to, only the others can bear it out: of ten thousand classes
    # with an image each, any answers become right once they are renamed.
    borne_out = (right - len(as_label)) / images
    if one_to_one and borne_out >= max(accuracy + 0.2, chance + margin):
        best = right / images
        pairs = [(classes[k], classes[label]) for k, label in as_label.items() if label != k]
        text = f"Renaming its classes one to one would make {best:.1%} of its answers right."
        return accuracy, _order_text(accuracy, text, pairs)
    if accuracy < chance + margin:
        return accuracy, (
            f"The teacher gets {accuracy:.1%} of {images} images of your data right; always naming the commonest class "
            f"gets {chance:.1%}. It does not know this task: check that its weights were loaded, that it was trained "
            "on these classes, and its input size (teacher.image_size) and normalisation."
        )
    return accuracy, None


def require_teacher(problem: str, mode: str) -> str:
    """Return the warning to print, or stop.

    Raises:
        TrainingError: ``mode`` is ``stop``.
    """
    if mode == "stop":
        raise TrainingError(f"{problem} To go on all the same, pass --teacher-check warn.")
    return problem


def _rename(prediction: Tensor, target: Tensor, count: int) -> tuple[dict[int, int], int]:
    """Return for each class that is answered the label that it mostly stands for, and how many answers that fits.

    Only pairs that occur are counted: a table of all of ten thousand classes takes 800 MB.
    """
    pairs, found = torch.unique(prediction * count + target, return_counts=True)
    as_label: dict[int, int] = {}
    most: dict[int, int] = {}
    for pair, number in zip(pairs.tolist(), found.tolist(), strict=True):
        answered, label = divmod(pair, count)
        if number > most.get(answered, 0):
            as_label[answered], most[answered] = label, number
    return as_label, sum(most.values())


def _order_text(accuracy: float, finding: str, pairs: Sequence[tuple[str, str]]) -> str:
    shown = ", ".join(f"its {a!r} is your {b!r}" for a, b in pairs[:5]) + (", ..." if len(pairs) > 5 else "")
    return (
        f"The teacher gets {accuracy:.1%} of your images right, and its classes stand in another order than yours. "
        f"{finding} For example: {shown}. Folders sorted as text ('1', '10', '2') against sorted as numbers are the "
        "usual cause; rename the class folders so that their order is the teacher's, or say by --label-map which of "
        "its classes is which of yours."
    )
