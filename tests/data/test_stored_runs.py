"""The same real images as files, as tables and as shards, here and behind a URL, from the command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest

from dropkd.cli import run_command_line
from dropkd.cli.progress import Progress

from .shard_server import Server, serving
from .shard_writing import write_shard

Cli = Callable[..., tuple[int, str, str]]
SPLITS = ("train", "val", "test")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run_command_line([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


@pytest.fixture
def folder(clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Real images with a validation split of their own, so that names decide nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DROPKD_CACHE", str(tmp_path / "kept"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for path in sorted(clothes.rglob("*.png")):
        split = path.parts[-3]
        if split == "train" and path in sorted(path.parent.iterdir())[:5]:
            split = "val"
        target = tmp_path / "folder" / split / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return tmp_path / "folder"


@pytest.fixture
def server(folder: Path, tmp_path: Path) -> Iterator[Server]:
    """The images in several shards a split, behind a URL."""
    for split in SPLITS:
        files = sorted((folder / split).rglob("*.png"))
        for k, start in enumerate(range(0, len(files), 9)):
            samples = [(f.stem, {"png": f.read_bytes(), "cls": f.parent.name}) for f in files[start : start + 9]]
            write_shard(tmp_path / "shards" / f"{split}-{k:02}.tar", samples)
    with serving(tmp_path / "shards") as here:
        yield here


@pytest.fixture
def names(folder: Path, server: Server) -> dict[str, str]:
    """What each form of the images is called."""
    parts = {}
    for split in SPLITS:
        files = sorted((folder / split).rglob("*.png"))
        columns = {"image": [str(f) for f in files], "label": [f.parent.name for f in files]}
        parts[split] = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    datasets.DatasetDict(parts).save_to_disk("table")
    counts = {split: len(list(server.folder.glob(f"{split}-*.tar"))) for split in SPLITS}
    patterns = ",".join(f"{split}-{{00..{count - 1:02}}}" for split, count in counts.items())
    url = f"wds:{server.url}/{{{patterns}}}.tar"
    # So little that only some of the shards are here at a time.
    size = max(path.stat().st_size for path in server.folder.iterdir())
    return {
        "table": "table",
        "shards": "shards",
        "streamed": url,
        "tight": f"{url}?cache=small&cache_gb={4 * size / 1e9}",
    }


def train(data: object, output: str, *more: object) -> tuple[object, ...]:
    brief = ("--model", "cifar_resnet8", "--epochs", 1, "--batch-size", 16, "--seed", 3)
    return ("train", data, *brief, "--output", output, *more)


def weights(run: str) -> bytes:
    return Path(run, "student.safetensors").read_bytes()


def check_pictures(run: str) -> None:
    page = Path(run, "report.html").read_text()
    assert page.count("data:image/png") >= 6
    assert "could not be read" not in page


def test_every_form_of_the_same_images_gives_the_same_weights(
    cli: Cli, folder: Path, names: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli(*train(folder, "runs/folder"))[0] == 0
    expected = weights("runs/folder")
    # Small images would be kept in memory, and no worker would read from the table.
    monkeypatch.setattr("dropkd.data.reading.PACK_BYTES", 0)
    for form in ("table", "shards", "streamed"):
        code, _, error = cli(*train(names[form], f"runs/{form}", "--workers", 2))
        assert code == 0, error
        assert weights(f"runs/{form}") == expected, form
        check_pictures(f"runs/{form}")
    rows = {run: pq.read_table(f"runs/{run}/predictions.parquet") for run in ("folder", "shards", "streamed")}
    assert rows["shards"].equals(rows["streamed"])
    for column in ("split", "target", "prediction", "probabilities"):
        assert rows["shards"][column].equals(rows["folder"][column])
    assert re.fullmatch(r"test-\d\d\.tar/\d{5}\.png", rows["shards"]["path"].to_pylist()[-1])


def test_a_run_on_shards_that_come_and_go_is_stopped_and_goes_on_to_the_same_bits(
    cli: Cli, names: dict[str, str], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropkd.data.reading.PACK_BYTES", 0)
    assert cli(*train(names["tight"], "runs/whole", "--workers", 2))[0] == 0
    with monkeypatch.context() as patched:
        stop = signal.SIGTERM
        patched.setattr(Progress, "on_step", lambda self, *, step, **_: step == 2 and os.kill(os.getpid(), stop))
        code, _, error = cli(*train(names["tight"], "runs/stopped", "--workers", 2))
    assert code == 128 + signal.SIGTERM, error
    monkeypatch.chdir("/")
    code, _, error = cli("resume", tmp_path / "runs" / "stopped")
    assert code == 0, error
    monkeypatch.chdir(tmp_path)
    assert weights("runs/stopped") == weights("runs/whole")
    check_pictures("runs/stopped")
    code, said, error = cli("evaluate", "runs/whole", "--json")
    assert code == 0, error
    measured = json.loads(Path("runs/whole/metrics.json").read_text())["splits"]
    assert json.loads(said)["test"]["accuracy"] == measured["test"]["accuracy"]
    limit = float(names["tight"].rpartition("=")[2])
    assert 0 < sum(path.stat().st_size for path in Path("small/shards").glob("*.tar")) <= 1e9 * limit


def test_a_server_that_goes_away_while_training_stops_the_run_in_words(
    cli: Cli, names: dict[str, str], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropkd.data.fetching._PAUSES", (0.001,))
    assert cli(*train(names["tight"], "runs/first", "--workers", 1))[0] == 0
    for path in server.folder.iterdir():
        path.unlink()
    for path in Path("small/shards").glob("*.tar"):
        path.unlink()
    code, _, error = cli(*train(names["tight"], "runs/second", "--workers", 1))
    assert code == 2
    assert error.startswith(f"error: can't fetch {server.url}/train-0")
    assert "the server answered 404 Not Found" in error


def test_a_shard_that_is_cut_off_is_a_mistake_on_the_command_line(cli: Cli, names: dict[str, str]) -> None:
    path = Path("shards/train-01.tar")
    path.write_bytes(path.read_bytes()[:9000])
    code, _, error = cli(*train("shards", "runs/first"))
    assert code == 2
    assert "train-01.tar is truncated after 9,000 bytes" in error
    assert "Traceback" not in error
    code, out, error = cli(*train("shards", "runs/first", "--skip-unreadable"))
    assert code == 0, error
    assert "skipped 1 mistake (train-01.tar is truncated" in out + error
