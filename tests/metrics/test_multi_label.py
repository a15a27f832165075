"""Scores of images with several labels, against scikit-learn and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score
from torch import Tensor

from dropkd.errors import DataError, ModelError
from dropkd.metrics import average_precision, mean_average_precision
from dropkd.metrics.multi_label import mean_prevalence, score_labels

# Few values, so that there are ties; 40 and 50 have one sigmoid in float32.
LOGIT = st.sampled_from([-50.0, -2.0, -0.5, 0.0, 0.5, 2.0, 40.0, 50.0])


def draw(seed: int, images: int = 40, classes: int = 5) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    target = (torch.rand(images, classes, generator=source) < 0.3).float()
    return 2 * torch.randn(images, classes, generator=source) + target, target


@given(st.lists(st.tuples(LOGIT, st.booleans()), min_size=1, max_size=12))
def test_average_precision_is_that_of_scikit_learn_with_ties_and_large_logits(
    rows: list[tuple[float, bool]],
) -> None:
    scores = torch.tensor([[score] for score, _ in rows])
    target = torch.tensor([[float(present)] for _, present in rows])
    found = average_precision(scores, target).item()
    if not target.any():
        assert math.isnan(found)
    else:
        assert found == pytest.approx(average_precision_score(target.numpy(), scores.numpy()), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_all_scores_are_those_of_scikit_learn(seed: int) -> None:
    logits, target = draw(seed)
    found, truth, named = score_labels(logits, target), target.numpy(), logits.numpy() >= 0
    assert found["map"] == pytest.approx(average_precision_score(truth, logits.numpy(), average="macro"))
    assert found["class_ap"] == pytest.approx(average_precision_score(truth, logits.numpy(), average=None))
    assert found["micro_f1"] == pytest.approx(f1_score(truth, named, average="micro"))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, named, average="macro"))
    assert found["exact_match"] == pytest.approx(np.mean((named == truth).all(axis=1)))
    expected = torch.nn.functional.binary_cross_entropy(logits.double().sigmoid(), target.double())
    assert found["loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert found["images"] == 40


def test_a_class_that_no_image_has_counts_in_no_mean() -> None:
    logits, target = draw(0)
    wider = torch.cat([logits, torch.full((40, 1), 3.0)], 1), torch.cat([target, torch.zeros(40, 1)], 1)
    found, without = score_labels(*wider), score_labels(logits, target)
    assert found["map"] == without["map"]
    assert found["macro_f1"] == without["macro_f1"]
    assert found["class_ap"][-1] is None
    assert found["micro_f1"] < without["micro_f1"]


def test_images_without_any_label_have_no_mean_precision() -> None:
    with pytest.raises(DataError, match="mean average precision of images without labels is not defined"):
        score_labels(torch.zeros(3, 2), torch.zeros(3, 2))


def test_shapes_that_differ_are_named() -> None:
    with pytest.raises(ModelError, match=r"must be \(N, K\), got \(3, 2\) and \(3,\)"):
        average_precision(torch.zeros(3, 2), torch.zeros(3))


def test_a_random_order_has_about_the_share_of_images_of_each_class() -> None:
    target = (torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)) < torch.tensor([0.1, 0.4, 0.7])).float()
    chance = mean_average_precision(torch.randn(4000, 3, generator=torch.Generator().manual_seed(1)), target)
    assert chance.item() == pytest.approx(mean_prevalence(target), abs=0.02)
