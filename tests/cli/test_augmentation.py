"""Augmentation by name, from the command line: one short run by each recipe, and the picture of what a recipe does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dropkd.config import load_config
from dropkd.config.augmentations import AUGMENTATIONS
from dropkd.data import open_data, recipe, render_view

Cli = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("name", [*AUGMENTATIONS[4:], "faces-as-SCN"])
def test_a_network_trains_by_each_recipe(name: str, cli: Cli, photos: Path) -> None:
    code, _, said = cli(
        "train", photos, "--model", "cifar_resnet8", "--epochs", 1, "--augmentation", name, "--output", "run"
    )
    assert (code, "Traceback" in said) == (0, False)
    data = load_config(Path("run/config.yaml")).data
    assert data.augmentation == name.replace("faces-as-SCN", "faces-scn")
    assert data.crop is not None
    assert data.flip is not None


def test_methods_of_two_views_train_with_operations(cli: Cli, photos: Path, teacher_run: Path) -> None:
    for method, more in (("mld", ()), ("eac", ("--set", "method.erasing=independent"))):
        code, _, said = cli(
            *("distill", photos, "--teacher", teacher_run, "--student", "cifar_resnet8", "--method", method, *more),
            *("--epochs", 1, "--augmentation", "trivial", "--teacher-check", "off", "--output", method),
        )
        assert code == 0, said


def test_an_unknown_augmentation_is_named_with_the_nearest(cli: Cli, photos: Path) -> None:
    code, _, said = cli("train", photos, "--model", "cifar_resnet8", "--augmentation", "trivialaugmnt")
    assert code == 2
    assert "--augmentation: must be one of 'auto', 'none'," in said
    assert "Did you mean 'trivial'?" in " ".join(said.split())
    assert not Path("runs").exists()


def test_the_picture_of_views_shows_the_views_that_training_sees(cli: Cli, photos: Path) -> None:
    code, shown, _ = cli(
        "data",
        "views",
        photos,
        "--augmentation",
        "RandAugment",
        "--images",
        3,
        "--epochs",
        4,
        "--seed",
        2,
        "-o",
        "v.png",
    )
    assert code == 0
    assert "rand: crop shift, crop_padding 4, interpolation bilinear, flip, operations rand, rand_ops 2" in shown
    sheet = np.asarray(Image.open("v.png"))
    data = open_data(photos, seed=2)
    # Views of 28 px are enlarged three times; 4 px lie between them, and 18 px of headings above.
    assert sheet.shape == (3 * 88 + 22, 5 * 88 + 4, 3)
    chosen = recipe("rand", view_size=(28, 28))
    for row, index in enumerate((0, (len(data.train) - 1) / 2, len(data.train) - 1)):
        for epoch in range(4):
            cell = sheet[22 + 88 * row :, 4 + 88 * (epoch + 1) :][:84:3, :84:3]
            view = render_view(data.train, round(index), epoch=epoch, size=(28, 28), recipe=chosen, seed=2)
            assert (cell == view).all()


def test_the_picture_of_a_runs_views_comes_from_its_configuration(cli: Cli, photos: Path) -> None:
    train = ("train", photos, "--model", "cifar_resnet8", "--epochs", 1, "--augmentation", "trivial", "--output", "run")
    assert cli(*train)[0] == 0
    assert cli("data", "views", "--config", "run/config.yaml", "-o", "run.png")[0] == 0
    assert cli("data", "views", photos, "--augmentation", "trivial", "-o", "direct.png")[0] == 0
    assert Path("run.png").read_bytes() == Path("direct.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "nowhere"),
        (("photos", "-o", "views.jpg"), "the picture is a PNG file; end its name with .png."),
        (("photos", "--view", "stron"), "unknown view 'stron'. There are: standard, mirrored, mirrored_own_erasing"),
        (("photos", "--augmentation", "imagnet"), "Did you mean 'imagenet'?"),
        (("photos", "--set", "data.crop_scale=[0.1, 1]"), "'crop_scale' counts where 'crop' is 'resized'"),
        (("photos", "--augmentation", "none", "--set", "data.color_jitter=0.4"), "'none' changes nothing, but"),
        ((), "DATA is missing"),
    ],
)
def test_a_mistake_is_told_in_words(arguments: tuple[str, ...], message: str, cli: Cli, photos: Path) -> None:
    code, _, said = cli("data", "views", *arguments)
    assert code == 2
    assert message in " ".join(said.split())
    assert "Traceback" not in said
