"""The same where images have several labels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from dropkd.errors import DataError, ModelError
from dropkd.metrics.multi_label import score_labels
from dropkd.statistics.label_judging import judge_labels, tabulate_label_reliability, tabulate_labels


def answer(images: int, classes: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """Return logits, and which labels each image has."""
    source = np.random.default_rng(seed)
    target = source.random((images, classes)) < 0.3
    target[0, 0] = True
    return torch.from_numpy(source.normal(size=target.shape) + 2 * target - 1).float(), target


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 40), st.integers(2, 6), st.integers(0, 1000))
def test_figures_are_those_of_the_logits_and_of_scikit_learn(images: int, classes: int, seed: int) -> None:
    logits, target = answer(images, classes, seed)
    shares = logits.sigmoid().numpy()
    figures = judge_labels(shares, target)
    expected = score_labels(logits, torch.from_numpy(target).float())
    for name in ("map", "micro_f1", "macro_f1", "exact_match", "loss"):
        assert figures[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-6)
    assert figures["micro_f1"] == pytest.approx(
        oracle.f1_score(target, shares >= 0.5, average="micro", zero_division=0)
    )


def test_calibration_is_over_all_questions() -> None:
    logits, target = answer(200, 4, 0)
    shares = logits.sigmoid().numpy()
    bins = np.clip(np.ceil(shares * 15).astype(int) - 1, 0, 14).ravel()
    gaps = np.bincount(bins, weights=(shares - target).ravel(), minlength=15)
    figures = judge_labels(shares, target)
    assert figures["ece"] == pytest.approx(np.abs(gaps).sum() / target.size)


def test_each_figure_lies_in_its_interval() -> None:
    logits, target = answer(120, 5, 1)
    teacher = (logits * 0.5).sigmoid().numpy()
    figures = judge_labels(logits.sigmoid().numpy(), target, teacher)
    assert set(figures["intervals"]) == set(figures) - {"images", "intervals"}
    for name, (low, high) in figures["intervals"].items():
        assert low <= figures[name] <= high
        assert low < high or name == "agreement"
    assert figures["agreement"] == 1.0
    assert figures["kl_to_teacher"] > 0


def test_the_table_of_labels_is_that_of_scikit_learn() -> None:
    logits, target = answer(80, 3, 2)
    target[:, 2] = False
    shares = logits.sigmoid().numpy()
    table = tabulate_labels(shares, target)
    for k in range(2):
        assert table["average_precision"][k] == pytest.approx(
            oracle.average_precision_score(target[:, k], shares[:, k])
        )
        assert table["f1"][k] == pytest.approx(oracle.f1_score(target[:, k], shares[:, k] >= 0.5))
    assert table["recall"][2] is None
    assert table["average_precision"][2] is None


def test_the_bins_of_all_questions_add_up_to_the_calibration_error() -> None:
    logits, target = answer(80, 3, 2)
    shares = logits.sigmoid().numpy()
    table = tabulate_label_reliability(shares, target)
    used = [(n, c, a) for n, c, a in zip(*table.values(), strict=True) if n]
    assert sum(n for n, _, _ in used) == target.size
    assert sum(n * a for n, _, a in used) == pytest.approx(target.sum())
    error = sum(n * abs(c - a) for n, c, a in used) / target.size
    assert error == pytest.approx(judge_labels(shares, target)["ece"], rel=1e-5)


def test_what_does_not_fit_is_refused() -> None:
    logits, target = answer(5, 3, 0)
    with pytest.raises(DataError, match="without labels"):
        judge_labels(logits.sigmoid().numpy(), np.zeros_like(target))
    with pytest.raises(ModelError, match="like the labels"):
        judge_labels(logits.sigmoid().numpy()[:, :2], target)
