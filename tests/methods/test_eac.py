"""Erasing attention consistency: the authors' values, its two views, and the students that it is for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dropkd
from dropkd.config import load_config
from dropkd.contracts import Batch, Outputs, Pair, Shapes
from dropkd.data.augment import VIEW_KINDS
from dropkd.engine.distiller import Distiller
from dropkd.errors import ModelError
from dropkd.methods import method_options
from dropkd.methods.eac import EAC
from dropkd.models import Network, build_network
from dropkd.testing import check_method

GOLDEN = Path(__file__).parents[1] / "golden"
RECIPES = Path(__file__).parents[2] / "recipes" / "methods"
FLIPS = ["eac_flip_f64", "eac_flip_f32", "eac_flip_f64_w5_h3", "eac_flip_f64_mirror"]
SETTINGS = {"method.name": "eac", "data.erase_probability": 0.5, "data.validation_fraction": 0.0}


def load(name: str) -> dict[str, Tensor]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file}


def join(image: Tensor, mirrored: Tensor, weight: Tensor) -> Outputs:
    """Return an answer whose last maps are these two views."""
    maps = torch.cat([image, mirrored])
    embedding = maps.mean((2, 3))
    return Outputs(embedding @ weight.T, (maps,), embedding, weight)


def run(answer: Outputs, **options: Any) -> Tensor:
    method = EAC(Pair(answer.shapes, None, answer.logits.shape[1]), **options)
    rows = len(answer.logits) // 2
    return method(answer, None, Batch(torch.zeros(2 * rows, dtype=torch.int64), torch.arange(rows).repeat(2)))[
        "consistency"
    ]


def test_activation_maps_and_their_distance_are_those_of_the_authors_code() -> None:
    x = load("eac_cam_f64")
    weight = x["par_fc_weight"].requires_grad_()
    loss = run(join(x["in_feature1"], x["in_feature2"], weight))
    torch.testing.assert_close(loss, x["out_flip_loss"], rtol=1e-8, atol=1e-11)
    logits = x["in_feature1"].mean((2, 3)) @ weight.T + x["par_fc_bias"]
    entropy = F.cross_entropy(logits, x["in_target"])
    torch.testing.assert_close(entropy + EAC.terms["consistency"] * loss, x["out_loss"], rtol=1e-8, atol=1e-11)
    (entropy + 5 * loss).backward()
    # The classifier learns from the labels alone.
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad[0], x["out_grad_fc_weight_row0"], rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("name", FLIPS)
def test_values_and_gradients_for_maps_of_classes_are_those_of_the_authors_code(name: str) -> None:
    x = load(name)
    near = next(c["tolerance"] for c in json.loads((GOLDEN / "manifest.json").read_text())["cases"] if c["id"] == name)
    views = [x[key].requires_grad_() for key in ("in_hm1", "in_hm2")]
    # A classifier that hands each channel on leaves the map as it is.
    loss = run(join(*views, torch.eye(views[0].shape[1], dtype=views[0].dtype)))
    loss.backward()
    torch.testing.assert_close(loss.detach(), x["out_loss"], **near)
    for view, key in zip(views, ("hm1", "hm2"), strict=True):
        assert view.grad is not None
        torch.testing.assert_close(view.grad, x[f"grad_loss_wrt_{key}"], **near)


def test_the_term_is_that_of_a_slow_definition() -> None:
    source = torch.Generator().manual_seed(0)
    image, mirrored = (torch.randn(3, 5, 2, 4, generator=source) for _ in range(2))
    weight = torch.randn(7, 5, generator=source)
    total, cells = 0.0, [(i, k, h, w) for i in range(3) for k in range(7) for h in range(2) for w in range(4)]
    for i, k, h, w in cells:
        ours = sum(float(weight[k, c]) * float(image[i, c, h, w]) for c in range(5))
        theirs = sum(float(weight[k, c]) * float(mirrored[i, c, h, 3 - w]) for c in range(5))
        total += (ours - theirs) ** 2
    assert run(join(image, mirrored, weight)).item() == pytest.approx(total / len(cells), rel=1e-5)


def test_maps_that_mirror_cost_nothing_and_any_grid_does() -> None:
    weight = torch.randn(3, 5)
    for grid in ((1, 1), (1, 4), (3, 1), (7, 7), (2, 5)):
        image = torch.randn(2, 5, *grid)
        assert run(join(image, image.flip(3), weight)) == 0
        assert run(join(image, image.flip(3) + 1, weight)) > 0


def test_only_the_image_is_labelled_and_the_second_view_follows_the_option() -> None:
    student = Shapes(4, ((6, 2, 2),), 6, has_classifier=True)
    tied, independent = (EAC(Pair(student, None, 4), erasing=erasing) for erasing in ("tied", "independent"))
    assert tied.views == EAC.views == ("standard", "mirrored")
    assert independent.views == ("standard", "mirrored_own_erasing")
    assert EAC.labelled_views == 1
    assert {*tied.views, *independent.views} <= {*VIEW_KINDS}


def test_the_cross_entropy_sees_the_image_and_not_its_mirror_image() -> None:
    student = build_network("cifar_resnet8", num_classes=4, image_size=32).eval()
    images, target = torch.rand(4, 3, 32, 32), torch.arange(4)
    distiller = Distiller(student, None, "eac").eval()
    losses = distiller(torch.cat([images, torch.zeros_like(images)]), target.repeat(2))
    torch.testing.assert_close(losses.raw["cross_entropy"], F.cross_entropy(student(images).logits, target))
    torch.testing.assert_close(losses.loss, losses.raw["cross_entropy"] + 5 * losses.raw["consistency"])


@pytest.mark.parametrize(
    ("name", "is_exact"),
    [
        ("cifar_resnet8", True),
        ("torchvision/resnet18", True),
        ("torchvision/mobilenet_v2", True),
        ("regnety_002", True),
        ("convnext_atto", False),
        ("cct_2_3x2", False),
    ],
)
def test_activation_maps_add_up_to_the_logits_where_the_note_says_so(name: str, is_exact: bool) -> None:
    torch.manual_seed(0)
    student = build_network(name, num_classes=4, image_size=(64, 64)).eval()
    # Fresh classifiers may be so small that all logits are alike.
    weight = student(torch.rand(1, 3, 64, 64)).classifier
    assert weight is not None
    nn.init.normal_(weight)
    with torch.no_grad():
        answer = student(torch.rand(3, 3, 64, 64))
        scores = dropkd.functional.class_activation_maps(answer.maps[-1], weight).mean((2, 3))
    rest = answer.logits - scores
    spread = (rest - rest.mean(0)).abs().max() / answer.logits.std()
    assert bool(spread < 1e-3) is is_exact
    assert run(Outputs.join([answer, answer])).isfinite()


def _student(name: str, **options: Any) -> Network:
    return build_network(name, num_classes=4, image_size=(64, 64), **options)


@pytest.mark.parametrize("name", ["mobilenetv3_small_100", "mobilenetv2_100"])
def test_a_map_that_is_widened_after_it_is_refused_with_the_way_out(name: str) -> None:
    message = r"has \d+ channels and the classifier sees \d+ numbers.*student\.map_modules, as in \[bn2\].*a ResNet"
    with pytest.raises(ModelError, match=message):
        EAC(Pair(_student(name).shapes, None, 4))


@pytest.mark.parametrize("name", ["mobilenetv2_100", "efficientnet_lite0"])
def test_the_way_out_leads_out(name: str) -> None:
    student = _student(name, map_modules=["bn2"])
    losses = Distiller(student, None, "eac").train()(torch.rand(4, 3, 64, 64), torch.arange(2).repeat(2))
    assert losses.raw["consistency"] > 0


def test_students_without_maps_or_a_linear_classifier_are_refused() -> None:
    with pytest.raises(ModelError, match=r"there is none: name it by student\.map_modules"):
        EAC(Pair(Shapes(4, (), 6, has_classifier=True), None, 4))
    with pytest.raises(ModelError, match="EAC reads the weight of the student's classifier"):
        EAC(Pair(Shapes(4, ((6, 2, 2),), 6), None, 4))
    answer = Outputs(torch.randn(4, 4), (torch.randn(4, 6, 2, 2),), torch.randn(4, 6))
    method = EAC(Pair(Shapes(4, ((6, 2, 2),), 6, has_classifier=True), None, 4))
    with pytest.raises(ModelError, match="this answer holds none"):
        method(answer, None, Batch(torch.zeros(4, dtype=torch.int64), torch.arange(4)))


def test_it_trains_nothing_of_its_own() -> None:
    student = build_network("cifar_resnet20", num_classes=100, image_size=(32, 32))
    method = Distiller(student, None, "eac").method
    assert list(method.parameters()) == []


def test_defaults_and_the_recipe_are_the_published_ones() -> None:
    assert {name: option.default for name, option in method_options(EAC).items()} == {"erasing": "tied"}
    assert (dict(EAC.terms), EAC.cross_entropy_weight) == ({"consistency": 5}, 1)
    recipe = load_config(RECIPES / "eac.yaml")
    data, training = recipe.data, recipe.training
    assert (data.image_size, data.augmentation) == (224, "faces-eac")
    assert (training.epochs, training.batch_size, training.lr, training.weight_decay) == (60, 32, 1e-4, 1e-4)
    assert (training.schedule, training.decay_factor) == ("exponential", 0.9)
    assert recipe.method.options == {"erasing": "tied"}


def test_the_contract_is_kept_with_the_other_option() -> None:
    check_method(EAC, {"erasing": "independent"})


def test_it_can_be_combined_with_a_teacher() -> None:
    student, teacher = (build_network("cifar_resnet8", num_classes=4, image_size=32) for _ in range(2))
    distiller = Distiller(student, teacher, "kd+eac", options={"eac": {"erasing": "independent"}}).train()
    assert distiller.method.views == ("standard", "mirrored_own_erasing")
    losses = distiller(torch.rand(8, 3, 32, 32), torch.arange(4).repeat(2))
    assert losses.raw.keys() == {"cross_entropy", "kd_logit", "eac_consistency"}
    assert losses.raw["eac_consistency"] > 0


@pytest.mark.parametrize("erasing", ["tied", "independent"])
def test_consistency_falls_in_training_on_real_images_and_stays_below_that_without_its_weight(
    clothes: Path, tmp_path: Path, erasing: str
) -> None:
    def train(weight: float) -> list[float]:
        done = dropkd.train(
            clothes, model="cifar_resnet8", output=tmp_path / f"{weight}", epochs=5, batch_size=24, lr=0.005,
            settings={**SETTINGS, "method.erasing": erasing, "method.weights.consistency": weight},
        )  # fmt: skip
        return [epoch["train"]["terms"]["consistency"]["raw"] for epoch in done.history]

    taught, idle = train(5.0), train(1e-6)
    assert taught[-1] < 0.5 * taught[0]
    assert taught[-1] < 0.5 * idle[-1]
