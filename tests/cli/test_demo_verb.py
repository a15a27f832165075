from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dropkd.demo import demo as demo_module
from dropkd.demo.demo import plan_demo

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def small_demo(clothes: Path, teacher_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo with few images and the teacher that the other tests know, so that it takes a second."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        demo_module, "unpack_demo_images", lambda folder: shutil.copytree(clothes, folder, dirs_exist_ok=True)
    )
    monkeypatch.setattr(demo_module, "TEACHER", "cifar_resnet8")
    shutil.copyfile(teacher_run / "student.safetensors", tmp_path / "teacher.safetensors")
    monkeypatch.setattr(demo_module, "TEACHER_FILE", tmp_path / "teacher.safetensors")


def find_commands(out: str) -> list[str]:
    return [line.strip() for line in out.splitlines() if line.startswith("  dropkd ")]


@pytest.mark.usefixtures("small_demo")
def test_the_demo_trains_three_times_and_compares(cli: Cli) -> None:
    code, out, err = cli("demo", "--epochs", 2)
    assert (code, err) == (0, "")
    commands = find_commands(out)
    assert [command.split()[1] for command in commands] == ["distill", "distill", "explain", "report"]
    assert all("--epochs 2" in command and "--seed 0" in command for command in commands[:2])
    assert "--baseline" in commands[0]
    assert {path.name for path in Path("demo-run").iterdir()} == {
        *("images", "teacher.safetensors", "kd", "dropkd", "report.html"),
    }
    assert "page     demo-run/report.html" in out
    assert "4 of 4" in out
    assert Path("demo-run/kd/baseline/student.safetensors").is_file()
    assert "Where they look" in Path("demo-run/dropkd/report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("small_demo")
def test_what_the_demo_prints_can_be_copied(cli: Cli) -> None:
    _, out, _ = cli("demo", "--epochs", 1)
    student = Path("demo-run/dropkd/student.safetensors").read_bytes()
    last = shlex.split(find_commands(out)[1])[1:]
    assert cli(*last, "--overwrite")[0] == 0
    assert Path("demo-run/dropkd/student.safetensors").read_bytes() == student


@pytest.mark.usefixtures("small_demo")
def test_the_demo_can_be_run_again(cli: Cli) -> None:
    assert cli("demo", "--epochs", 1)[0] == 0
    code, out, err = cli("demo", "--epochs", 1)
    assert (code, err) == (0, "")
    assert all(command.endswith("--overwrite") for command in find_commands(out)[:2])


@pytest.mark.usefixtures("small_demo")
def test_the_demo_touches_no_folder_that_holds_something_else(cli: Cli) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("years of work")
    code, _, err = cli("demo", "--output", "mine")
    assert code == 2
    assert "'mine' holds something that is not the demo's ('thesis.tex')" in err
    assert [path.name for path in Path("mine").iterdir()] == ["thesis.tex"]


def test_all_runs_have_the_same_student_and_budget(tmp_path: Path) -> None:
    plan = plan_demo(tmp_path / "a b", epochs=3, seed=1)
    for command in plan.commands[:2]:
        assert {"cifar_resnet8", "--epochs", "3", "--seed", "1"} <= set(command)
    assert not plan.folder.exists()
