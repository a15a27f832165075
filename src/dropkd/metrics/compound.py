"""Compound emotions: which basic ones a class is made of by its name, and what a basic student makes of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from dropkd.errors import DataError
from dropkd.metrics.accuracy import compound_accuracy

__all__ = ["pair_compound_classes", "score_compound"]

_EMOTIONS = {
    "surprise": ("surprise", "surprised", "surprisedly"),
    "fear": ("fear", "fearful", "fearfully", "afraid"),
    "disgust": ("disgust", "disgusted", "disgustedly"),
    "happiness": ("happiness", "happy", "happily", "joy"),
    "sadness": ("sadness", "sad", "sadly"),
    "anger": ("anger", "angry", "angrily"),
    "neutral": ("neutral", "neutrally"),
    "contempt": ("contempt", "contemptuous", "contemptuously"),
}
_EMOTION_OF = {word: emotion for emotion, words in _EMOTIONS.items() for word in words}


def pair_compound_classes(basic: Sequence[str], compound: Sequence[str]) -> Tensor:
    """Return the two basic classes that each compound class is made of, as their names say.

    Args:
        basic: the names of a classifier's classes, in the order of its logits: ``happiness``, ``Happy``, ``sad`` and
            the like. Others may be among them.
        compound: the names of the compound classes: two emotions each, ``Happily Surprised`` or ``sad-angry``.

    Returns:
        (C, 2) int64, numbers of basic classes.

    Raises:
        DataError: a name is not that of two emotions, or the classifier lacks one of them or has one twice.

    Example:
        >>> pair_compound_classes(("surprise", "anger", "sadness"), ("Sadly Angry", "Angrily Surprised")).tolist()
        [[2, 1], [1, 0]]
    """
    known: dict[str, int] = {}
    for number, name in enumerate(basic):
        emotions = _read_emotions(name)
        if len(emotions) != 1:
            continue
        if emotions[0] in known:
            first = basic[known[emotions[0]]]
            raise DataError(f"{first!r} and {name!r} of the student's classes are the same emotion.")
        known[emotions[0]] = number
    pairs = []
    for name in compound:
        emotions = _read_emotions(name)
        if len(set(emotions)) != 2:
            raise DataError(
                f"the class {name!r} is no pair of basic emotions, as 'Happily Surprised' is. Give images of compound "
                "emotions, such as the folder compound/ of RAF-DB."
            )
        for emotion in emotions:
            if emotion not in known:
                raise DataError(
                    f"the class {name!r} holds {emotion}, which is none of the student's classes: {', '.join(basic)}. "
                    "It must have been trained on basic emotions that are called by name."
                )
        pairs.append([known[emotion] for emotion in emotions])
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


def score_compound(scores: Tensor, target: Tensor, class_pairs: Tensor) -> dict[str, float]:
    """Return the accuracies of :func:`compound_accuracy`, and ``uar_both``, the mean of ``acc_both`` over the classes.

    Args:
        scores: (N, K), of the basic classes; logits or probabilities.
        target: (N,) int64, the compound class of each image.
        class_pairs: (C, 2), the two basic classes of each compound one.

    Raises:
        DataError: there are no images.

    Example:
        >>> scores = torch.tensor([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.6, 0.3, 0.1]])
        >>> score_compound(scores, torch.tensor([0, 0, 1]), torch.tensor([[0, 1], [1, 2]]))["uar_both"]
        0.5
    """
    shares = compound_accuracy(scores, class_pairs[target])
    by_class = [
        compound_accuracy(scores[target == k], class_pairs[target[target == k]]) for k in sorted(set(target.tolist()))
    ]
    return {**shares, "uar_both": sum(part["acc_both"] for part in by_class) / len(by_class)}


def _read_emotions(name: str) -> list[str]:
    """Return the emotions that a name is made of; none where a word of it is no emotion."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+|[^\W\d_]+", name)]
    emotions = [_EMOTION_OF.get(word) for word in words]
    return [emotion for emotion in emotions if emotion is not None] if None not in emotions else []
