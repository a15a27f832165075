"""Teachers of every source by the command line: an epoch on real images, what is written, what is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from tiny_teachers import write_timm

import dropkd
from dropkd.cli import run_command_line
from dropkd.methods.fitnet import FitNet
from dropkd.models import build_network

Cli = Callable[..., tuple[int, str, str]]
BRIEF = ("--student", "cifar_resnet8", "--epochs", 1, "--batch-size", 24, "--teacher-check", "off", "--output", "run")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command line in an empty folder; the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run_command_line([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def read_terms(run: str = "run") -> set[str]:
    """Return the terms in a run's journal, having checked that all are numbers."""
    records = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
    terms = next(record for record in records if record["event"] == "epoch")["train"]["terms"]
    assert all(abs(term["raw"]) < 1e6 for term in terms.values())
    return set(terms)


@pytest.mark.parametrize(("kind", "method"), [("swin", "fitnet"), ("vit", "dropkd"), ("timm", "reviewkd")])
def test_a_repository_in_a_folder_teaches(cli: Cli, clothes: Path, repositories: Path, kind: str, method: str) -> None:
    shutil.copytree(repositories / kind, "teacher")
    code, out, err = cli("distill", clothes, "--teacher", "hf:teacher", "--method", method, *BRIEF)
    assert (code, err) == (0, "")
    written = yaml.safe_load(Path("run/config.yaml").read_text())
    assert written["teacher"]["source"] == f"hf:{Path('teacher').absolute()}"
    assert "agrees with teacher" in out
    assert json.loads(Path("run/metrics.json").read_text())["teacher"]["source"].startswith("hf:/")
    assert len(read_terms()) > 1


def test_a_zero_shot_teacher_knows_the_datas_classes(cli: Cli, clothes: Path, clip_models: dict[str, Path]) -> None:
    Path("names.yaml").write_text("ankle_boot: boot\nsandal: [sandal, open shoe]\ntrouser: trousers\n")
    Path("prompts.txt").write_text("a photo of a {}.\n{} in a shop\n")
    shutil.copyfile(clip_models["tiny-vit"], "clip.safetensors")
    source = "clip:tiny-vit:clip.safetensors?classes=names.yaml&prompts=prompts.txt"
    code, _, err = cli("distill", clothes, "--teacher", source, "--method", "dropkd", *BRIEF)
    assert (code, err) == (0, "")
    here = Path.cwd()
    written = yaml.safe_load(Path("run/config.yaml").read_text())["teacher"]["source"]
    assert written == f"clip:tiny-vit:{here}/clip.safetensors?classes={here}/names.yaml&prompts={here}/prompts.txt"
    assert json.loads(Path("run/metrics.json").read_text())["teacher"]["name"] == "clip:tiny-vit"
    Path("names.yaml").write_text("ankle_boot: boot\nsandals: sandal\ntrouser: trousers\n")
    code, _, err = cli("distill", clothes, "--teacher", source, "--method", "kd", *BRIEF, "--overwrite")
    assert code == 2
    assert err.splitlines() == [
        "error: names.yaml: your data has no class 'sandals'. Did you mean 'sandal'?",
        "error: names.yaml: your class 'sandal' has no phrase. Did you mean 'sandals'?",
    ]


def test_unlike_members_of_an_ensemble_teach_by_terms_of_their_own(
    cli: Cli, clothes: Path, repositories: Path, clip_models: dict[str, Path]
) -> None:
    source = f"ensemble:hf:{repositories / 'swin'}+hf:{repositories / 'timm'}+clip:tiny-vit:{clip_models['tiny-vit']}"
    settings = ("--set", "teacher.each=true", "--set", "method.weights.hint_2=2")
    code, out, err = cli("distill", clothes, "--teacher", source, "--method", "fitnet", *settings, *BRIEF)
    assert (code, err) == (0, "")
    assert "first member" not in out
    assert read_terms() == {"cross_entropy", "hint_1", "hint_2", "hint_3"}
    written = yaml.safe_load(Path("run/config.yaml").read_text())
    assert written["teacher"]["each"] is True
    default = FitNet.terms["hint"] / 3
    assert written["method"]["weights"] == {
        "cross_entropy": 1.0, "hint_1": default, "hint_2": 2.0, "hint_3": default
    }  # fmt: skip
    assert "hint_3" in Path("run/report.html").read_text()
    # What was written starts the same run again.
    code, _, err = cli("distill", "--config", "run/config.yaml", "--output", "again")
    assert (code, err) == (0, "")
    one, other = (Path(run, "student.safetensors").read_bytes() for run in ("run", "again"))
    assert one == other


