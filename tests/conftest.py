"""One CPU thread, so that results do not depend on the machine and tests do not crowd each other; real images."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from PIL import Image

from dropkd.demo.images import CLASSES, load_demo_split

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

torch.set_num_threads(1)

# What can be seen of some kinds of clothes, by their number.
ATTRIBUTES = {1: ("legs",), 3: ("body", "legs"), 5: ("feet", "open"), 8: (), 9: ("ankle", "feet")}


# Runs the command line, or any code, as if these modules had never been installed.
WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {modules!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
{code}
"""


@pytest.fixture(scope="session", autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or writes the caches of the person who runs it."""
    os.environ["DROPKD_CACHE"] = str(tmp_path_factory.mktemp("caches"))


@pytest.fixture(scope="session")
def clothes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder of real images: three classes, 24 training and 8 test images of each, 28 x 28. Read only."""
    folder = tmp_path_factory.mktemp("clothes")
    for name, count in (("train", 24), ("test", 8)):
        split = load_demo_split(name)
        for label in (1, 5, 9):
            (folder / name / CLASSES[label]).mkdir(parents=True)
            for row in (split.labels == label).nonzero()[0][:count]:
                path = folder / name / CLASSES[label] / f"{split.index[row]:05}.png"
                Image.fromarray(split.images[row]).save(path)
    return folder


@pytest.fixture(scope="session")
def outfits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of real images with several labels: two pieces of clothing side by side, 28 x 56. Read only.

    96 training, 32 validation and 32 test images; of each piece its attributes are the labels, and bags have none.
    """
    folder = tmp_path_factory.mktemp("outfits")
    lines = ["path,labels,split"]
    for part, name, count in (("train", "train", 96), ("val", "train", 32), ("test", "test", 32)):
        split = load_demo_split(name)
        rows = [row for row, label in enumerate(split.labels.tolist()) if label in ATTRIBUTES]
        rows = rows[-2 * count :] if part == "val" else rows[: 2 * count]
        for number, (left, right) in enumerate(zip(rows[::2], rows[1::2], strict=True)):
            path = folder / part / f"{number:03}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.concatenate([split.images[left], split.images[right]], axis=1)).save(path)
            labels = {label for row in (left, right) for label in ATTRIBUTES[int(split.labels[row])]}
            lines.append(f"{part}/{number:03}.png,{';'.join(sorted(labels))},{part}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "list.csv"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium, for the tests of one file: while it is open, no other event loop can run."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def check_accessible() -> Callable[[Page], None]:
    """A check of an open page by axe-core: any violation fails, light or dark, with all details open."""
    source = gzip.decompress((Path(__file__).parent / "assets/axe-core/axe.min.js.gz").read_bytes()).decode()

    def check(page: Page) -> None:
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            # Through the debugging protocol, which the page's Content-Security-Policy does not bind.
            page.evaluate(source)
            found = page.evaluate("axe.run().then(result => result.violations)")
            told = [
                f"{v['impact']}: {v['help']} ({v['id']}), e.g. {[n['html'][:200] for n in v['nodes'][:3]]}"
                for v in found
            ]
            assert not told, f"{page.url}, {scheme}:\n" + "\n".join(told)

    return check


@pytest.fixture(scope="session")
def without() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line, or any code, in a process of its own in which some modules can't be imported."""

    def run(
        modules: Collection[str], *arguments: object, code: str = "from dropkd.cli import main; main()"
    ) -> subprocess.CompletedProcess[str]:
        script = WITHOUT.format(modules=set(modules), code=code)
        command = [sys.executable, "-c", script, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True)

    return run
