"""Several students and seeds by one command, as it is typed."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from dropkd.cli.progress import Progress
from dropkd.run import Run

Cli = Callable[..., tuple[int, str, str]]
STUDENTS = ("--student", "cifar_resnet8", "--student", "cifar_resnet14")


def distil(photos: Path, teacher: Path, output: str | None, *more: object) -> tuple[object, ...]:
    place = () if output is None else ("--output", output)
    return ("distill", photos, "-t", teacher, "--method", "kd", "--epochs", 1, "--batch-size", 16, *place, *more)


@pytest.fixture
def group(cli: Cli, photos: Path, teacher_run: Path) -> str:
    """A finished group of two students with two seeds, ``group``; what was printed."""
    code, shown, said = cli(*distil(photos, teacher_run, "group", *STUDENTS, "--seeds", "3,5"))
    assert (code, said) == (0, "")
    return shown


def test_a_group_ends_with_mean_and_deviation_and_a_row_for_each_run(cli: Cli, group: str) -> None:
    names = [f"cifar_resnet{depth}-seed{seed}" for depth in (8, 14) for seed in (3, 5)]
    assert {path.name for path in Path("group").iterdir() if path.is_dir()} == set(names)
    for name in names:
        run = Run.open(Path("group", name))
        assert (run.is_finished, run.config.view_seed, run.config.split_seed) == (True, 3, 3)
        assert (run.folder / "report.html").is_file()
        assert re.search(rf"{name} .* {100 * run.metrics['splits']['test']['accuracy']:.2f} %", group)
    accuracies = [Run.open(Path("group", name)).metrics["splits"]["test"]["accuracy"] for name in names[:2]]
    mean, deviation = 50 * sum(accuracies), 100 * abs(accuracies[0] - accuracies[1]) / 2**0.5
    assert f"{mean:.2f} \N{PLUS-MINUS SIGN} {deviation:.2f} %" in group
    assert "4 runs, up to 2 of them side by side" in group
    assert group.splitlines()[-2:] == ["group    group", "report   group/comparison.html"]


def test_the_same_command_again_repeats_nothing_and_more_seeds_join(
    cli: Cli, group: str, photos: Path, teacher_run: Path
) -> None:
    written = {path: path.stat().st_mtime_ns for path in Path("group").rglob("last.ckpt")}
    code, shown, _ = cli(*distil(photos, teacher_run, "group", *STUDENTS, "--seeds", "3,5,9"))
    assert code == 0
    assert "2 of 6 runs are left" in shown
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert len(list(Path("group").rglob("last.ckpt"))) == 6
    code, shown, _ = cli(*distil(photos, teacher_run, "group", *STUDENTS, "--seeds", "3,5,9"))
    assert code == 0
    assert "epoch 1/1" not in shown
    assert "cifar_resnet14-seed9" in shown


def test_a_group_has_a_page_and_is_no_single_run(cli: Cli, group: str) -> None:
    Path("group/comparison.html").unlink()
    assert cli("report", "group")[:2] == (0, "report   group/comparison.html\n")
    assert cli("report", "group", "-o", "page.html")[:2] == (0, "report   page.html\n")
    assert "cifar_resnet14" in Path("page.html").read_text()
    code, _, said = cli("evaluate", "group")
    assert (code, "is a group of runs. Name one of the run folders in it" in said) == (2, True)


def test_a_group_without_an_output_is_found_again(cli: Cli, photos: Path, teacher_run: Path) -> None:
    command = distil(photos, teacher_run, None, "--student", "cifar_resnet8", "--seeds", "0")
    assert cli(*command)[0] == 0
    (folder,) = Path("runs").iterdir()
    assert folder.name == "kd-cifar_resnet8-group-1"
    assert cli(*command)[0] == 0
    assert cli(*command, "--lr", "0.01")[0] == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == [folder.name, "kd-cifar_resnet8-group-2"]


def test_a_stopped_group_says_how_to_go_on_and_does(
    cli: Cli, photos: Path, teacher_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[bool] = []

    def stop(self: Progress, *, step: int, **_: object) -> None:
        if step == 2 and not stopped:
            stopped.append(True)
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "on_step", stop)
        code, _, said = cli(*distil(photos, teacher_run, "group", *STUDENTS))
    assert code == 128 + signal.SIGINT
    assert said == "Stopped with 0 of 2 runs finished; nothing is lost. Go on with: dropkd resume group\n"
    code, shown, said = cli("resume", "group")
    assert (code, said) == (0, "")
    assert "report   group/comparison.html" in shown


def test_a_run_that_failed_is_named_at_the_end_and_by_the_exit_code(
    cli: Cli, photos: Path, teacher_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Progress, "on_step", lambda self, **_: 1 / 0 if "14" in self._run else None)
    code, shown, said = cli(*distil(photos, teacher_run, "group", *STUDENTS))
    assert code == 1
    assert "failed: cifar_resnet14-seed0: ZeroDivisionError: division by zero" in said
    assert "1 of 2 runs failed. Try them again with: dropkd resume group" in said
    assert re.search(r"cifar_resnet14-seed0 .* failed ", shown)


def test_a_dry_run_of_a_group_shows_each_student_and_writes_nothing(cli: Cli, photos: Path, teacher_run: Path) -> None:
    code, shown, _ = cli(*distil(photos, teacher_run, "group", *STUDENTS, "--seeds", "0-2", "--dry-run"))
    assert code == 0
    assert not Path("group").exists()
    assert shown.splitlines()[-1].startswith("6 runs: cifar_resnet8-seed0, cifar_resnet8-seed1, ")
    assert shown.index("name: cifar_resnet8") < shown.index("name: cifar_resnet14")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--seeds", "4-0"), "--seeds must look like 0-4 or 0,3,7, got '4-0'."),
        (("--seeds", "one"), "--seeds must look like"),
        (("--seeds", ""), "--seeds must look like"),
        (("--seeds", "0-2,1"), "--seeds 0-2,1: 1 stands there twice."),
        (("--seeds", "0-99999999"), "more seeds, or larger ones, than can be meant"),
        (("--seeds", "4294967296"), "more seeds, or larger ones, than can be meant"),
        (("--seeds", "0,1", "--seed", "3"), "--seed and --seeds are both given."),
        (("--student", "cifar_resnet8", "--student", "cifar_resnet8"), "--student cifar_resnet8 is given twice."),
        (("--seeds", "0,1", "--side-by-side", "on"), "--side-by-side must be auto or off, got 'on'."),
        (("--student", "cifar_resnet8", "--student", "cifar_resnet9"), "Did you mean 'cifar_resnet8'?"),
        (("--seeds", "0,1", "--epochs", "0"), "--epochs"),
    ],
)
def test_a_mistake_in_a_groups_command_is_told_and_nothing_is_written(
    cli: Cli, photos: Path, teacher_run: Path, more: tuple[str, ...], expected: str
) -> None:
    given = more if "--student" in more else ("--student", "cifar_resnet8", *more)
    code, _, said = cli(*distil(photos, teacher_run, "group", *given))
    assert code == 2
    assert expected in said
    assert not Path("group").exists()


def test_a_teacher_that_knows_nothing_stops_the_group_before_anything_is_written(cli: Cli, photos: Path) -> None:
    teacher = ("train", photos, "--model", "cifar_resnet8", "--epochs", 1, "--lr", "1e-9", "-o", "blank")
    assert cli(*teacher)[0] == 0
    code, _, said = cli(*distil(photos, Path("blank"), "group", *STUDENTS, "--seeds", "0-1"))
    assert code == 2
    assert "It does not know this task" in said
    assert not Path("group").exists()


def test_one_student_and_no_seeds_is_a_run_as_before(cli: Cli, photos: Path, teacher_run: Path) -> None:
    assert cli(*distil(photos, teacher_run, "run", "--student", "cifar_resnet8"))[0] == 0
    assert Path("run/config.yaml").is_file()
    code, _, said = cli(*distil(photos, teacher_run, "run", *STUDENTS))
    assert (code, "is the folder of a single run" in said) == (2, True)
