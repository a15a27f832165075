"""Where a run stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dropkd.engine.selection import rank_scores

__all__ = ["Position"]


@dataclass
class Position:
    """Where a run stands, and what it has found so far.

    Args:
        epoch: the epoch in progress, counted from 0.
        step: steps done of it.
        seconds: time spent on training and validation so far, over all resumes.
        best_epoch: the epoch whose weights did best on the validation split; -1 before the first.
        best_val: their validation scores; None where there is no validation split.
        last_val: those of the last epoch that is done.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    best_epoch: int = -1
    best_val: dict[str, Any] | None = None
    last_val: dict[str, Any] | None = None

    def prefers(self, val: dict[str, Any] | None, by: str) -> bool:
        """Whether an epoch with these validation scores is better, by one of them, than the best so far."""
        if val is None or self.best_val is None:
            return True
        return rank_scores(val, by) > rank_scores(self.best_val, by)
