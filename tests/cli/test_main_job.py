"""The main job by its commands: a folder of images and a teacher in, a student and all that is known of it out."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dropkd.cli.progress import Progress
from dropkd.run import Run

Cli = Callable[..., tuple[int, str, str]]

FILES = {
    "best.ckpt",
    "config.yaml",
    "environment.json",
    "last.ckpt",
    "metrics.json",
    "metrics.jsonl",
    "predictions.parquet",
    "report.html",
    "student.safetensors",
}


def distil(photos: Path, teacher: Path, output: str, *more: object) -> tuple[object, ...]:
    budget = ("--epochs", 2, "--batch-size", 16, "--seed", 3)
    return ("distill", photos, "-t", teacher, "--student", "cifar_resnet8", *budget, "--output", output, *more)


def read_metrics(run: str) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads(Path(run, "metrics.json").read_text())
    return metrics


def test_distilling_says_what_it_does_and_leaves_a_complete_run_folder(
    cli: Cli, photos: Path, teacher_run: Path
) -> None:
    code, out, err = cli(*distil(photos, teacher_run, "run"))
    assert (code, err) == (0, "")
    assert {path.name for path in Path("run").iterdir()} == FILES
    assert re.search(r"The teacher gets \d+\.\d\d% of \d+ training and validation images right\.", out)
    assert "dropkd  epoch 1/2  loss " in out
    assert "agrees with teacher" in out
    metrics = read_metrics("run")
    assert metrics["status"] == "finished"
    assert f"{100 * metrics['splits']['test']['accuracy']:.2f} %" in out
    assert out.splitlines()[-3:] == [
        "run      run",
        "student  run/student.safetensors",
        "report   run/report.html",
    ]


def test_the_baseline_is_a_run_of_its_own_with_the_same_start(cli: Cli, photos: Path, teacher_run: Path) -> None:
    code, out, _ = cli(*distil(photos, teacher_run, "run", "--method", "kd", "--baseline"))
    assert code == 0
    assert {path.name for path in Path("run").iterdir()} == FILES | {"baseline"}
    assert "student alone" in out
    run, baseline = read_metrics("run"), read_metrics("run/baseline")
    assert (run["method"], baseline["method"]) == ("kd", "plain")
    assert run["student"]["initial_weights_sha256"] == baseline["student"]["initial_weights_sha256"]
    assert run["steps"] == baseline["steps"]
    asked, alone = (
        json.loads(Path(folder, "environment.json").read_text())["departures"] for folder in ("run", "run/baseline")
    )
    assert asked == alone | {"method.name": "plain", "baseline": False}
    assert alone == {"training.epochs": None, "training.batch_size": None, "seed": 0}


def test_the_configuration_of_a_run_repeats_it_bit_for_bit(cli: Cli, photos: Path, teacher_run: Path) -> None:
    assert (
        cli(*distil(photos, teacher_run, "one", "--set", "method.temperature=3", "--set", "training.mixup=0.2"))[0] == 0
    )
    assert cli("distill", "--config", "one/config.yaml", "--output", "two")[0] == 0
    assert Path("one/student.safetensors").read_bytes() == Path("two/student.safetensors").read_bytes()
    assert read_metrics("one")["splits"] == read_metrics("two")["splits"]
    assert Run.open("two").config.method == Run.open("one").config.method
    assert Run.open("two").config.method.options["temperature"] == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_resumes_to_the_same_bits(
    number: int, cli: Cli, photos: Path, teacher_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli(*distil(photos, teacher_run, "whole"))[0] == 0
    with monkeypatch.context() as patched:
        patched.setattr(Progress, "on_step", lambda self, *, step, **_: step == 2 and os.kill(os.getpid(), number))
        code, _, err = cli(*distil(photos, teacher_run, "stopped"))
    assert code == 128 + number
    assert err.startswith("Stopped ")
    assert re.search(r"Go on with: dropkd resume \S*stopped\n", err)
    assert read_metrics("stopped")["status"] == "interrupted"
    code, out, err = cli("resume", "stopped")
    assert (code, err) == (0, "")
    assert "report   stopped/report.html" in out
    for name in ("student.safetensors", "predictions.parquet"):
        assert Path("stopped", name).read_bytes() == Path("whole", name).read_bytes()


def test_a_dry_run_shows_the_plan_and_writes_nothing(cli: Cli, photos: Path, teacher_run: Path) -> None:
    code, out, err = cli(*distil(photos, teacher_run, "run", "--dry-run"))
    assert (code, err) == (0, "")
    assert not Path("run").exists()
    shapes = "(16, 28, 28)"
    for part in (
        "batch_size: 16",
        "77,587",
        shapes,
        "images   66 train, 6 val, 24 test",
        "steps    8, ",
        "time ",
        "memory ",
    ):
        assert part in out


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_evaluation_gives_the_figures_of_the_run_at_any_batch_size(
    batch_size: int, cli: Cli, photos: Path, teacher_run: Path
) -> None:
    code, out, _ = cli("evaluate", teacher_run, photos, "--json", "--split", "test", "--batch-size", batch_size)
    assert code == 0
    scores = json.loads(out)
    recorded = json.loads((teacher_run / "metrics.json").read_text())["splits"]["test"]
    assert scores["test"]["accuracy"] == recorded["accuracy"]
    assert scores["test"]["loss"] == pytest.approx(recorded["loss"], rel=1e-4)


def test_evaluation_prints_a_table(cli: Cli, photos: Path, teacher_run: Path) -> None:
    code, out, _ = cli("evaluate", teacher_run, photos)
    assert code == 0
    assert "val" in out
    assert "test" in out


def test_prediction_gives_the_answers_of_the_run(cli: Cli, photos: Path, teacher_run: Path) -> None:
    code, out, _ = cli("predict", teacher_run, photos / "test", "--output", "answers.parquet")
    assert (code, out) == (0, "24 answers written to answers.parquet\n")
    answers = {row["path"]: row for row in pq.read_table("answers.parquet").to_pylist()}
    classes = Run.open(teacher_run).classes
    recorded = [row for row in pq.read_table(teacher_run / "predictions.parquet").to_pylist() if row["split"] == "test"]
    assert len(recorded) == 24
    for row in recorded:
        answer = answers[str(photos / row["path"])]
        assert answer["label"] == classes[row["prediction"]]
        assert answer["probability"] == pytest.approx(max(row["probabilities"]), abs=1e-5)


def test_prediction_prints_a_table(cli: Cli, photos: Path, teacher_run: Path) -> None:
    image = next((photos / "test" / "sandal").iterdir())
    code, out, _ = cli("predict", teacher_run, image)
    assert code == 0
    assert str(image) in out
    assert "sandal" in out


def test_a_report_of_one_run_and_of_several(cli: Cli, photos: Path, teacher_run: Path) -> None:
    assert cli(*distil(photos, teacher_run, "kd", "--method", "kd"))[0] == 0
    Path("kd/report.html").unlink()
    assert cli("report", "kd")[:2] == (0, "report   kd/report.html\n")
    assert Path("kd/report.html").is_file()
    assert cli("report", "kd", "--output", "copy.html")[:2] == (0, "report   copy.html\n")
    assert Path("copy.html").read_bytes() == Path("kd/report.html").read_bytes()
    assert cli("report", teacher_run, "kd")[:2] == (0, "report   comparison.html\n")
    assert Path("comparison.html").is_file()


def test_methods_lists_each_and_the_options_of_one(cli: Cli) -> None:
    code, out, _ = cli("methods")
    assert code == 0
    for name in ("plain", "kd", "dropkd"):
        assert f" {name} " in out
    code, out, _ = cli("methods", "dropkd")
    assert code == 0
    for part in ("method.feature_rate_teacher", "coupled", "method.weights.logit", "a number, at least 0, less than 1"):
        assert part in out
    code, _, err = cli("methods", "kdd")
    assert code == 2
    assert "Did you mean 'kd'?" in err


def test_models_are_listed_by_pattern(cli: Cli) -> None:
    code, out, _ = cli("models", "cifar_resnet*")
    assert code == 0
    assert "cifar_resnet110" in out
    assert " resnet50 " not in out
    code, _, err = cli("models", "nothing*")
    assert code == 2
    assert "No model's name matches 'nothing*'." in err
