from __future__ import annotations

import math

from dropkd.report.wording import percent
from dropkd.watching.strokes import Curve, draw_course, draw_plane


def test_a_course_has_its_lowest_bar_at_its_lowest_value() -> None:
    assert draw_course([5.0, 0.0, 10.0], 10) == "▅▁█"
    assert draw_course([1.0, math.nan, 2.0], 10) == "▁█"
    assert draw_course([math.inf, math.nan], 10) == ""
    assert draw_course([0.0, 7.0], 9, ascii_only=True) == ".#"


def test_a_long_course_is_as_wide_as_there_is_room() -> None:
    assert len(draw_course([float(k % 7) for k in range(10_000)], 24)) == 24
    assert draw_course([1.0], 0) == ""


def test_a_plane_rises_from_its_lower_left_to_its_upper_right() -> None:
    lines = [line.plain for line in draw_plane([Curve([(1, 0.0), (2, 1.0)], "red")], 20, 3, percent)]
    assert lines[0].startswith("100.0\u00a0% ┤")
    assert lines[2].startswith("  0.0\u00a0% ┤")
    assert lines[0][-1] != "\u2800"
    assert lines[2][9] != "\u2800"
    assert lines[0][9] == lines[2][-1] == "\u2800"
    assert {len(line) for line in lines} == {20}


def test_of_crossing_curves_the_later_covers_the_earlier() -> None:
    level = Curve([(0, 1.0), (1, 1.0)], "red")
    (line,) = draw_plane([level, Curve(level.points, "blue")], 12, 1, str)
    assert {span.style for span in line.spans} == {"dim", "blue"}


def test_a_plane_without_a_point_has_no_lines() -> None:
    assert draw_plane([Curve([], "red"), Curve([(1, math.nan)], "blue")], 20, 3, percent) == []


def test_a_single_point_and_values_of_any_size_are_drawn() -> None:
    assert len(draw_plane([Curve([(3, 2.0)], "red")], 9, 2, str)) == 2
    assert len(draw_plane([Curve([(0, -1e300), (1, 1e300)], "red")], 4, 2, str)) == 2
