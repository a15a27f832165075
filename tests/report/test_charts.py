from __future__ import annotations

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropkd.report.charts import Series, draw_curves, draw_shares
from dropkd.report.dots import Dot, draw_dots
from dropkd.report.svg import element, even_ticks, number


def _write(value: float) -> str:
    return f"{value:g}"


def test_without_points_there_is_no_chart() -> None:
    assert draw_curves("x", [Series("a", "student", [])], write=_write) is None
    assert draw_curves("x", [Series("a", "teacher", [(0.0, 1.0)], is_level=True)], write=_write) is None
    assert draw_shares("x", [], write=_write) is None
    assert draw_dots("x", [], write=_write) is None


def test_a_chart_is_well_formed_and_says_in_words_what_it_shows() -> None:
    series = [
        Series("val", "student", [(1, 0.5), (2, 0.75)]),
        Series("teacher", "teacher", [(0, 0.9)], is_level=True),
    ]
    chart = draw_curves("Accuracy", series, write=_write, mark=2)
    assert chart is not None
    root = ElementTree.fromstring(chart.drawing)  # noqa: S314  (our own text)
    assert root.get("role") == "img"
    assert root.get("aria-label") == "Accuracy. val: 0.5 at epoch 1, 0.75 at 2; teacher: 0.9"
    assert [(key.name, key.value) for key in chart.keys] == [("val", "0.75"), ("teacher", "0.9")]


def test_names_are_text_never_markup() -> None:
    chart = draw_curves("<script>", [Series('"><b>', "student", [(1, 1), (2, 2)])], write=_write)
    assert chart is not None
    assert "<script>" not in chart.drawing
    assert "<b>" not in chart.drawing
    ElementTree.fromstring(chart.drawing)  # noqa: S314  (our own text)


def test_drawings_carry_no_styles_and_no_colours_of_their_own() -> None:
    charts = [
        draw_curves("a", [Series("v", "student", [(1, 1), (2, 2)])], write=_write),
        draw_shares("b", [Series("v", "hue1", [(1, 0.5)]), Series("w", "hue2", [(1, 0.5)])], write=_write),
        draw_dots("c", [Dot("v", "student", 0.5, (0.4, 0.6), "50 %", (0.45, 0.55))], write=_write),
    ]
    for chart in charts:
        assert chart is not None
        assert not re.search(r"style=|fill=|stroke=|#[0-9a-f]{3}", chart.drawing)


def test_thousands_of_steps_are_drawn_as_hundreds_of_points() -> None:
    points = [(float(k), math.sin(k / 500)) for k in range(20_000)]
    chart = draw_curves("Loss", [Series("train", "student", points)], write=_write, x_name="step")
    assert chart is not None
    assert len(chart.drawing) < 12_000
    assert " at step 0, " in chart.drawing
    assert " at 19,999" in chart.drawing


def test_a_single_epoch_is_still_drawn() -> None:
    chart = draw_curves("Accuracy", [Series("val", "student", [(1, 0.5)])], write=_write)
    shares = draw_shares("Share", [Series("a", "hue1", [(1, 0.3)]), Series("b", "hue2", [(1, 0.7)])], write=_write)
    assert chart is not None
    assert shares is not None
    assert "<circle" in chart.drawing
    assert 'class="area hue2"' in shares.drawing


def test_dots_outside_no_percentage() -> None:
    chart = draw_dots("a", [Dot("v", "student", 0.99, (0.97, 1.0), "99 %")], write=lambda v: f"{100 * v:.0f} %")
    assert chart is not None
    assert "102" not in chart.drawing


@given(st.floats(-1e6, 1e6, allow_nan=False), st.floats(-1e6, 1e6, allow_nan=False), st.integers(2, 8), st.booleans())
def test_ticks_are_few_and_span_the_values(first: float, second: float, wanted: int, whole: bool) -> None:
    low, high = min(first, second), max(first, second)
    ticks = even_ticks(low, high, wanted, whole=whole)
    slack = (ticks[-1] - ticks[0]) * 1e-6 + 1e-12
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= 2 * wanted + 3
    assert all(a < b for a, b in pairwise(ticks))


@pytest.mark.parametrize(("value", "written"), [(1.0, "1"), (1.25, "1.2"), (-0.01, "0"), (0.04, "0"), (-3.5, "-3.5")])
def test_coordinates_are_short(value: float, written: str) -> None:
    assert number(value) == written


def test_attributes_are_escaped() -> None:
    assert element("path", d='"', class_="a<b") == '<path d="&#34;" class="a&lt;b"></path>'
