"""What a configuration leaves open."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from dropkd import api
from dropkd.config import Config, load_config
from dropkd.data import open_data
from dropkd.engine.observer import Observer
from dropkd.engine.plan import evaluation_frame, resolve_config, training_view
from dropkd.engine.setup import prepare_job
from dropkd.errors import ConfigError
from dropkd.models import create_model


def test_a_view_has_the_larger_input_but_is_not_blown_up_for_the_teacher() -> None:
    assert training_view((224, 224), None, (500, 375)) == (224, 224)
    assert training_view((224, 224), (336, 336), (500, 375)) == (336, 336)
    assert training_view((28, 28), (224, 224), (28, 28)) == (28, 28)
    assert training_view((96, 96), (224, 224), (100, 120)) == (100, 100)


def test_a_student_that_asks_for_more_than_the_images_have_gets_it() -> None:
    assert training_view((64, 64), (224, 224), (28, 28)) == (64, 64)


def test_the_centre_crop_of_a_frame_has_the_networks_input_size() -> None:
    assert evaluation_frame((224, 224), 0.875) == (256, 256)
    assert evaluation_frame((28, 28), 1.0) == (28, 28)


def test_a_frame_for_the_teacher_stays_inside_the_images() -> None:
    assert evaluation_frame((224, 224), 0.9, native=(28, 40)) == (28, 28)
    assert evaluation_frame((224, 224), 0.875, native=(500, 375)) == (256, 256)


def test_images_are_shifted_by_an_eighth_of_the_view_unless_the_user_says_how_far(
    configure: Callable[..., Config],
) -> None:
    recipes = [prepare_job(configure("plain", data__crop_padding=n), Observer()).recipe for n in (None, 0, 2)]
    assert [recipe.crop_padding for recipe in recipes] == [4, 0, 2]


@pytest.mark.parametrize(
    ("changes", "mistake"),
    [
        ({"training__final_lr": 0.5}, r"'training.final_lr' \(0.5\) is above 'training.lr' \(0.000707\)"),
        (
            {"training__warmup_epochs": 200, "training__epochs": None},
            r"'training.warmup_epochs' \(200\) is more than 'training.epochs' \(100\)",
        ),
    ],
)
def test_what_does_not_go_with_a_value_that_was_filled_in_is_refused_in_words(
    changes: dict[str, Any], mistake: str, configure: Callable[..., Config]
) -> None:
    with pytest.raises(ConfigError, match=mistake):
        prepare_job(configure("plain", **changes), Observer())


def test_the_learning_rate_ends_where_the_user_says(configure: Callable[..., Config]) -> None:
    run = api.run(configure("plain", training__lr=0.01, training__final_lr=0.004, training__warmup_epochs=0))
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    rates = [line["lr"] for line in lines if line["event"] == "step"]
    assert rates[0] == 0.01
    assert rates == sorted(rates, reverse=True)
    assert 0.004 < rates[-1] < 0.0045


@pytest.mark.parametrize(
    ("augmentation", "fraction"), [("crop-flip", 1.0), ("faces-scn", 1.0), ("none", 1.0), ("resized-crop", 0.875)]
)
def test_a_student_that_learns_from_whole_images_is_judged_by_whole_ones(
    augmentation: str, fraction: float, configure: Callable[..., Config], tmp_path: Path
) -> None:
    save_file(create_model("mobilenetv3_small_050", num_classes=3).state_dict(), tmp_path / "weights.safetensors")
    config = configure(
        "plain",
        student__name="mobilenetv3_small_050",
        student__checkpoint=tmp_path / "weights.safetensors",
        data__image_size=224,
        data__augmentation=augmentation,
    )
    student = prepare_job(config, Observer()).distiller.student
    assert (student.spec.crop_fraction, student.preprocessing.crop_fraction) == (fraction, fraction)


def test_a_classifier_on_a_frozen_backbone_has_the_rate_of_random_weights(clothes: Path) -> None:
    data = open_data(clothes)

    def rate(**flags: object) -> float:
        config = load_config(flags={"data.path": str(clothes), "student.name": "resnet10t", **flags})
        return resolve_config(config, data, native_input=(176, 176), cpus=1).training.lr

    frozen = {"finetune.freeze": "backbone"}
    assert rate() == rate(**frozen, **{"finetune.unfreeze_epoch": 2})
    assert rate(**frozen) == rate(**{"student.pretrained": False}) > 5 * rate()
