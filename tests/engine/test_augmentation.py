"""A run's recipe, from its configuration into its run folder and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dropkd import api
from dropkd.config import Config, DataConfig, load_config
from dropkd.config.augmentations import AUGMENTATIONS
from dropkd.data import RECIPE_PARTS, Recipe
from dropkd.engine.augmentation import choose_recipe, fit_padding
from dropkd.engine.observer import Observer
from dropkd.engine.plan import ResolvedData
from dropkd.engine.setup import prepare_job
from dropkd.errors import ConfigError

# The data section as the first versions wrote it.
OLD = """
data:
  path: {path}
  image_size: [28, 28]
  augmentation: {name}
  crop_padding: null
  flip: true
  erase_probability: 0.0
  color_jitter: 0.0
  validation_fraction: 0.1
  skip_unreadable: false
  workers: 0
student: {{name: cifar_resnet8, pretrained: false}}
"""


def test_a_configuration_has_a_key_for_each_part_of_a_recipe() -> None:
    keys = list(DataConfig.model_fields)
    first = keys.index(RECIPE_PARTS[0])
    assert tuple(keys[first : first + len(RECIPE_PARTS)]) == RECIPE_PARTS


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_run_folder_spells_out_a_recipe_that_gives_the_same_recipe_again(
    name: str, configure: Callable[..., Config]
) -> None:
    job = prepare_job(configure("plain", data__augmentation=name), Observer())
    assert job.config.data.augmentation == name
    assert job.config.data.crop == job.recipe.crop
    assert job.config.data.flip == job.recipe.flip
    spelled = {part: getattr(job.config.data, part) for part in RECIPE_PARTS}
    again = choose_recipe(job.config.data, job.data, job.view_size)
    idle = {part for part, value in spelled.items() if value is None}
    assert {part: getattr(again, part) for part in RECIPE_PARTS if part not in idle} == {
        part: getattr(job.recipe, part) for part in RECIPE_PARTS if part not in idle
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("auto", Recipe("shift", crop_padding=4)),
        ("crop-flip", Recipe("shift", crop_padding=4)),
        ("resized-crop", Recipe("resized", crop_padding=4)),
        ("none", Recipe("centre", crop_padding=4, flip=False)),
    ],
)
def test_a_configuration_of_an_earlier_version_means_what_it_meant(
    name: str, expected: Recipe, clothes: Path, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(OLD.format(path=clothes, name=name))
    assert prepare_job(load_config(tmp_path / "config.yaml"), Observer()).recipe == expected


def test_keys_stand_in_place_of_a_recipes_parts(configure: Callable[..., Config]) -> None:
    changes = {"data__crop": "resized", "data__crop_scale": [0.08, 1], "data__flip": False}
    job = prepare_job(
        configure("plain", data__augmentation="RandAugment", data__rand_magnitude=5, **changes), Observer()
    )
    assert (job.recipe.operations, job.recipe.rand_magnitude, job.recipe.rand_ops) == ("rand", 5, 2)
    assert (job.recipe.crop, job.recipe.crop_scale, job.recipe.flip) == ("resized", (0.08, 1.0), False)


@pytest.mark.parametrize(
    "changes",
    [
        {"data__augmentation": "cifar", "data__crop_padding": 0},
        {"data__augmentation": "rand", "data__rand_ops": 0},
        {"data__augmentation": "rand", "data__rand_magnitude": 0, "data__flip": False},
        {"data__augmentation": "faces-scn", "data__erase_probability": 0.0, "data__flip_or_noise": False},
    ],
)
def test_a_part_that_is_0_or_off_is_still_so_after_its_way_through_the_run_folder(
    changes: dict[str, object], configure: Callable[..., Config]
) -> None:
    job = prepare_job(configure("plain", **changes), Observer())
    for key, value in changes.items():
        assert getattr(job.config.data, key.removeprefix("data__")) == value
    assert choose_recipe(job.config.data, job.data, job.view_size) == job.recipe


def test_a_part_without_effect_is_refused_before_training(configure: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match="'crop_scale' counts where 'crop' is 'resized'"):
        prepare_job(configure("plain", data__augmentation="cifar", data__crop_scale=[0.1, 1.0]), Observer())


def test_a_run_resumes_with_the_recipe_that_its_folder_spells_out(configure: Callable[..., Config]) -> None:
    run = api.run(configure("plain", data__augmentation="trivial", training__epochs=1))
    config = load_config(run.folder / "config.yaml")
    assert (config.data.augmentation, config.data.operations, config.data.crop_padding) == ("trivial", "trivial", 4)
    assert config.data.crop_scale is None
    assert prepare_job(config, Observer()).recipe == prepare_job(
        configure("plain", data__augmentation="trivial"), Observer()
    ).recipe  # fmt: skip


def test_the_student_alone_is_shifted_by_the_same_share_of_its_smaller_views() -> None:
    alone = ResolvedData(path=Path("x"), image_size=(32, 32), workers=0, crop="shift", crop_padding=28)
    assert fit_padding(alone, (224, 224)).crop_padding == 4
    assert fit_padding(alone, (32, 32)).crop_padding == 28
    unshifted = alone.model_copy(update={"crop_padding": None})
    assert fit_padding(unshifted, (224, 224)).crop_padding is None
