"""Measures of what networks say and of how alike they are."""

from __future__ import annotations

from dropkd.metrics.accuracy import compound_accuracy, unweighted_average_recall
from dropkd.metrics.cka import MinibatchCKA, hsic1, linear_cka, rbf_cka

__all__ = [
    "MinibatchCKA",
    "compound_accuracy",
    "hsic1",
    "linear_cka",
    "rbf_cka",
    "unweighted_average_recall",
]
