from __future__ import annotations

import pytest

from dropkd.report import wording


def _plain(text: str) -> str:
    return text.replace("\u00a0", " ").replace("\u2212", "-")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (wording.percent(0.8812), "88.1 %"),
        (wording.percent(None), "\u2013"),
        (wording.percent(float("nan")), "\u2013"),
        (wording.rough_percent(0.951), "95 %"),
        (wording.rough_percent(0.0123), "1.2 %"),
        (wording.rough_percent(0.0004), "0.04 %"),
        (wording.points(0.0061), "+0.6"),
        (wording.points(-0.012), "-1.2"),
        (wording.points(-0.0001), "0.0"),
        (wording.p_value(0.0004), "p < 0.001"),
        (wording.p_value(0.0432), "p = 0.043"),
        (wording.p_value(0.86), "p = 0.86"),
        (wording.count(78_330), "78,330"),
        (wording.plural(1, "image"), "1 image"),
        (wording.plural(2000, "image"), "2,000 images"),
        (wording.decimal(0.41234), "0.412"),
        (wording.decimal(12345.0), "12345"),
        (wording.decimal(0.00001), "1e-05"),
        (wording.duration(3.21), "3.2 s"),
        (wording.duration(185), "3 min 05 s"),
        (wording.duration(7800), "2 h 10 min"),
        (wording.join_words(["a"]), "a"),
        (wording.join_words(["a", "b", "c"]), "a, b and c"),
    ],
)
def test_figures_are_written_as_people_read_them(written: str, expected: str) -> None:
    assert _plain(written) == expected
