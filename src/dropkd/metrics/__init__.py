"""Measures of what networks say and of how alike they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dropkd.metrics.accuracy import compound_accuracy, unweighted_average_recall
from dropkd.metrics.cka import hsic1, linear_cka, rbf_cka
from dropkd.metrics.cka_grid import CKAGrid
from dropkd.metrics.compound import pair_compound_classes, score_compound
from dropkd.metrics.cost import Cost, count_macs, measure_cost
from dropkd.metrics.multi_label import average_precision, mean_average_precision

if TYPE_CHECKING:
    from dropkd.metrics.minibatch_cka import MinibatchCKA

__all__ = [
    "CKAGrid",
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


def __getattr__(name: str) -> Any:
    # It loads torchmetrics, with SciPy, matplotlib and more behind it: two seconds that no training needs.
    if name == "MinibatchCKA":
        from dropkd.metrics.minibatch_cka import MinibatchCKA

        return MinibatchCKA
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
