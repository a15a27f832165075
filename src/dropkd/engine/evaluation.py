"""A network's answers to a split, and what they are worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dropkd.data import EvalLoader
from dropkd.metrics import unweighted_average_recall
from dropkd.metrics.multi_label import score_labels
from dropkd.models import Network

__all__ = ["Answers", "answer_split", "score_answers"]

# Logits that are worked on at once: 64 MiB of them.
_AT_ONCE = 1 << 24


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
    mirrored: bool = False,
) -> Answers:
    """Return a network's answers to a split, in eval mode; its mode is put back afterwards.

    Args:
        network: whose answers.
        loader: of the split.
        device: where to compute.
        progress: hears how many images of how many are done.
        mirrored: each image is shown as it is and mirrored, and the probabilities are averaged.
    """
    was_training = network.training
    network.eval()
    logits, targets, done, total = [], [], 0, len(loader.split)
    for batch in loader:
        images = batch.images.to(device, non_blocking=True)
        answer = network(images, maps=False).logits.float()
        if mirrored:
            answer = _average(answer, network(images.flip(-1), maps=False).logits.float(), network.spec.multi_label)
        logits.append(answer.cpu())
        targets.append(batch.target)
        done += len(batch.target)
        if progress is not None:
            progress(done, total)
    network.train(was_training)
    return Answers(torch.cat(logits), torch.cat(targets))


def _average(first: Tensor, second: Tensor, multi_label: bool) -> Tensor:
    """Return logits of the mean of two answers' probabilities."""
    if multi_label:
        return ((first.sigmoid() + second.sigmoid()) / 2).logit(eps=1e-7)
    return torch.logaddexp(first.log_softmax(1), second.log_softmax(1))


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
        "loss": _cross_entropy(logits, target),
    }


def _accuracy(logits: Tensor, target: Tensor, top_k: int) -> float:
    # torchmetrics spreads predictions and targets over (N, K): with ten thousand classes that takes a minute.
    named = logits.argmax(1, keepdim=True) if top_k == 1 else logits.topk(top_k, dim=1).indices
    return float((named == target[:, None]).any(1).double().mean())


def _cross_entropy(logits: Tensor, target: Tensor) -> float:
    """Return the mean, without a second array as large as the logits."""
    rows = max(1, _AT_ONCE // logits.shape[1])
    stretches = zip(torch.split(logits, rows), torch.split(target, rows), strict=True)
    return float(torch.cat([F.cross_entropy(some, labels, reduction="none") for some, labels in stretches]).mean())
