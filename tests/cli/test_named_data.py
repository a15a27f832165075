"""Data that is not just a folder, from the command line: trained on, reported with pictures, judged from elsewhere."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from dropkd.demo.images import CLASSES, load_demo_split

Cli = Callable[..., tuple[int, str, str]]
BRIEF = ("--model", "cifar_resnet8", "--epochs", 1, "--batch-size", 16, "--output", "runs/first")


def write_idx(path: Path, values: np.ndarray) -> None:
    header = bytes((0, 0, 8, values.ndim)) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()))


@pytest.fixture
def fashion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a set of real images in the original files' format, 6 and 2 of each class."""
    folder = tmp_path / "sets" / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for name, prefix, count in (("train", "train", 6), ("test", "t10k", 2)):
        split = load_demo_split(name)
        rows = np.concatenate([np.flatnonzero(split.labels == k)[:count] for k in range(len(CLASSES))])
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", split.images[rows])
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", split.labels[rows])
    monkeypatch.chdir(tmp_path)
    return "torchvision:FashionMNIST?root=sets"


@pytest.fixture
def manifest(clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a manifest of real images that lie in a link beside it."""
    (tmp_path / "pictures").symlink_to(clothes)
    rows = [f"pictures/{p.relative_to(clothes).as_posix()},{p.parent.name}" for p in sorted(clothes.rglob("*.png"))]
    (tmp_path / "list.csv").write_text("path,label\n" + "\n".join(rows))
    monkeypatch.chdir(tmp_path)
    return "list.csv"


@pytest.mark.parametrize("kind", ["fashion", "manifest"])
def test_a_run_on_named_data_is_reported_and_judged_from_elsewhere(
    kind: str, request: pytest.FixtureRequest, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, error = cli("train", request.getfixturevalue(kind), *BRIEF)
    assert code == 0, error
    named = yaml.safe_load(Path("runs/first/config.yaml").read_text())["data"]["path"]
    ends = {"fashion": f"torchvision:FashionMNIST?root={tmp_path}/sets", "manifest": f"{tmp_path}/list.csv"}
    assert named == ends[kind]
    page = Path("runs/first/report.html").read_text()
    assert page.count("data:image/png") >= 6
    assert "could not be read" not in page
    monkeypatch.chdir("/")
    code, said, error = cli("evaluate", tmp_path / "runs" / "first", "--json")
    assert code == 0, error
    measured = json.loads((tmp_path / "runs" / "first" / "metrics.json").read_text())["splits"]
    assert json.loads(said)["test"]["accuracy"] == measured["test"]["accuracy"]
    assert cli("resume", tmp_path / "runs" / "first")[0] == 0


def test_a_set_that_is_not_there_is_a_mistake_with_all_that_helps(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, error = cli("train", "torchvision:CIFAR100", *BRIEF)
    assert code == 2
    assert error.startswith("error: CIFAR100 is not in 'data': there is no such folder.")
    assert "download=true" in error
    assert list(tmp_path.iterdir()) == []
