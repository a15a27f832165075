"""Every method keeps the contract, with its defaults, with each of its options turned, and beside another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest

from dropkd.methods import Option, method_class, method_names, method_options
from dropkd.testing import check_method

# Several options at once, where one leads to another.
OTHER_OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("kd", {"temperature": 1.0}),
    ("dropkd", {"stages": "all", "reconstruct_sides": "both", "domain_sides": "both", "num_masks": 2}),
    ("dropkd", {"masks": "independent", "logit_mode": "remove", "feature_unit": "position", "stop_gradient": False}),
    ("dropkd", {"normalize": "none", "feature_unit": "channel", "center_logits": False, "width": 8, "stages": 2}),
    ("dropkd", {"normalize": "layer", "feature_rate_teacher": 0.9, "logit_rate_student": 0.0}),
]


def list_choices(option: Option) -> Iterator[Any]:
    """Yield the values other than the default of an option that has a few values to choose from."""
    yield from (choice for choice in _unpack(option.annotation) if choice != option.default)


def _unpack(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif annotation is bool:
        yield from (True, False)
    elif get_origin(annotation) is not Annotated:
        for part in get_args(annotation):
            yield from _unpack(part)


TURNED = [
    (name, {option.name: choice})
    for name in method_names()
    for option in method_options(method_class(name)).values()
    for choice in list_choices(option)
]


def test_options_with_a_few_choices_are_turned() -> None:
    assert ("dropkd", {"masks": "independent"}) in TURNED
    assert ("dropkd", {"stages": "all"}) in TURNED
    assert ("dropkd", {"center_logits": False}) in TURNED
    assert ("dropkd", {"masks": "coupled"}) not in TURNED


@pytest.mark.parametrize("name", method_names())
def test_the_method_keeps_the_contract(name: str) -> None:
    check_method(method_class(name))


@pytest.mark.parametrize(("name", "options"), TURNED + OTHER_OPTIONS, ids=str)
def test_the_method_keeps_the_contract_with_other_options(name: str, options: dict[str, Any]) -> None:
    check_method(method_class(name), options)


@pytest.mark.parametrize("name", ["kd+at", "scn+kd", "eac+dropkd", "mld+eac", "crd+scn"])
def test_methods_keep_the_contract_together(name: str) -> None:
    check_method(method_class(name))
