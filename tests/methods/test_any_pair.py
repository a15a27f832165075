"""Every method takes any pair of networks: it gives finite losses and gradients, or says in words why it can't."""

from __future__ import annotations

from functools import cache
from itertools import product

import pytest
import torch

from dropkd.contracts import Pair, Shapes
from dropkd.engine.distiller import Distiller
from dropkd.errors import DropKDError
from dropkd.methods import method_class, method_names
from dropkd.models import Network, build_network
from dropkd.testing.bench import Bench, make_pair
from dropkd.testing.gradients import find_bad_gradients, go_back
from dropkd.testing.values import find_bad_values

Grid = tuple[int, int]
EACH_METHOD = pytest.mark.parametrize("name", method_names())

# What networks make of an image: square, not square, of odd sides. A transformer has one grid, a hybrid ends in one.
CNN_GRIDS = {
    "32x32": ((16, 16), (8, 8), (4, 4), (2, 2)),
    "32x48": ((16, 24), (8, 12), (4, 6), (2, 3)),
    "33x35": ((17, 18), (9, 9), (5, 5), (3, 3)),
    "20x12": ((10, 6), (5, 3), (3, 2), (2, 1)),
}
TOKEN_GRIDS = {"32x32": (4, 4), "32x48": (4, 6), "33x35": (5, 5), "20x12": (5, 3)}


def make_cnn(image: str, stages: int, width: int, num_classes: int) -> Shapes:
    grids = CNN_GRIDS[image][4 - stages :]
    maps = tuple((width + 4 * stage, *grid) for stage, grid in enumerate(grids))
    return Shapes(num_classes, maps, maps[-1][0], has_classifier=True)


def make_transformer(image: str, blocks: int, width: int, num_classes: int) -> Shapes:
    return Shapes(num_classes, ((width, *TOKEN_GRIDS[image]),) * blocks, width, has_classifier=True)


def make_hybrid(image: str, blocks: int, width: int, num_classes: int) -> Shapes:
    stem = tuple((width - 2 * place, *grid) for place, grid in zip((2, 1), CNN_GRIDS[image][:2], strict=True))
    # The classifier sees more than what the last map holds, as in MobileNets.
    return Shapes(num_classes, (*stem, *((width, *TOKEN_GRIDS[image]),) * blocks), 2 * width, has_classifier=True)


KINDS = {"CNN": (make_cnn, 3, 6), "transformer": (make_transformer, 2, 10), "hybrid": (make_hybrid, 2, 8)}
TEACHERS = {"CNN": (make_cnn, 4, 8), "transformer": (make_transformer, 6, 14), "hybrid": (make_hybrid, 1, 12)}
PAIRS = list(product(KINDS, TEACHERS))


def pair_of(student: str, teacher: str, image: str = "32x32", num_classes: int = 10) -> Pair:
    (make_student, stages, width), (make_teacher, more_stages, more_width) = KINDS[student], TEACHERS[teacher]
    return make_pair(
        make_student(image, stages, width, num_classes), make_teacher(image, more_stages, more_width, num_classes)
    )


def take_step(name: str, pair: Pair, images: int) -> DropKDError | None:
    """Let a method make a step, and return the error where it refuses; anything that is not finite fails."""
    bench = Bench(method_class(name), {}, pair)
    try:
        method = bench.build()
        student = bench.student(method, images=images)
        terms = method(student, bench.teacher(method, images=images), bench.batch(method, images))
        go_back(terms)
    except DropKDError as error:
        return error
    assert set(terms) == set(method.terms)
    assert list(find_bad_values(terms)) == []
    assert list(find_bad_gradients(method, student)) == []
    return None


# Students that a method is not made for, by what it says of them.
OTHER_WIDTH = "EAC multiplies the student's last map by the classifier's weight"
NO_CLASSIFIER = "EAC reads the weight of the student's classifier"
REFUSALS = {
    ("eac", "hybrid"): OTHER_WIDTH,
    ("eac", "MobileNet"): OTHER_WIDTH,
    ("eac", "two-headed transformer"): NO_CLASSIFIER,
}


def check_refusal(name: str, student: str, refusal: DropKDError | None) -> None:
    """Fail where a method refuses a pair that it is made for, or says other words than it should."""
    assert (refusal is None) == ((name, student) not in REFUSALS), refusal
    assert REFUSALS.get((name, student), "") in str(refusal)


