"""A network's answers to a split, and what they are worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy

from dropkd.data import EvalLoader
from dropkd.metrics import unweighted_average_recall
from dropkd.metrics.multi_label import score_labels
from dropkd.models import Network

__all__ = ["Answers", "answer_split", "score_answers"]


@dataclass(frozen=True)
class Answers:
    """A network's logits for every image of a split, in the split's order, on the CPU.

    Args:
        logits: (N, K) float32.
        target: (N,) int64, or (N, K) float32 of 0 and 1 where images have several labels.
    """

    logits: Tensor
    target: Tensor

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels, or none."""
        return self.target.ndim == 2

    @property
    def prediction(self) -> Tensor:
        """(N,) int64, the class with the highest logit; (N, K) bool where images have several labels: p >= 0.5."""
        return self.logits >= 0 if self.multi_label else self.logits.argmax(1)

    @property
    def probabilities(self) -> Tensor:
        """(N, K) float32; they add up to 1 where each image has one class."""
        return self.logits.sigmoid() if self.multi_label else self.logits.softmax(1)


@torch.no_grad()
def answer_split(
    network: Network,
    loader: EvalLoader,
    device: torch.device,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Answers:
    """Return a network's answers to a split, in eval mode; its mode is put back afterwards."""
    was_training = network.training
    network.eval()
    logits, targets, done, total = [], [], 0, len(loader.split)
    for batch in loader:
        images = batch.images.to(device, non_blocking=True)
        logits.append(network(images, maps=False).logits.float().cpu())
        targets.append(batch.target)
        done += len(batch.target)
        if progress is not None:
            progress(done, total)
    network.train(was_training)
    return Answers(torch.cat(logits), torch.cat(targets))


def score_answers(answers: Answers, teacher: Answers | None = None) -> dict[str, Any]:
    """Return what answers are worth, as fractions: accuracy, top-5 accuracy (from 6 classes on), UAR, mean loss.

    ``agreement`` is the share of images on which student and teacher name the same class; None without a teacher of
    the same classes. Where images have several labels, see :func:`dropkd.metrics.multi_label.score_labels`;
    ``agreement`` is then the share of images for which both name the same labels.
    """
    scores = score_labels(answers.logits, answers.target) if answers.multi_label else _score_classes(answers)
    scores["agreement"] = None
    if teacher is not None and teacher.logits.shape == answers.logits.shape:
        same = answers.prediction == teacher.prediction
        scores["agreement"] = float((same.all(1) if answers.multi_label else same).double().mean())
    return scores


def _score_classes(answers: Answers) -> dict[str, Any]:
    logits, target = answers.logits, answers.target
    classes = logits.shape[1]
    return {
        "images": len(target),
        "accuracy": _accuracy(logits, target, 1),
        "top5_accuracy": _accuracy(logits, target, 5) if classes > 5 else None,
        "uar": float(unweighted_average_recall(answers.prediction, target)),
        "loss": float(F.cross_entropy(logits, target)),
    }


def _accuracy(logits: Tensor, target: Tensor, top_k: int) -> float:
    if logits.shape[1] == 1:
        return 1.0
    value = multiclass_accuracy(logits, target, logits.shape[1], average="micro", top_k=top_k)
    return float(value)
