"""The colours of the pages, as they are seen by people who do not tell all colours apart, and against their ground."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import dropkd.report

STYLE = (Path(dropkd.report.__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
SCHEMES = ("light", "dark", "print")
# What stands in one chart: student, teacher and the plain run; and the terms of a loss, or the groups of a comparison.
TOGETHER = (
    ("student", "teacher", "alone"),
    ("good", "bad"),
    ("hue1", "hue2", "hue3", "hue4", "hue5", "hue6"),
    ("student", "hue2", "hue3", "hue4", "hue5", "hue6"),
)
# Linear RGB as it is seen without one of the three kinds of cones: Machado, Oliveira, Fernandes, "A
# Physiologically-based Model for Simulation of Color Vision Deficiency", IEEE TVCG 15(6), 2009.
SEEN = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = TO_XYZ.sum(axis=1)


def _palette(scheme: str) -> dict[str, str]:
    blocks = re.findall(r":root \{(.*?)\}", STYLE, re.S)
    found: dict[str, str] = {}
    for block in (blocks[0], blocks[SCHEMES.index(scheme)]):
        found |= dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6});", block))
    return found


def _linear(color: str) -> np.ndarray:
    digits = color[1:] if len(color) == 7 else "".join(c * 2 for c in color[1:])
    values = np.array([int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _lab(linear: np.ndarray) -> np.ndarray:
    share = TO_XYZ @ linear.clip(0, 1) / WHITE
    root = np.where(share > (6 / 29) ** 3, np.cbrt(share), share / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


def _contrast(first: str, second: str) -> float:
    light, dark = sorted((TO_XYZ[1] @ _linear(color) for color in (first, second)), reverse=True)
    return float((light + 0.05) / (dark + 0.05))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", SEEN)
def test_colours_that_stand_together_are_told_apart_by_everyone(scheme: str, kind: str) -> None:
    palette = _palette(scheme)
    for names in TOGETHER:
        seen = {name: _lab(np.array(SEEN[kind]) @ _linear(palette[name])) for name in names}
        for first, second in combinations(names, 2):
            apart = float(np.linalg.norm(seen[first] - seen[second]))
            assert apart > 14, (first, second, apart)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_lines_stand_out_from_their_ground_and_text_does_more(scheme: str) -> None:
    palette = _palette(scheme)
    for ground in ("paper", "sheet"):
        for name in {name for names in TOGETHER for name in names}:
            assert _contrast(palette[name], palette[ground]) >= 3, (name, ground)
        for name in ("ink", "soft", "student", "good", "bad", "teacher"):
            assert _contrast(palette[name], palette[ground]) >= 4.5, (name, ground)


def test_lines_differ_by_their_dashes_too() -> None:
    dashes = dict(re.findall(r"\.line\.(\w+) \{[^}]*stroke-dasharray: ([\d ]+);", STYLE))
    assert len({dashes.get(name, "solid") for name in ("student", "teacher", "alone")}) == 3
    hues = [dashes.get(f"hue{k}", "solid") for k in range(1, 7)]
    assert hues.count("solid") <= 2
    assert len(set(hues)) >= 5