@EACH_METHOD
@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_every_kind_of_pair_trains_on_images_of_any_shape(name: str, student: str, teacher: str) -> None:
    for image in CNN_GRIDS:
        check_refusal(name, student, take_step(name, pair_of(student, teacher, image), images=5))


@EACH_METHOD
@pytest.mark.parametrize("num_classes", [2, 1000])
def test_few_and_many_classes_train(name: str, num_classes: int) -> None:
    for student, teacher in (("CNN", "transformer"), ("transformer", "CNN")):
        assert take_step(name, pair_of(student, teacher, num_classes=num_classes), images=5) is None


@EACH_METHOD
def test_a_batch_is_large_enough_from_the_least_that_is_declared(name: str) -> None:
    pair, least = pair_of("CNN", "transformer", "20x12"), method_class(name).least_batch
    for images in range(1, 9):
        refusal = take_step(name, pair, images)
        if images >= least:
            assert refusal is None, f"{images} images"
        else:
            assert refusal is None or "batch" in str(refusal), f"{images} images"


@EACH_METHOD
def test_networks_of_one_map_or_of_one_cell_train(name: str) -> None:
    one_map, one_cell = Shapes(10, ((12, 3, 2),), 12, True), Shapes(10, ((8, 2, 2), (10, 1, 1)), 10, True)
    deep = make_cnn("32x32", 4, 6, 10)
    for student, teacher in (
        (one_map, deep),
        (deep, one_map),
        (one_cell, deep),
        (deep, one_cell),
        (one_cell, one_cell),
    ):
        assert take_step(name, make_pair(student, teacher), images=5) is None


# Real networks, small enough for a step in a fraction of a second.
NETWORKS = {
    "small CNN": ("cifar_resnet8", {}),
    "MobileNet": ("mobilenetv2_035", {}),
    "CNN": ("resnet10t", {}),
    "transformer": ("vit_tiny_patch16_224", {"patch_size": 8, "depth": 3, "dynamic_img_size": True}),
    "padding transformer": (
        "vit_tiny_patch16_224",
        {"patch_size": 8, "depth": 2, "embed_dim": 96, "dynamic_img_size": True, "dynamic_img_pad": True},
    ),
    "two-headed transformer": ("deit_tiny_distilled_patch16_224", {"patch_size": 8, "depth": 3}),
    "MobileViT": ("mobilevitv2_050", {}),
    "compact transformer": ("cct_2_3x2", {}),
}
STEPS = [
    ("small CNN", "CNN", (32, 32), 10),
    ("MobileNet", "transformer", (32, 48), 2),
    ("small CNN", "padding transformer", (33, 35), 1000),
    ("padding transformer", "CNN", (33, 35), 10),
    ("two-headed transformer", "transformer", (32, 48), 10),
    ("compact transformer", "MobileViT", (33, 35), 10),
    ("MobileViT", "two-headed transformer", (48, 32), 10),
]


@cache
def build(kind: str, size: Grid, num_classes: int) -> Network:
    name, options = NETWORKS[kind]
    torch.manual_seed(0)
    return build_network(name, num_classes=num_classes, image_size=size, options=options)


def take_real_step(name: str, student: Network, teacher: Network) -> DropKDError | None:
    """Train real networks for a step, and return the error where the method refuses."""
    targets = torch.arange(12) % student.shapes.logits
    try:
        distiller = Distiller(student, teacher, name, targets=targets).train()
    except DropKDError as error:
        return error
    views = len(distiller.method.views)
    index = torch.arange(max(3, distiller.method.least_batch)).flip(0).repeat(views)
    images = torch.rand(len(index), 3, *student.spec.image_size)
    trained = [parameter for parameter in distiller.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-3)
    losses = distiller(images, targets[index], index)
    losses.loss.backward()
    assert [name for name, value in losses.raw.items() if not value.isfinite()] == []
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in trained)
    optimizer.step()
    assert distiller(images, targets[index], index).loss.isfinite()
    return None


@EACH_METHOD
@pytest.mark.parametrize(("student", "teacher", "size", "num_classes"), STEPS)
def test_real_networks_take_a_step(name: str, student: str, teacher: str, size: Grid, num_classes: int) -> None:
    network, expert = build(student, size, num_classes), build(teacher, size, num_classes)
    start = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    try:
        check_refusal(name, student, take_real_step(name, network, expert))
    finally:
        network.requires_grad_(True).zero_grad()
        network.load_state_dict(start)
