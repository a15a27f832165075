"""The operations of TrivialAugment and RandAugment against torchvision's."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.transforms.v2 import RandAugment, TrivialAugmentWide

from dropkd.data.images import Picture
from dropkd.data.operations import OPERATIONS, SPACES, operate
from dropkd.data.recipes import LEVELS

# Ours and torchvision's names, in torchvision's order.
NAMES = {
    "identity": "Identity", "shear_x": "ShearX", "shear_y": "ShearY", "move_x": "TranslateX", "move_y": "TranslateY",
    "rotate": "Rotate", "brightness": "Brightness", "colour": "Color", "contrast": "Contrast",
    "sharpness": "Sharpness", "posterize": "Posterize", "solarize": "Solarize", "autocontrast": "AutoContrast",
    "equalize": "Equalize",
}  # fmt: skip
ORACLES = {"trivial": TrivialAugmentWide(), "rand": RandAugment()}


@pytest.fixture(scope="module", params=[(32, 32), (51, 37)], ids=str)
def photo(request: pytest.FixtureRequest) -> Picture:
    return Image.fromarray(load_sample_images().images[1]).resize(request.param)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", NAMES)
def test_an_operation_at_each_strength_gives_torchvisions_pixels(space: str, name: str, photo: Picture) -> None:
    oracle, strengths = ORACLES[space], SPACES[space][name]
    table, signed = oracle._AUGMENTATION_SPACE[NAMES[name]]
    theirs = table(LEVELS, photo.height, photo.width)
    assert strengths.signed == signed
    for level in range(LEVELS):
        strength = strengths.at(level, photo.width if name == "move_x" else photo.height)
        # Theirs are in single precision.
        assert strength == pytest.approx(0.0 if theirs is None else float(theirs[level]), rel=1e-5, abs=1e-6)
        for way in (strength, -strength) if signed else (strength,):
            expected = oracle._apply_image_or_video_transform(
                photo, NAMES[name], way, oracle.interpolation, oracle._fill
            )
            assert (np.asarray(OPERATIONS[name](photo, way)) == np.asarray(expected)).all(), (level, way)


def test_the_ranges_are_those_of_the_papers_tables() -> None:
    ends = {space: {name: (s.at(0, 224), s.at(30, 224)) for name, s in SPACES[space].items()} for space in SPACES}
    wide, rand = ends["trivial"], ends["rand"]
    assert (wide["shear_x"], wide["move_y"], wide["rotate"]) == ((0, 0.99), (0, 32), (0, 135))
    assert (wide["colour"], wide["posterize"], wide["solarize"]) == ((0, 0.99), (8, 2), (1, 0))
    assert (rand["shear_x"], rand["rotate"], rand["posterize"]) == ((0, 0.3), (0, 30), (8, 4))
    assert rand["move_x"] == (0, pytest.approx(101.5, abs=0.1))


def test_each_operation_has_its_share_of_the_choices_and_goes_both_ways(photo: Picture) -> None:
    for i, (name, strengths) in enumerate(SPACES["trivial"].items()):
        strength = strengths.at(20, photo.width if name == "move_x" else photo.height)
        for choice in (i / 14 + 1e-9, (i + 1) / 14 - 1e-9):
            assert operate(photo, "trivial", choice, 20, 0.7) == OPERATIONS[name](photo, strength)
            opposite = OPERATIONS[name](photo, -strength if strengths.signed else strength)
            assert operate(photo, "trivial", choice, 20, 0.2) == opposite


def test_what_comes_from_beyond_the_border_is_black(photo: Picture) -> None:
    moved = np.asarray(OPERATIONS["move_x"](photo, 10))
    assert (moved[:, :10] == 0).all()
    assert (moved[:, 10:] == np.asarray(photo)[:, :-10]).all()
