"""A student of RAF-DB's basic emotions, judged by compound ones, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dropkd.data.raf_db import BASIC_EMOTIONS
from dropkd.run import Run

Cli = Callable[..., tuple[int, str, str]]
# By label, from 1.
PAIRS = (
    *({"happiness", "surprise"}, {"happiness", "disgust"}, {"sadness", "fear"}, {"sadness", "anger"}),
    *({"sadness", "surprise"}, {"sadness", "disgust"}, {"fear", "anger"}, {"fear", "surprise"}),
    *({"anger", "surprise"}, {"anger", "disgust"}, {"disgust", "surprise"}),
)


def write_faces(root: Path, classes: int) -> None:
    (root / "Image" / "aligned").mkdir(parents=True)
    (root / "EmoLabel").mkdir()
    rng, lines = np.random.default_rng(0), []
    for split, count in (("train", 4 * classes), ("test", 2 * classes)):
        for i in range(count):
            pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "Image" / "aligned" / f"{split}_{i}_aligned.jpg")
            lines.append(f"{split}_{i}.jpg {i % classes + 1}")
    (root / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines))


@pytest.fixture
def faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> Path:
    """Return a folder with both parts of RAF-DB, in which ``runs/faces`` has been trained on the basic one."""
    monkeypatch.chdir(tmp_path)
    for part, classes in (("basic", 7), ("compound", 11)):
        write_faces(tmp_path / "raf" / part, classes)
    code, said, error = cli(
        "train", "raf", "--model", "cifar_resnet8", "--epochs", 1, "--batch-size", 14, "--output", "runs/faces"
    )  # fmt: skip
    assert code == 0, error
    assert "RAF-DB has other numbers of images" in said
    return tmp_path / "raf"


def test_the_two_best_classes_are_compared_with_the_pair(faces: Path, cli: Cli) -> None:
    code, said, error = cli("evaluate", "runs/faces", "raf/compound", "--task", "compound", "--json")
    assert code == 0, error
    scores = json.loads(said)
    assert list(scores) == ["test"]
    run, folder = Run.open("runs/faces"), faces / "compound" / "Image" / "aligned"
    assert run.classes == BASIC_EMOTIONS
    answers = run.predict([folder / f"test_{i}_aligned.jpg" for i in range(22)])
    hits = np.array([[name in PAIRS[i % 11] for name, _ in answer.top[:2]] for i, answer in enumerate(answers)])
    assert scores["test"] == {
        "images": 22,
        "acc_both": pytest.approx(hits.all(1).mean()),
        "acc_single": pytest.approx(hits[:, 0].mean()),
        "acc_single_top2": pytest.approx(hits.any(1).mean()),
        # The classes have two images each.
        "uar_both": pytest.approx(hits.all(1).mean()),
        "basic_accuracy": run.metrics["splits"]["test"]["accuracy"],
        "basic_uar": run.metrics["splits"]["test"]["uar"],
    }


def test_the_table_shows_every_figure_and_other_splits_on_demand(faces: Path, cli: Cli) -> None:
    code, said, error = cli("evaluate", "runs/faces", "raf/compound", "--task", "compound", "--split", "train")
    assert code == 0, error
    for text in ("compound", "both of 2", "best is one", "one of best 2", "both, by class", "train", "basic", "UAR"):
        assert text in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("raf/basic", "--task", "compound"), "the class 'surprise' is no pair of basic emotions"),
        (("raf/compound",), "are not those that the student was trained on"),
        (("raf/compound", "--task", "compund"), "unknown task 'compund'. There are: classes, compound. Did you mean"),
    ],
)
def test_classes_and_tasks_that_do_not_fit_are_refused(
    faces: Path, cli: Cli, arguments: tuple[str, ...], message: str
) -> None:
    code, _, error = cli("evaluate", "runs/faces", *arguments)
    assert code == 2
    assert message in error
