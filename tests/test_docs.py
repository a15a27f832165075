"""Every Python snippet of the README and of the docs runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import dropkd
from dropkd.config import load_config
from dropkd.models import build_network

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def snippets_of(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if snippets_of(page)], ids=lambda page: page.name)
def test_the_snippets_of_a_page_run(
    page: Path, clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("running", "group_preparing"):
        monkeypatch.setattr(f"dropkd.engine.{place}.check_teacher", lambda job, observer: None)
    batch = (torch.rand(4, 3, 28, 28), torch.tensor([0, 1, 2, 0]))
    names: dict[str, Any] = {
        "torch": torch,
        "dropkd": dropkd,
        "photos": clothes,
        "teacher": build_network("cct_2_3x2", num_classes=3, image_size=(28, 28)),
        "student": build_network("cifar_resnet8", num_classes=3, image_size=(28, 28)),
        "loader": [batch, batch],
    }
    for snippet in snippets_of(page):
        exec(compile(snippet, page.name, "exec"), names)  # noqa: S102


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").rglob("*.yaml")), ids=lambda path: path.name)
def test_every_recipe_parses(recipe: Path) -> None:
    assert load_config(recipe).student.name


@pytest.mark.parametrize(
    "page",
    [*PAGES, *sorted((ROOT / "docs" / "methods").glob("*.md")), *sorted((ROOT / "recipes").rglob("*.md"))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+?)\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []
