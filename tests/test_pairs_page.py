"""The page of pairs says what each method does on each kind of pair now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import build_pairs_page
from dropkd.methods import method_class, method_names

ROOT = Path(__file__).parents[1]


PAGE = (ROOT / "docs" / "pairs.md").read_text(encoding="utf-8")


def read_rows() -> dict[str, list[str]]:
    """Return the cells of each method, its name not among them."""
    rows = (line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ["))
    return {re.sub(r"\[(\w+)\].*", r"\1", name): cells for name, *cells in rows}


@pytest.mark.slow
def test_the_page_is_what_the_methods_do_now() -> None:
    assert build_pairs_page.build_page() == PAGE, "run python docs/build_pairs_page.py"


def test_every_method_has_a_row_and_every_cell_is_yes_or_a_reason() -> None:
    rows = read_rows()
    assert list(rows) == [name for name in method_names() if method_class(name).__module__.startswith("dropkd.")]
    reasons = re.findall(r"^(\d+)\. \w.*\.$", PAGE, re.MULTILINE)
    for cells in rows.values():
        for cell in cells[: len(build_pairs_page.KINDS)]:
            numbers = re.findall(r"not [\w -]+ \((\d+)\)", cell)
            assert cell == "yes" or (numbers and set(numbers) <= set(reasons))


def test_the_facts_in_a_row_are_those_of_the_class() -> None:
    rows = read_rows()
    for name, cells in rows.items():
        assert cells[len(build_pairs_page.KINDS) :] == build_pairs_page.list_facts(method_class(name))
    assert rows["dropkd"][-4:] == ["1", "logit", "logits, maps", "standard"]
    assert rows["eac"][-4:] == ["1", "no", "no teacher", "standard, mirrored"]


def test_a_refusal_is_cut_to_its_first_sentence_without_shapes() -> None:
    message = "EAC reads the map (112, 1, 1) of the student, which is too wide: train another. Or not."
    assert build_pairs_page.shorten(message) == "EAC reads the map of the student, which is too wide."


def test_a_refused_pair_is_named_in_its_cell() -> None:
    notes = ["Something else."]
    assert build_pairs_page.try_kind("eac", "ViT → CNN", notes) == "yes, not MobileNetV2 (2)"
    assert notes[1].startswith("EAC multiplies the student's last map by the classifier's weight")
