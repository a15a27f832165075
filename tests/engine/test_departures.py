"""Which keys of a configuration were asked for beside their defaults."""

from __future__ import annotations

from dropkd.config import Config, load_config
from dropkd.engine.departures import find_departures

PLACE = {"data.path": "images", "student.name": "cifar_resnet8"}


def _ask(*overrides: str, **flags: object) -> dict[str, object]:
    return find_departures(load_config(overrides=overrides, flags=PLACE | flags))


def test_a_configuration_of_defaults_departs_in_nothing() -> None:
    assert _ask("output=somewhere") == {}


def test_a_fixed_default_is_told_and_a_choice_that_is_left_to_dropkd_is_none() -> None:
    assert _ask("training.momentum=0.8", "training.epochs=8", "seed=3") == {
        "training.momentum": 0.9, "training.epochs": None, "seed": 0,
    }  # fmt: skip


def test_a_value_that_is_spelt_out_but_is_the_default_is_no_departure() -> None:
    assert _ask("training.momentum=0.9", "method.name=kd", "method.temperature=4.0") == {"method.name": "plain"}


def test_an_option_of_the_method_departs_from_the_method_s_own_default() -> None:
    assert _ask("method.name=kd", "method.temperature=3", "method.weights.logit=2") == {
        "method.name": "plain", "method.temperature": 4.0, "method.weights.logit": None,
    }  # fmt: skip


def test_options_of_several_methods_and_of_networks_are_told_too() -> None:
    teacher = ("teacher.source=vit_tiny_patch16_224", "teacher.each=true")
    found = _ask("method.name=kd+at", "method.kd.temperature=3", "student.options.depth=8", *teacher)
    assert found == {
        "method.name": "plain", "method.kd.temperature": 4.0, "student.options.depth": None, "teacher.each": False,
    }  # fmt: skip


def test_every_key_of_the_schema_has_a_default_that_equals_itself() -> None:
    config = Config.model_validate({"data": {"path": "images"}, "student": {"name": "x"}, "teacher": {"source": "y"}})
    assert find_departures(config) == {}
