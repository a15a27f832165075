"""Measures of what networks say and of how alike they are."""

from __future__ import annotations

from dropkd.metrics.accuracy import compound_accuracy, unweighted_average_recall
from dropkd.metrics.cka import MinibatchCKA, hsic1, linear_cka, rbf_cka
from dropkd.metrics.compound import pair_compound_classes, score_compound
from dropkd.metrics.cost import Cost, count_macs, measure_cost
from dropkd.metrics.multi_label import average_precision, mean_average_precision

__all__ = [
    "Cost",
    "MinibatchCKA",
    "average_precision",
    "compound_accuracy",
    "count_macs",
    "hsic1",
    "linear_cka",
    "mean_average_precision",
    "measure_cost",
    "pair_compound_classes",
    "rbf_cka",
    "score_compound",
    "unweighted_average_recall",
]
