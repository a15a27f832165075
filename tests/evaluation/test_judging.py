"""A split's figures against scikit-learn and torchmetrics, and their intervals against scipy's bootstrap."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, entropy
from sklearn import metrics as oracle
from torchmetrics.functional.classification import multiclass_calibration_error

from dropkd.errors import DataError, ModelError
from dropkd.statistics.judging import Opinion, judge_classes, tabulate_classes, tabulate_reliability


def answer(images: int, classes: int, seed: int, skill: float = 2.0) -> tuple[Opinion, np.ndarray]:
    """Return a network's answers to images, and the true classes, of which the last has no image."""
    source = np.random.default_rng(seed)
    target = source.integers(max(1, classes - 1), size=images)
    logits = torch.from_numpy(source.normal(size=(images, classes)) * 2)
    logits[torch.arange(images), torch.from_numpy(target)] += skill
    shares = logits.float().softmax(1).numpy()
    return Opinion(shares.argmax(1), shares), target


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(2, 12), st.integers(0, 1000))
def test_figures_are_those_of_scikit_learn(images: int, classes: int, seed: int) -> None:
    opinion, target = answer(images, classes, seed)
    figures = judge_classes(opinion, target)
    present = np.unique(target)
    assert figures["accuracy"] == pytest.approx(oracle.accuracy_score(target, opinion.prediction))
    assert figures["uar"] == pytest.approx(
        oracle.recall_score(target, opinion.prediction, labels=present, average="macro", zero_division=0)
    )
    assert figures["macro_f1"] == pytest.approx(
        oracle.f1_score(target, opinion.prediction, labels=present, average="macro", zero_division=0)
    )
    shares = opinion.probabilities.astype(np.float64)
    shares /= shares.sum(axis=1, keepdims=True)
    assert figures["loss"] == pytest.approx(oracle.log_loss(target, shares, labels=range(classes)), rel=1e-5)
    if classes > 5:
        assert figures["top5_accuracy"] == pytest.approx(
            oracle.top_k_accuracy_score(target, opinion.probabilities, k=5, labels=range(classes))
        )
    else:
        assert "top5_accuracy" not in figures


def test_two_classes_have_an_area_under_the_curve_with_ties_and_with_probabilities_that_round_to_one() -> None:
    source = np.random.default_rng(0)
    target = source.integers(2, size=200)
    logit = np.round(source.normal(size=200) * 3 + 2 * target) + 18.0
    shares = torch.from_numpy(np.stack([-logit / 2, logit / 2], 1)).float().softmax(1).numpy()
    assert len(np.unique(shares[:, 1])) < len(np.unique(logit))
    figures = judge_classes(Opinion(shares.argmax(1), shares), target)
    assert figures["auroc"] == pytest.approx(oracle.roc_auc_score(target, logit))
    low, high = figures["intervals"]["auroc"]
    assert low < figures["auroc"] < high


def test_the_area_is_unknown_where_one_class_has_no_image() -> None:
    shares = np.array([[0.3, 0.7], [0.6, 0.4]], np.float32)
    figures = judge_classes(Opinion(shares.argmax(1), shares), np.array([1, 1]))
    assert figures["auroc"] is None
    assert figures["intervals"]["auroc"] is None
    assert figures["uar"] == 0.5


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 300), st.integers(2, 8), st.integers(0, 1000))
def test_calibration_error_is_that_of_torchmetrics(images: int, classes: int, seed: int) -> None:
    opinion, target = answer(images, classes, seed)
    expected = multiclass_calibration_error(
        torch.from_numpy(opinion.probabilities), torch.from_numpy(target), classes, n_bins=15
    )
    figures, bins = judge_classes(opinion, target), tabulate_reliability(opinion, target)
    assert figures["ece"] == pytest.approx(float(expected), abs=1e-5)
    gaps = [n * abs(c - a) for n, c, a in zip(bins["images"], bins["confidence"], bins["accuracy"], strict=True) if n]
    assert sum(gaps) / images == pytest.approx(figures["ece"])
    assert sum(bins["images"]) == images


