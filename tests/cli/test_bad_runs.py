"""Run folders that are not what they seem: begun, damaged, mixed up, with empty splits and odd names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(teacher_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run that a test may spoil."""
    return Path(shutil.copytree(teacher_run, tmp_path / "run"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "RUN"),
        ("predict", "RUN", "PHOTO"),
        ("cka", "RUN"),
        ("export", "RUN"),
        ("card", "RUN"),
        ("push", "RUN", "me/net", "--dry-run", "OUT"),
        ("compare", "OTHER", "RUN"),
        ("cost", "RUN"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_run_before_its_first_epoch_is_refused_with_the_way_on(
    run: Path, teacher_run: Path, clothes: Path, cli: Cli, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    for name in ("student.safetensors", "metrics.json", "predictions.parquet", "last.ckpt", "best.ckpt"):
        (run / name).unlink()
    photo = next((clothes / "test").rglob("*.png"))
    places = {"RUN": run, "OTHER": teacher_run, "PHOTO": photo, "OUT": tmp_path / "out"}
    code, _, told = cli(*(places.get(word, word) for word in arguments))
    assert code == 2
    assert "dropkd resume" in told
    assert "Traceback" not in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "\x00\xff"])
@pytest.mark.parametrize("verb", ["evaluate", "card", "export", "resume"])
def test_damaged_figures_are_told_with_the_way_to_have_them_again(run: Path, cli: Cli, verb: str, content: str) -> None:
    (run / "metrics.json").write_bytes(content.encode("latin-1"))
    code, _, told = cli(verb, run)
    assert code == 2
    assert f"'{run}/metrics.json' is damaged" in told
    assert f"dropkd resume {run}" in told


def test_figures_that_were_deleted_are_written_again(run: Path, teacher_run: Path, cli: Cli) -> None:
    (run / "metrics.json").unlink()
    assert cli("resume", run)[0] == 0
    again, before = (json.loads((place / "metrics.json").read_text()) for place in (run, teacher_run))
    assert again["splits"] == before["splits"]


def test_predictions_of_other_images_are_not_taken_for_the_runs_own(run: Path, cli: Cli) -> None:
    path = run / "predictions.parquet"
    table = pq.read_table(path)
    assert cli("evaluate", run, "--kept")[0] == 0
    pq.write_table(table.slice(0, len(table) - 3), path)
    code, _, told = cli("evaluate", run, "--kept")
    assert code == 2
    assert "holds the answers to other images than this run's test images: 21 images instead of 24" in told
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps({**metrics, "classes": ["a", "b"]}))
    pq.write_table(table, path)
    code, _, told = cli("evaluate", run, "--kept")
    assert code == 2
    assert "3 classes instead of 2" in told


def test_damaged_predictions_are_told_as_such(run: Path, teacher_run: Path, cli: Cli) -> None:
    (run / "predictions.parquet").write_bytes((teacher_run / "predictions.parquet").read_bytes()[:1000])
    for arguments in (("evaluate", run, "--kept"), ("compare", teacher_run, run)):
        code, _, told = cli(*arguments)
        assert code == 2
        assert "predictions.parquet: not a table of predictions" in told
        assert "when it ends" not in told


def write_list(clothes: Path, folder: Path, *, without: str = "") -> Path:
    """A manifest whose class names and file names are odd, without the test images of one class."""
    names = {"trouser": "<b>a</b> | 'q'", "sandal": 'say "x" & 😀', "ankle_boot": "=1+1"}
    lines = ["path,label,split"]
    for split in ("train", "test"):
        for number, path in enumerate(sorted((clothes / split).rglob("*.png"))):
            if split == "test" and path.parent.name == without:
                continue
            place = folder / split / f"it's <{number}> ü 😀.png"
            place.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, place)
            quoted = names[path.parent.name].replace('"', '""')
            lines.append(f'{split}/{place.name},"{quoted}",{split}')
    (folder / "list.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "list.csv"


def test_odd_names_pass_through_every_verb(clothes: Path, cli: Cli, tmp_path: Path) -> None:
    run = tmp_path / "odd"
    options = ("--model", "cifar_resnet8", "--epochs", 1, "--batch-size", 16, "--output", run)
    assert cli("train", write_list(clothes, tmp_path), *options)[0] == 0
    code, shown, _ = cli("evaluate", run)
    assert code == 0
    assert 'say "x" & 😀' in shown
    assert cli("card", run)[0] == 0
    card = (run / "README.md").read_text(encoding="utf-8")
    assert 'say "x" &amp; 😀' in card
    assert "<b>" not in card
    assert cli("push", run, "me/odd", "--dry-run", tmp_path / "out")[0] == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "<b>a</b> |" not in page
    code, shown, _ = cli("predict", run, *sorted((tmp_path / "test").iterdir())[:2])
    assert code == 0
    assert "😀" in shown


def test_a_class_without_test_images_is_named_before_anything_is_trained(
    clothes: Path, cli: Cli, tmp_path: Path
) -> None:
    listed = write_list(clothes, tmp_path, without="sandal")
    code, _, told = cli("train", listed, "--model", "cifar_resnet8", "--output", tmp_path / "run")
    assert code == 2
    assert 'say "x" & 😀' in told
    assert "test" in told
    assert not (tmp_path / "run").exists()


def test_a_split_that_is_not_there_is_told_with_those_that_are(run: Path, tmp_path: Path, cli: Cli) -> None:
    code, _, told = cli("evaluate", run, "--split", "tset")
    assert code == 2
    assert "It has: train, val, test" in told
    empty = tmp_path / "empty.csv"
    empty.write_text("path,label,split\n", encoding="utf-8")
    code, _, told = cli("evaluate", run, empty)
    assert code == 2
    assert "Traceback" not in told


def test_a_photo_that_is_no_photo_is_named(run: Path, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a 'b' <i>.png").write_bytes(b"no image")
    Image.new("RGB", (1, 1)).save(tmp_path / "ok.png")
    code, _, told = cli("predict", run, tmp_path / "a 'b' <i>.png", tmp_path / "ok.png")
    assert code == 2
    assert "a 'b' <i>.png" in told
