"""Running sums over an epoch, kept on the device so that a step never waits for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dropkd.engine.distiller import Losses
from dropkd.errors import TrainingError
from dropkd.functional.labels import find_labelled

__all__ = ["Tally"]


class Tally:
    """Sums of each term, of right answers and of agreement with the teacher, and the first step that went wrong.

    Args:
        terms: names of the terms, the cross-entropy among them.
        device: where the sums live.
        multi_label: whether images have several labels; an answer is right then where it names all of them and no
            other.
    """

    def __init__(self, terms: Sequence[str], device: torch.device, multi_label: bool = False) -> None:
        self.terms, self.multi_label = tuple(terms), multi_label
        count = len(self.terms)
        # float64, since an epoch adds up thousands of numbers; MPS has none.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self._raw = torch.zeros(count, dtype=dtype, device=device)
        self._weighted = torch.zeros(count, dtype=dtype, device=device)
        # Rows with a label, those of them that are right, all rows, those that agree with the teacher.
        self._counts = torch.zeros(4, dtype=torch.int64, device=device)
        self._first_bad = torch.full((count,), -1, dtype=torch.int64, device=device)
        self._steps = 0
        self._has_teacher = False

    def add(self, losses: Losses, target: Tensor, step: int) -> None:
        """Add a step.

        Args:
            losses: what it gave.
            target: its labels, -1 for an image without one.
            step: its number over the whole run, for the message when a term is not finite.
        """
        raw = torch.stack([losses.raw[name].detach() for name in self.terms])
        weighted = torch.stack([losses.weighted[name].detach() for name in self.terms])
        self._raw += raw
        self._weighted += weighted
        bad = ~(torch.isfinite(raw) & torch.isfinite(weighted)) & (self._first_bad < 0)
        self._first_bad = torch.where(bad, step, self._first_bad)
        answer = self._read_answer(losses.logits)
        labels = target[: len(answer)]
        self._counts[0] += find_labelled(labels).sum()
        self._counts[1] += self._count_same(answer, labels)
        self._counts[2] += len(answer)
        if losses.teacher_logits is not None and losses.teacher_logits.shape[1] == losses.logits.shape[1]:
            self._counts[3] += self._count_same(answer, self._read_answer(losses.teacher_logits))
            self._has_teacher = True
        self._steps += 1

    def _read_answer(self, logits: Tensor) -> Tensor:
        return (logits >= 0).to(logits.dtype) if self.multi_label else logits.argmax(1)

    def _count_same(self, answer: Tensor, other: Tensor) -> Tensor:
        same = answer == other
        return (same.all(1) if self.multi_label else same).sum()

    def check_finite(self) -> None:
        """Raise where any term was not finite since the last :meth:`summary`.

        Raises:
            TrainingError: names the term and the step.
        """
        first = self._first_bad.tolist()
        wrong = sorted((step, name) for name, step in zip(self.terms, first, strict=True) if step >= 0)
        if wrong:
            step, name = wrong[0]
            others = ", ".join(repr(n) for s, n in wrong[1:] if s == step)
            raise TrainingError(
                f"The term {name!r} was not finite (NaN or infinity) at step {step}"
                + (f", and so were {others}" if others else "")
                + ". Training stopped; the last checkpoint is from before that step. Lower --lr, clip gradients "
                "(--set training.gradient_clip=1) or use --set training.precision=32."
            )

    def summary(self) -> dict[str, Any]:
        """Return means over the epoch so far: loss, accuracy, agreement, and per term raw, weighted and share.

        The accuracy is that of the images with a label; with several labels ``exact_match`` stands for it.
        """
        steps, (labelled, right, rows, agreeing) = max(1, self._steps), self._counts.tolist()
        raw, weighted = (self._raw / steps).tolist(), (self._weighted / steps).tolist()
        total = sum(weighted)
        size = sum(abs(w) for w in weighted)
        terms = {
            name: {
                "raw": raw[i],
                "weighted": weighted[i],
                "share": abs(weighted[i]) / size if size > 0 else 0.0,
            }
            for i, name in enumerate(self.terms)
        }
        agreement = agreeing / max(1, rows) if self._has_teacher else None
        share = "exact_match" if self.multi_label else "accuracy"
        return {"loss": total, share: right / max(1, labelled), "agreement": agreement, "terms": terms}

    def flat_terms(self) -> list[str]:
        """Return the terms that were 0 in every step: they teach nothing."""
        return [name for name, value in zip(self.terms, self._raw.abs().tolist(), strict=True) if value == 0.0]

    def state_dict(self) -> dict[str, Any]:
        """Return the sums, for a checkpoint in the middle of an epoch."""
        return {
            "raw": self._raw.cpu(), "weighted": self._weighted.cpu(), "counts": self._counts.cpu(),
            "first_bad": self._first_bad.cpu(), "steps": self._steps, "has_teacher": self._has_teacher,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from sums that :meth:`state_dict` returned."""
        device = self._raw.device
        self._raw, self._weighted = state["raw"].to(device), state["weighted"].to(device)
        self._counts, self._first_bad = state["counts"].to(device), state["first_bad"].to(device)
        self._steps, self._has_teacher = state["steps"], state["has_teacher"]
