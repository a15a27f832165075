"""Distillation losses as pure functions of tensors."""

from __future__ import annotations

from dropkd.functional.dropkd import feature_dropout_loss, logit_dropout_loss
from dropkd.functional.dropout import draw_masks, drop
from dropkd.functional.kd import kd_loss

__all__ = ["draw_masks", "drop", "feature_dropout_loss", "kd_loss", "logit_dropout_loss"]
