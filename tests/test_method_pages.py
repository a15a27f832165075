"""Every method has its page, made of its docstring, and its recipe."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import build_method_pages
from dropkd.config import load_config
from dropkd.engine.wiring import resolve_weights
from dropkd.methods import method_class, method_names
from dropkd.methods.registry import check_method_options

ROOT = Path(__file__).parents[1]


NAMES = [name for name in method_names() if method_class(name).__module__.startswith("dropkd.")]


def test_the_pages_are_what_the_docstrings_say_now() -> None:
    pages = build_method_pages.build_pages()
    written = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "methods").glob("*.md")}
    assert sorted(written) == sorted(pages)
    stale = [name for name, text in pages.items() if written[name] != text]
    assert stale == [], "run python docs/build_method_pages.py"


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_has_every_section_and_a_five_line_example(name: str) -> None:
    parts = build_method_pages.split_docstring(inspect.getdoc(method_class(name)))
    missing = set(build_method_pages.SECTIONS) - set(parts)
    # Plain training is nobody's paper and needs no word on deviations.
    assert missing <= ({"References", "Note"} if name == "plain" else set())
    assert 4 <= parts["Example"].count(">>> ") <= 6
    assert f'"{name}"' in parts["Example"]


@pytest.mark.parametrize("name", NAMES)
def test_the_formulas_are_whole(name: str) -> None:
    parts = build_method_pages.split_docstring(inspect.getdoc(method_class(name)))
    for formula in build_method_pages._join_continued(parts["Equation"].partition("\n\n")[0]):
        bare = formula.replace(r"\{", "").replace(r"\}", "")
        assert bare.count("{") == bare.count("}"), formula
        assert len(re.findall(r"\\left(?![a-z])", formula)) == len(re.findall(r"\\right(?![a-z])", formula)), formula


@pytest.mark.parametrize("name", NAMES)
def test_its_recipe_names_it_and_only_options_and_terms_that_it_has(name: str) -> None:
    config = load_config(ROOT / "recipes" / "methods" / f"{name}.yaml")
    assert name in config.method.name.split("+")
    cls = method_class(config.method.name)
    assert set(check_method_options(config.method.name, config.method.options)) <= set(config.method.options)
    assert set(resolve_weights(cls, config.method.weights)) == {"cross_entropy", *cls.terms}
    assert (config.teacher is not None) == bool(cls.teacher_reads)
