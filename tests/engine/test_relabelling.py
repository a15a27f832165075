"""A training that changes labels, on real images of which some lie in the wrong class."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import dropkd
from dropkd import api
from dropkd.data import Split, open_data
from dropkd.demo.images import CLASSES, load_demo_split
from dropkd.engine.checkpoint import load_checkpoint
from dropkd.engine.journal import read_journal
from dropkd.engine.observer import Observer
from dropkd.engine.relabelled import write_relabelled
from dropkd.engine.signals import Interrupted

NAMES = tuple(CLASSES[label] for label in (1, 5, 9))
SETTINGS = {"method.name": "scn", "method.relabel_epoch": 4, "data.validation_fraction": 0.0}


def true_class(path: str | Path) -> str:
    return Path(path).stem.rpartition("-")[0]


@pytest.fixture(scope="module")
def mislabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 60 images, 30 % of which lie in another's folder; a file's name says what it shows."""
    root, random, split = tmp_path_factory.mktemp("mislabelled"), np.random.default_rng(0), load_demo_split("train")
    for number, name in enumerate(NAMES):
        for place, row in enumerate((split.labels == CLASSES.index(name)).nonzero()[0][:60]):
            step = int(random.integers(1, 3)) if random.random() < 0.3 else 0
            folder = root / "train" / NAMES[(number + step) % 3]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(split.images[row]).save(folder / f"{name}-{place:02}.png")
    return root


def train(data: Path, output: Path, observer: Observer | None = None, **settings: Any) -> dropkd.Run:
    return dropkd.train(
        data, model="cifar_resnet8", output=output, epochs=7, batch_size=32, seed=0, observer=observer,
        settings=SETTINGS | settings,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(mislabelled: Path, tmp_path_factory: pytest.TempPathFactory) -> dropkd.Run:
    return train(mislabelled, tmp_path_factory.mktemp("relabelling") / "run")


def read_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "relabelled.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_rows_lead_from_the_folders_labels_to_those_that_training_ended_with(
    run: dropkd.Run, mislabelled: Path
) -> None:
    split = open_data(mislabelled, validation_fraction=0).train
    labels = dict(zip(split.relative_paths, (split.classes[k] for k in split.targets), strict=True))
    rows = read_rows(run.folder)
    assert list(rows[0]) == ["epoch", "path", "before", "after"]
    for row in rows:
        assert labels[row["path"]] == row["before"] != row["after"]
        labels[row["path"]] = row["after"]
        assert (mislabelled / row["path"]).is_file()
    buffer = load_checkpoint(run.folder / "last.ckpt")["distiller"]["method.labels"]
    assert [split.classes[k] for k in buffer] == [labels[path] for path in split.relative_paths]


def test_labels_change_from_the_asked_epoch_on_with_a_record_for_each(run: dropkd.Run) -> None:
    records = [record for record in read_journal(run.folder / "metrics.jsonl") if record["event"] == "relabel"]
    rows = read_rows(run.folder)
    assert min(record["epoch"] for record in records) == 3
    assert min(int(row["epoch"]) for row in rows) == 4
    assert len({record["epoch"] for record in records}) == len(records)
    assert sum(len(record["index"]) for record in records) == len(rows)
    assert run.metrics["relabelled"] == {"images": len({row["path"] for row in rows}), "changes": len(rows)}


def test_most_of_what_is_relabelled_was_wrong_and_is_right_then(run: dropkd.Run, mislabelled: Path) -> None:
    rows = read_rows(run.folder)
    wrong = [path for path in mislabelled.rglob("*.png") if true_class(path) != path.parent.name]
    mended = [row for row in rows if row["after"] == true_class(row["path"])]
    assert len(mended) > 0.4 * len(wrong)
    assert len(mended) > 0.6 * len(rows)


def test_training_accuracy_is_by_the_original_labels(run: dropkd.Run, mislabelled: Path) -> None:
    wrong = np.mean([true_class(path) != path.parent.name for path in mislabelled.rglob("*.png")])
    last = run.history[-1]["train"]
    assert 0.25 < wrong < 0.35
    assert last["accuracy"] < 1 - wrong + 0.1


class StopAt(Observer):
    """Sends this process a signal when a step is reached."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, *, epoch: int, step: int, total_steps: int, loss: float, images_per_second: float) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


# Of 5 steps an epoch: within the first epoch that relabels, at its end, and within the one after it.
@pytest.mark.parametrize("step", [17, 20, 23])
def test_a_run_stopped_while_labels_change_ends_like_one_that_was_not(
    run: dropkd.Run, mislabelled: Path, tmp_path: Path, step: int
) -> None:
    with pytest.raises(Interrupted):
        train(mislabelled, tmp_path / "run", StopAt(step))
    assert not (tmp_path / "run" / "relabelled.csv").exists()
    resumed = api.resume(tmp_path / "run")
    ours, theirs = (load_checkpoint(folder / "last.ckpt")["distiller"] for folder in (resumed.folder, run.folder))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (resumed.folder / "relabelled.csv").read_bytes() == (run.folder / "relabelled.csv").read_bytes()


def test_the_page_has_a_section_on_them(run: dropkd.Run) -> None:
    page = (run.folder / "report.html").read_text()
    assert "Changed labels" in page
    assert f"gave {run.metrics['relabelled']['images']} training images another class" in page


def test_a_run_whose_labels_stay_has_no_such_file(mislabelled: Path, tmp_path: Path) -> None:
    never = train(mislabelled, tmp_path / "run", **{"method.relabel": "none", "training.epochs": 5})
    assert len(never.history) == 5
    assert not (never.folder / "relabelled.csv").exists()
    assert "relabelled" not in never.metrics


def write_log(folder: Path, *records: tuple[int, Sequence[tuple[int, int, int]]]) -> None:
    lines = [
        {"event": "relabel", "epoch": epoch, "index": index, "before": before, "after": after}
        for epoch, changes in records
        for index, before, after in [tuple(zip(*changes, strict=True))]
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_any_file_name_is_one_cell_that_no_spreadsheet_runs(tmp_path: Path) -> None:
    files = ("=1+1/a.png", 'b/"x", y.png', "c/two\nlines.png", "d/\udcff.png")
    split = Split(
        "train", tuple(tmp_path / name for name in files), np.zeros(4, np.int64), ("=1+1", "b, c", "@d"), tmp_path
    )
    write_log(tmp_path, (9, [(0, 0, 1), (1, 1, 2)]), (11, [(2, 0, 2), (3, 0, 1), (0, 1, 0)]))
    assert write_relabelled(tmp_path, split) == {"images": 4, "changes": 5}
    assert [list(row.values()) for row in read_rows(tmp_path)] == [
        ["10", "'=1+1/a.png", "'=1+1", "b, c"],
        ["10", 'b/"x", y.png', "b, c", "'@d"],
        ["12", "c/two\nlines.png", "'=1+1", "'@d"],
        ["12", "d/\\udcff.png", "'=1+1", "b, c"],
        ["12", "'=1+1/a.png", "b, c", "'=1+1"],
    ]


def test_without_changes_there_is_no_file(tmp_path: Path) -> None:
    split = Split("train", (tmp_path / "a.png",), np.zeros(1, np.int64), ("a", "b"), tmp_path)
    write_log(tmp_path)
    assert write_relabelled(tmp_path, split) is None
    assert not (tmp_path / "relabelled.csv").exists()