def test_intervals_of_means_are_those_of_scipy() -> None:
    opinion, target = answer(400, 10, 3)
    figures = judge_classes(opinion, target)
    right = (opinion.prediction == target).astype(float)
    losses = -np.log(opinion.probabilities[np.arange(400), target].astype(np.float64))
    for name, values in (("accuracy", right), ("loss", losses)):
        expected = bootstrap((values,), np.mean, n_resamples=5000, method="percentile", rng=1).confidence_interval
        assert figures["intervals"][name] == pytest.approx((expected.low, expected.high), abs=0.02 * values.std() * 4)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = 0
    for seed in range(100):
        opinion, target = answer(150, 4, seed)
        low, high = judge_classes(opinion, target)["intervals"]["uar"]
        held += low <= _TRUE_UAR <= high
    assert 88 <= held <= 100


# The share of images that `answer` gets right with four classes, by half a million of them.
_TRUE_UAR = float(np.mean([judge_classes(*answer(20_000, 4, 1000 + seed))["uar"] for seed in range(2)]))


def test_all_right_of_few_images_is_no_certainty() -> None:
    shares = np.array([[0.9, 0.1]] * 10, np.float32)
    figures = judge_classes(Opinion(shares.argmax(1), shares), np.zeros(10, np.int64))
    assert figures["accuracy"] == 1.0
    low, high = figures["intervals"]["accuracy"]
    assert (round(low, 3), high) == (0.722, 1.0)


def test_figures_beside_a_teacher_are_counted_on_the_images_that_each_has_right() -> None:
    student = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 0]] * 0.7 + 0.1
    teacher = np.eye(3, dtype=np.float32)[[0, 1, 0, 0, 2, 1]] * 0.7 + 0.1
    target = np.array([0, 1, 2, 1, 2, 2])
    figures = judge_classes(Opinion(student.argmax(1), student), target, Opinion(teacher.argmax(1), teacher))
    assert figures["beside_teacher"] == {
        "both_right": 2, "student_alone_right": 1, "teacher_alone_right": 1, "both_wrong": 2, "same_error": 1,
    }  # fmt: skip
    assert figures["accuracy_teacher_right"] == pytest.approx(2 / 3)
    assert figures["accuracy_teacher_wrong"] == pytest.approx(1 / 3)
    assert figures["shared_errors"] == pytest.approx(1 / 3)
    assert figures["agreement"] == pytest.approx(0.5)
    assert figures["kl_to_teacher"] == pytest.approx(float(np.mean(entropy(teacher, student, axis=1))), rel=1e-5)


def test_a_teacher_that_is_always_right_leaves_no_images_that_it_has_wrong() -> None:
    opinion, target = answer(50, 3, 0)
    sure = np.eye(3, dtype=np.float32)[target]
    figures = judge_classes(opinion, target, Opinion(target, sure))
    assert figures["accuracy_teacher_wrong"] is None
    assert figures["shared_errors"] == 0.0
    assert np.isfinite(figures["kl_to_teacher"])


def test_the_table_of_classes_is_that_of_scikit_learn_with_gaps_where_nothing_is_known() -> None:
    opinion, target = answer(60, 5, 2)
    table = tabulate_classes(opinion, target)
    expected = oracle.precision_recall_fscore_support(target, opinion.prediction, labels=range(5), zero_division=np.nan)
    for name, values in zip(("precision", "recall", "f1", "images"), expected, strict=True):
        known = [float("nan") if value is None else value for value in table[name]]
        if name == "f1":
            values = np.where(np.array(table["images"]) > 0, values, np.nan)
        assert known == pytest.approx(list(values), nan_ok=True)
    assert table["recall"][4] is None
    assert sum(table["answered"]) == 60


def test_a_certain_wrong_answer_costs_a_finite_loss() -> None:
    shares = np.array([[1.0, 0.0]], np.float32)
    assert np.isfinite(judge_classes(Opinion(np.array([0]), shares), np.array([1]))["loss"])


def test_what_does_not_fit_is_refused() -> None:
    opinion, target = answer(10, 3, 0)
    with pytest.raises(DataError, match="no images"):
        judge_classes(Opinion(opinion.prediction[:0], opinion.probabilities[:0]), target[:0])
    with pytest.raises(ModelError, match=r"\(10, 3\)"):
        judge_classes(opinion, target, answer(9, 3, 0)[0])
