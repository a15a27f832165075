"""Which epoch is kept, and when there is no use in going on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["SCORE_NAMES", "EarlyStop", "find_early_stop", "measure_selection_bonus", "rank_scores"]

# How the scores that can pick an epoch are called where people read them.
SCORE_NAMES = {"accuracy": "accuracy", "uar": "UAR", "loss": "loss", "map": "mAP"}


@dataclass(frozen=True)
class EarlyStop:
    """Why a run ended before its last epoch.

    Args:
        epochs: epochs that were done.
        planned: epochs that there would have been.
        best_epoch: the epoch with the best validation score, counted from 0.
        patience: epochs without a better one after which it stops.
        by: the score, by its name in ``metrics.json``.
        value: that epoch's score.
    """

    epochs: int
    planned: int
    best_epoch: int
    patience: int
    by: str
    value: float

    def __str__(self) -> str:
        value = f"{self.value:.4f}" if self.by == "loss" else f"{100 * self.value:.2f} %"
        count = f"{self.patience} epochs" if self.patience > 1 else "an epoch"
        return (
            f"Stopped early, after {self.epochs} of {self.planned} epochs: no better validation {SCORE_NAMES[self.by]} "
            f"for {count} (best: {value} in epoch {self.best_epoch + 1}). The schedule of the learning rate was cut "
            "there."
        )


def measure_selection_bonus(
    epochs: Sequence[Mapping[str, Any]], chosen: int, multi_label: bool
) -> dict[str, Any] | None:
    """Return by how much the figure would look better, had the epoch been picked on the test images.

    Args:
        epochs: the log's records of epochs; those with ``test`` count.
        chosen: the epoch that was kept, counted from 0.
        multi_label: whether images have several labels: the figure is then mAP, else accuracy.

    Returns:
        ``figure``, ``selected`` and ``best`` (the test figure of the epoch that was kept and of the best one),
        ``best_epoch`` and ``bonus``, their difference as a fraction; None where the test images were not followed.
    """
    key = "map" if multi_label else "accuracy"
    found = {int(record["epoch"]): float(record["test"][key]) for record in epochs if record.get("test")}
    if chosen not in found:
        return None
    best = max(found, key=lambda epoch: (found[epoch], -epoch))
    return {
        "figure": key,
        "selected": found[chosen],
        "best": found[best],
        "best_epoch": best,
        "bonus": found[best] - found[chosen],
    }


def rank_scores(val: Mapping[str, Any], by: str) -> tuple[float, ...]:
    """Return what validation scores are compared by, the larger the better; the loss breaks ties.

    Args:
        val: scores, as ``metrics.json`` has them.
        by: a key of :data:`SCORE_NAMES`; ``auto`` counts as ``accuracy``.
    """
    loss = float(val["loss"])
    return (-loss,) if by == "loss" else (float(val["accuracy" if by == "auto" else by]), -loss)


def find_early_stop(
    epochs: int, planned: int, best_epoch: int, best_val: Mapping[str, Any] | None, by: str, patience: int | None,
    counted_from: int = 0,
) -> EarlyStop | None:  # fmt: skip
    """Return why a run ends here, or None where it goes on or was at its end anyway.

    Args:
        epochs: epochs that are done.
        planned: epochs that there would be.
        best_epoch: the epoch with the best score, counted from 0; -1 before the first.
        best_val: its scores.
        by: the score that is looked at.
        patience: epochs without a better one after which it stops; None: never.
        counted_from: the first epoch, counted from 0, that patience is asked of.
    """
    if patience is None or best_val is None or epochs >= planned:
        return None
    waited = epochs - 1 - max(best_epoch, counted_from - 1)
    if waited < patience:
        return None
    return EarlyStop(epochs, planned, best_epoch, patience, by, float(best_val[by]))
