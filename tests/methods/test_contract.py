"""Every method keeps the contract, with its defaults and with its options turned."""

from __future__ import annotations

from typing import Any

import pytest

from dropkd.methods import method_class, method_names
from dropkd.testing import check_method

OTHER_OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("kd", {"temperature": 1.0}),
    ("dropkd", {"stages": "all", "reconstruct_sides": "both", "domain_sides": "both", "num_masks": 2}),
    ("dropkd", {"masks": "independent", "logit_mode": "remove", "feature_unit": "position", "stop_gradient": False}),
    ("dropkd", {"normalize": "none", "feature_unit": "channel", "center_logits": False, "width": 8, "stages": 2}),
    ("dropkd", {"normalize": "layer", "feature_rate_teacher": 0.9, "logit_rate_student": 0.0}),
]


@pytest.mark.parametrize("name", method_names())
def test_the_method_keeps_the_contract(name: str) -> None:
    check_method(method_class(name))


@pytest.mark.parametrize(("name", "options"), OTHER_OPTIONS, ids=str)
def test_the_method_keeps_the_contract_with_other_options(name: str, options: dict[str, Any]) -> None:
    check_method(method_class(name), options)
