"""``dropkd distill --unlabelled`` as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from dropkd.demo.images import load_demo_split

Cli = Callable[..., tuple[int, str, str]]
DISTILL = ("distill", "photos", "-t", "TEACHER")
SHORT = ("--student", "cifar_resnet8", "--epochs", "1", "--batch-size", "16", "--output", "run")


@pytest.fixture
def pool(photos: Path) -> Path:
    folder = Path("pool/a/b")
    folder.mkdir(parents=True)
    for row, image in enumerate(load_demo_split("train").images[5000:5040]):
        Image.fromarray(image).save(folder / f"{row}.png")
    return Path("pool")


def test_a_student_learns_from_unlabelled_images_too(cli: Cli, photos: Path, pool: Path, teacher_run: Path) -> None:
    code, out, _ = cli(
        "distill", photos, "-t", teacher_run, "--unlabelled", pool, "--unlabelled-ratio", "0.5", *SHORT,
        "--teacher-check", "off",
    )  # fmt: skip
    assert code == 0
    assert "Training: 16 labelled and 8 unlabelled images a step; an epoch is 4 steps" in out
    assert json.loads(Path("run/metrics.json").read_text())["unlabelled"]["images"] == 40
    code, out, _ = cli("resume", "run")
    assert code == 0


def test_a_dry_run_tells_of_them_and_writes_nothing(cli: Cli, photos: Path, pool: Path, teacher_run: Path) -> None:
    code, out, _ = cli("distill", photos, "-t", teacher_run, "--unlabelled", pool, *SHORT, "--dry-run")
    assert code == 0
    assert "40 unlabelled" in out
    assert "batch    16 labelled and 16 unlabelled images a step" in out
    assert not Path("run").exists()


def test_their_labels_are_not_read(cli: Cli, photos: Path, pool: Path, teacher_run: Path) -> None:
    rows = [f"a/b/{row}.png,no such class" for row in range(10)]
    (pool / "list.csv").write_text("\n".join(["path,label", *rows]))
    code, out, _ = cli("distill", photos, "-t", teacher_run, "--unlabelled", pool / "list.csv", *SHORT, "--dry-run")
    assert code == 0
    assert "10 unlabelled" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "photos", "--model", "cifar_resnet8", "--unlabelled", "pool"], "`dropkd train` learns from labels"),
        (["train", "photos", "--model", "cifar_resnet8", "-s", "data.unlabelled=pool"], "nothing to learn from the"),
        ([*DISTILL, "--unlabelled", "poool", *SHORT], "Did you mean 'pool'?"),
        ([*DISTILL, "--unlabelled", "photos/test", *SHORT], "24 are in test"),
        ([*DISTILL, "--unlabelled", "pool", "--method", "crd", *SHORT], "can: at, cc"),
        (["distill", "photos", "--unlabelled", "pool", "--method", "eac", *SHORT], "can: at, cc"),
        ([*DISTILL, "--unlabelled-ratio", "2", *SHORT], "there are no unlabelled images"),
        ([*DISTILL, "--unlabelled", "pool", "--unlabelled-ratio", "0", *SHORT], "above 0, got 0"),
        ([*DISTILL, "--unlabelled", "pool", "--unlabelled-ratio", "-1", *SHORT], "above 0, got -1"),
    ],
)  # fmt: skip
def test_what_can_not_be_is_refused_in_words(
    cli: Cli, photos: Path, pool: Path, teacher_run: Path, arguments: list[str], says: str
) -> None:
    code, out, err = cli(*(str(teacher_run) if a == "TEACHER" else a for a in arguments))
    assert code == 2
    assert says in " ".join(err.split())
    assert "Traceback" not in out + err
    assert not Path("run").exists()


def test_a_damaged_one_is_named_or_skipped(cli: Cli, photos: Path, pool: Path, teacher_run: Path) -> None:
    (pool / "broken.png").write_bytes(b"\x89PNG nothing more")
    command = ["distill", photos, "-t", teacher_run, "--unlabelled", pool, *SHORT, "--dry-run"]
    code, _, err = cli(*command)
    assert code == 2
    assert "broken.png" in err
    code, out, _ = cli(*command, "--skip-unreadable")
    assert code == 0
    assert "Unlabelled images: skipped 1 of 41 images that can't be read" in out