def test_a_stopped_run_goes_on_with_the_terms_of_each(clothes: Path, repositories: Path, tmp_path: Path) -> None:
    settings = {
        "teacher.source": f"ensemble:hf:{repositories / 'vit'}+hf:{repositories / 'timm'}",
        "teacher.each": True,
    }
    whole = dropkd.distill(
        clothes, teacher=["x", "y"], student="cifar_resnet8", method="fitnet", epochs=2, batch_size=24,
        teacher_check="off", output=tmp_path / "whole", settings=settings,
    )  # fmt: skip
    shutil.copytree(whole.folder, tmp_path / "cut")
    shutil.copyfile(tmp_path / "cut" / "best.ckpt", tmp_path / "cut" / "last.ckpt")
    (tmp_path / "cut" / "metrics.json").unlink()
    resumed = dropkd.resume(tmp_path / "cut")
    assert resumed.is_finished
    assert (resumed.folder / "student.safetensors").read_bytes() == (whole.folder / "student.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ("teacher.each=true", "method.weights.logit=2"),
            "unknown key 'method.weights.logit'. Terms: cross_entropy, lo",
        ),
        (("method.weights.logit_1=2",), "unknown key 'method.weights.logit_1'. Terms: cross_entropy, logit."),
        (("teacher.each=1",), "'teacher.each' must be true or false, got 1"),
        (("teacher.eech=true",), "unknown key 'teacher.eech'. Did you mean 'each'?"),
    ],
)
def test_wrong_keys_of_an_ensemble_are_told(
    cli: Cli, clothes: Path, repositories: Path, settings: tuple[str, ...], message: str
) -> None:
    source = f"ensemble:hf:{repositories / 'vit'}+hf:{repositories / 'timm'}"
    flags = [part for setting in settings for part in ("--set", setting)]
    code, _, err = cli("distill", clothes, "--teacher", source, "--method", "kd", *flags, *BRIEF)
    assert code == 2
    assert message in err
    assert not Path("run").exists()


def test_one_teacher_alone_has_no_terms_of_each(cli: Cli, clothes: Path, repositories: Path) -> None:
    source = f"hf:{repositories / 'vit'}"
    code, _, err = cli("distill", clothes, "--teacher", source, "--set", "teacher.each=true", "--method", "kd", *BRIEF)
    assert code == 2
    assert f"teacher.each gives each network of an ensemble terms of its own, but '{source}' is one teacher." in err


def test_modules_and_names_in_a_list_teach_by_terms_of_their_own(
    clothes: Path, repositories: Path, tmp_path: Path
) -> None:
    module = build_network("cct_2_3x2", num_classes=3, image_size=28)
    run = dropkd.distill(
        clothes, teacher=[module, f"hf:{repositories / 'vit'}"], student="cifar_resnet8", method="kd", epochs=1,
        batch_size=24, teacher_check="off", output=tmp_path / "run",
    )  # fmt: skip
    assert read_terms(str(run.folder)) == {"cross_entropy", "logit_1", "logit_2"}
    assert run.config.teacher is not None
    assert run.config.teacher.each


@pytest.mark.parametrize("kind", ["vit", "timm"])
def test_a_repository_is_trained_and_is_then_a_teacher(cli: Cli, clothes: Path, repositories: Path, kind: str) -> None:
    shutil.copytree(repositories / kind, "model")
    brief = ("--epochs", 1, "--batch-size", 24, "--image-size", 32)
    code, _, err = cli("train", clothes, "--model", "hf:model", *brief, "--output", "own")
    assert (code, err) == (0, "")
    assert yaml.safe_load(Path("own/config.yaml").read_text())["student"]["name"] == f"hf:{Path('model').absolute()}"
    shutil.rmtree("model")
    code, _, err = cli("distill", clothes, "--teacher", "own", "--method", "kd", *BRIEF)
    assert (code, err) == (0, "")
    image = next((clothes / "test").rglob("*.png"))
    code, out, err = cli("predict", "own", image)
    assert (code, err) == (0, "")
    assert any(name in out for name in ("ankle_boot", "sandal", "trouser"))


def test_classes_of_a_repository_are_mapped_by_name(cli: Cli, clothes: Path) -> None:
    write_timm(Path("model"), classes=("boot", "sneaker", "sandal", "jeans"))
    Path("map.csv").write_text("teacher,own\nboot,ankle_boot\nsneaker,ankle_boot\nsandal,sandal\njeans,trouser\n")
    code, out, err = cli(
        "distill", clothes, "--teacher", "hf:model", "--label-map", "map.csv", "--method", "kd", *BRIEF
    )
    assert (code, err) == (0, "")
    assert "4 of the teacher's 4 classes stand for your 3" in out


def test_without_a_network_the_command_line_says_what_to_do(cli: Cli, clothes: Path, offline: Path) -> None:
    code, _, err = cli("distill", clothes, "--teacher", "hf:google/vit-base-patch16-224", "--method", "kd", *BRIEF)
    assert code == 2
    assert err.startswith("error: config.json of the Hugging Face repository 'google/vit-base-patch16-224'")
    assert "Traceback" not in err
    assert torch.get_num_threads() == 1
