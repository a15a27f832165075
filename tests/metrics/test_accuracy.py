"""Recall and compound accuracies, against scikit-learn and by hand."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from dropkd.errors import DataError, ModelError
from dropkd.metrics import compound_accuracy, unweighted_average_recall


@pytest.mark.parametrize("seed", range(5))
def test_recall_is_that_of_scikit_learn(seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    target, predictions = (torch.randint(2, 7, (60,), generator=source) for _ in range(2))
    expected = balanced_accuracy_score(target.numpy(), predictions.numpy())
    assert unweighted_average_recall(predictions, target).item() == pytest.approx(expected, abs=1e-14)


def test_classes_that_are_only_predicted_do_not_count() -> None:
    assert unweighted_average_recall(torch.tensor([0, 9, 1]), torch.tensor([0, 0, 1])).item() == 0.75


def test_recall_of_nothing_or_of_other_shapes_is_refused() -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    with pytest.raises(DataError, match="no images"):
        unweighted_average_recall(empty, empty)
    with pytest.raises(ModelError, match=r"must be \(N,\), got \(2,\) and \(3,\)"):
        unweighted_average_recall(torch.zeros(2), torch.zeros(3))


def test_compound_classes_are_judged_by_the_two_best_basic_ones() -> None:
    scores = torch.tensor([[0.1, 0.6, 0.3], [0.1, 0.6, 0.3], [0.1, 0.6, 0.3], [0.3, 0.6, 0.1]])
    pairs = torch.tensor([[2, 1], [1, 0], [0, 2], [2, 2]])
    assert compound_accuracy(scores, pairs) == {"acc_both": 0.25, "acc_single": 0.5, "acc_single_top2": 0.75}


def test_compound_accuracy_of_nothing_or_of_other_shapes_is_refused() -> None:
    with pytest.raises(DataError, match="no images"):
        compound_accuracy(torch.zeros(0, 3), torch.zeros(0, 2, dtype=torch.int64))
    with pytest.raises(ModelError, match=r"got \(2, 1\) and \(2, 2\)"):
        compound_accuracy(torch.zeros(2, 1), torch.zeros(2, 2))
