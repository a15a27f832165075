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
from dropkd.models import Network

__all__ = ["Answers", "answer_split", "score_answers"]


@dataclass(frozen=True)
class Answers:
    """A network's logits for every image of a split, in the split's order, on the CPU.

    Args:
        logits: (N, K) float32.
        target: (N,) int64.
    """

    logits: Tensor
    target: Tensor

    @property
    def prediction(self) -> Tensor:
        """(N,) int64, the class with the highest logit."""
        return self.logits.argmax(1)


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
    the same classes.
    """
    logits, target = answers.logits, answers.target
    classes = logits.shape[1]
    scores: dict[str, Any] = {
        "images": len(target),
        "accuracy": _accuracy(logits, target, 1),
        "top5_accuracy": _accuracy(logits, target, 5) if classes > 5 else None,
        "uar": float(unweighted_average_recall(answers.prediction, target)),
        "loss": float(F.cross_entropy(logits, target)),
        "agreement": None,
    }
    if teacher is not None and teacher.logits.shape[1] == classes:
        scores["agreement"] = float((answers.prediction == teacher.prediction).double().mean())
    return scores


def _accuracy(logits: Tensor, target: Tensor, top_k: int) -> float:
    if logits.shape[1] == 1:
        return 1.0
    value = multiclass_accuracy(logits, target, logits.shape[1], average="micro", top_k=top_k)
    return float(value)
