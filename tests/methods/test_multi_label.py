"""Every method on images with several labels: it trains, or says in words why not and what does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from dropkd import Distiller
from dropkd.contracts import Pair
from dropkd.engine.distiller import Losses
from dropkd.errors import ConfigError
from dropkd.functional import kd_loss, kd_sigmoid_loss
from dropkd.methods import build_method
from dropkd.methods.kd import KD
from dropkd.methods.registry import load_methods, method_class
from dropkd.models import Network, build_network
from dropkd.testing.bench import CNN, TRANSFORMER, make_pair

ONE_CLASS_ONLY = {"crd", "dist", "dkd", "lskd", "mld", "mldrkd", "ofakd", "scn"}
TARGETS = (torch.randn(8, 7, generator=torch.Generator().manual_seed(0)) > 0).float()
PAIR = replace(make_pair(CNN, TRANSFORMER), targets=TARGETS, multi_label=True)


def network(name: str, seed: int, classes: int = 5) -> Network:
    torch.manual_seed(seed)
    return build_network(name, num_classes=classes, image_size=(32, 32))


def step(method: str, soft: bool = False, **changes: object) -> tuple[Distiller, Losses]:
    student, teacher = network("cifar_resnet8", 0), network("cifar_resnet14", 1)
    distiller = Distiller(student, teacher, method, multi_label=True, **changes)  # type: ignore[arg-type]
    views = len(distiller.method.views)
    source = torch.Generator().manual_seed(0)
    images = torch.rand(6 * views, 3, 32, 32, generator=source)
    target = (torch.rand(6, 5, generator=source) > 0.5).float().repeat(views, 1)
    shares = target * 0.7 if soft else None
    losses = distiller(images, target, torch.arange(6).repeat(views), soft_target=shares)
    losses.loss.backward()
    return distiller, losses


@pytest.mark.parametrize("name", sorted(set(load_methods()[0]) - ONE_CLASS_ONLY))
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "mixed"])
def test_a_method_that_takes_several_labels_trains_the_student(name: str, soft: bool) -> None:
    distiller, losses = step(name, soft)
    assert losses.loss.isfinite()
    grads = [p.grad for p in distiller.student.parameters()]
    assert all(g is not None and g.isfinite().all() for g in grads)


@pytest.mark.parametrize("name", sorted(ONE_CLASS_ONLY))
def test_a_method_that_needs_one_class_refuses_and_names_what_can_be_used(name: str) -> None:
    cls = method_class(name)
    with pytest.raises(ConfigError, match=f"{cls.__name__} needs one class for each image") as caught:
        build_method(name, PAIR, {})
    assert "is dropkd or kd; of features, at, cc, dpk, fitnet, nst, ofd, pkt, reviewkd, rkd" in str(caught.value)
    assert "kd+at" in str(caught.value)


def test_every_method_that_compares_logits_or_reads_classes_is_on_one_of_the_two_lists() -> None:
    refusing = {name for name, cls in load_methods()[0].items() if set(cls.terms) - cls.find_multi_label_terms()}
    assert refusing == ONE_CLASS_ONLY


def test_a_combination_trains_where_its_parts_do_and_refuses_where_one_of_them_does() -> None:
    _, losses = step("kd+at")
    assert set(losses.raw) == {"cross_entropy", "kd_logit", "at_attention"}
    with pytest.raises(ConfigError, match="DKD needs one class"):
        step("kd+dkd")


def test_the_cross_entropy_is_binary_and_the_kd_term_the_sigmoid_loss() -> None:
    _, losses = step("kd", options={"temperature": 3.0}, label_smoothing=0.2)
    source = torch.Generator().manual_seed(0)
    torch.rand(6, 3, 32, 32, generator=source)
    target = (torch.rand(6, 5, generator=source) > 0.5).float()
    expected = F.binary_cross_entropy_with_logits(losses.logits, target * 0.8 + 0.1)
    assert losses.raw["cross_entropy"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert losses.teacher_logits is not None
    wanted = kd_sigmoid_loss(losses.logits, losses.teacher_logits, 3.0)
    assert losses.raw["logit"].item() == pytest.approx(wanted.item(), rel=1e-6)


def test_mixed_labels_are_what_the_binary_cross_entropy_compares_with() -> None:
    _, losses = step("plain", soft=True)
    source = torch.Generator().manual_seed(0)
    torch.rand(6, 3, 32, 32, generator=source)
    target = (torch.rand(6, 5, generator=source) > 0.5).float()
    expected = F.binary_cross_entropy_with_logits(losses.logits, target * 0.7)
    assert losses.raw["cross_entropy"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_dropkd_classifies_the_codes_by_binary_cross_entropy() -> None:
    rates = dict.fromkeys(("feature_rate_teacher", "feature_rate_student"), 0.0)
    distiller, _ = step("dropkd", options=rates)
    with torch.no_grad():
        for classifier in distiller.method.projections[0].classifiers.values():  # type: ignore[index, union-attr]
            classifier.linear.weight.zero_()  # type: ignore[union-attr]
            classifier.linear.bias.zero_()  # type: ignore[union-attr]
    images, target = torch.rand(4, 3, 32, 32), torch.eye(5)[:4]
    assert distiller(images, target).raw["domain"].item() == pytest.approx(0.693147, abs=1e-5)


@pytest.mark.parametrize(
    ("form", "multi_label", "wanted"),
    [
        ("auto", False, kd_loss),
        ("auto", True, kd_sigmoid_loss),
        ("softmax", False, kd_loss),
        ("sigmoid", False, kd_sigmoid_loss),
        ("sigmoid", True, kd_sigmoid_loss),
    ],
)
def test_the_form_follows_the_labels_unless_it_is_named(form: str, multi_label: bool, wanted: object) -> None:
    student, teacher = network("cifar_resnet8", 0), network("cifar_resnet14", 1)
    distiller = Distiller(student, teacher, "kd", options={"form": form}, multi_label=multi_label)
    target = torch.eye(5)[:4] if multi_label else torch.arange(4)
    losses = distiller(torch.rand(4, 3, 32, 32), target)
    expected = wanted(losses.logits, losses.teacher_logits)  # type: ignore[operator]
    assert losses.raw["logit"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_softmax_form_refuses_several_labels() -> None:
    with pytest.raises(ConfigError, match=r"method\.form is 'softmax'.*several labels or none\. Use 'sigmoid'"):
        KD(PAIR, form="softmax")


@pytest.mark.parametrize("name", ["kd", "dropkd"])
def test_standardized_logits_are_refused_where_each_class_is_a_question(name: str) -> None:
    with pytest.raises(ConfigError, match="standardize takes each image's mean logit away"):
        build_method(name, PAIR, {"standardize": True})


def test_labels_of_another_shape_are_refused_with_both_shapes() -> None:
    distiller = Distiller(network("cifar_resnet8", 0), None, "plain", multi_label=True)
    with pytest.raises(ConfigError, match=r"each of 4 images and 5 classes, got \(4,\)"):
        distiller(torch.rand(4, 3, 32, 32), torch.arange(4))


def test_a_method_built_for_other_labels_is_refused() -> None:
    student = network("cifar_resnet8", 0)
    method = build_method("plain", Pair(student.shapes, None, 5))
    with pytest.raises(ConfigError, match="built for a Pair with multi_label=False, and the distiller is told multi_l"):
        Distiller(student, None, method, multi_label=True)
