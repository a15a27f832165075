"""Values and gradients that the authors' own code gave; tests/golden/README.md says where they are from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import CASES
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "golden"
MANIFEST = json.loads((FOLDER / "manifest.json").read_text())["cases"]

# Cases of modules with weights or of a schedule rather than of a function of tensors: how many there are, and the tests
# that take them.
NOT_FUNCTIONS = {
    "ReviewKD-ABF": (3, "methods/test_reviewkd.py"),
    "ReviewKD-full": (1, "methods/test_reviewkd.py"),
    "FitNet": (3, "methods/test_fitnet.py"),
    "OFA-branches": (1, "methods/test_ofakd.py"),
    "schedule": (1, "engine/test_method_defaults.py"),
}
# Outputs that are by definition not what the function gives.
OTHER_DEFINITIONS = {"macro_recall_all_classes_zero_division_0", "recall_per_class", "accuracy"}
# The one variant for information that is also offered by name.
INTENDED = "ref_variant_kd_persample_mask_allstrong"

TAKEN = [case for case in MANIFEST if case["method"] not in NOT_FUNCTIONS]


def test_the_cases_taken_and_those_left_to_modules_are_all_there_are() -> None:
    for method, (count, file) in NOT_FUNCTIONS.items():
        left = [case["id"] for case in MANIFEST if case["method"] == method]
        text = (FOLDER.parent / file).read_text()
        assert len(left) == count
        assert f'"{method}"' in text or all(name in text for name in left)
    assert {case["method"] for case in TAKEN} == set(CASES)
    assert (len(MANIFEST), len(TAKEN)) == (89, 80)


def _load(case: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
    with np.load(FOLDER / case["file"]) as file:
        arrays = {name: file[name] for name in file}
    given = {
        name.split("_", 1)[1]: torch.from_numpy(array)
        for name, array in arrays.items()
        if name.startswith(("in_", "par_"))
    }
    return given, arrays


@pytest.mark.parametrize("case", TAKEN, ids=lambda case: case["id"])
def test_values_are_those_of_the_authors_code(case: dict[str, Any]) -> None:
    given, arrays = _load(case)
    outputs = CASES[case["method"]](given, case["hyper"])
    # Where the authors' code is not finite, the reference is the formula in log space.
    prefix = "out_" if case["finite"] else "ref_"
    taken = [name for name in arrays if name.startswith((prefix, INTENDED))]
    taken = [name for name in taken if name[4:] not in OTHER_DEFINITIONS]
    assert {name[4:] for name in taken} == set(outputs)
    for name in taken:
        _check_close(outputs[name[4:]], arrays[name], case["tolerance"], name)


@pytest.mark.parametrize("case", [c for c in TAKEN if c["compare_grads"]], ids=lambda case: case["id"])
def test_gradients_are_those_of_the_authors_code(case: dict[str, Any]) -> None:
    given, arrays = _load(case)
    expected = {tuple(k[5:].split("_wrt_")): v for k, v in arrays.items() if k.startswith("grad_")}
    assert expected
    for _, name in expected:
        given[name].requires_grad_()
    outputs = CASES[case["method"]](given, case["hyper"])
    for (loss, name), array in expected.items():
        (grad,) = torch.autograd.grad(outputs[loss], given[name], retain_graph=True)
        _check_close(grad, array, case["tolerance"], f"gradient of {loss} for {name}")


def _check_close(found: Tensor, expected: np.ndarray, tolerance: dict[str, float], name: str) -> None:
    values = found.detach().double().numpy()
    assert np.isfinite(values).all(), name
    np.testing.assert_allclose(values.reshape(expected.shape), expected.astype(np.float64), err_msg=name, **tolerance)


@pytest.mark.parametrize("case", [c for c in TAKEN if not c["finite"]], ids=lambda case: case["id"])
def test_gradients_are_finite_where_those_of_the_authors_code_are_not(case: dict[str, Any]) -> None:
    given, arrays = _load(case)
    assert not all(np.isfinite(array).all() for name, array in arrays.items() if name.startswith("grad_"))
    given["student"].requires_grad_()
    (grad,) = torch.autograd.grad(CASES[case["method"]](given, case["hyper"])["loss"], given["student"])
    assert grad.isfinite().all()
    # The same function in float64, where nothing underflows, tells what they should be.
    wide = {name: t.detach().double() if t.is_floating_point() else t for name, t in given.items()}
    wide["student"].requires_grad_()
    (exact,) = torch.autograd.grad(CASES[case["method"]](wide, case["hyper"])["loss"], wide["student"])
    torch.testing.assert_close(grad.double(), exact, rtol=1e-3, atol=1e-5)
