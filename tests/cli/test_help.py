from __future__ import annotations

import os

import pytest

from dropkd.cli import main, run_command_line

VERBS = [
    "train",
    "distill",
    "resume",
    "watch",
    "evaluate",
    "predict",
    "report",
    "methods",
    "models",
    "demo",
    "data",
    "cache",
    "card",
    "push",
    "explain",
]
# Other people's checks call these.
FIXED_FLAGS = [
    "--output",
    "--epochs",
    "--batch-size",
    "--image-size",
    "--lr",
    "--seed",
    "--device",
    "--workers",
    "--pretrained",
    "--no-pretrained",
    "--config",
    "--set",
    "--overwrite",
    "--teacher-check",
    "--dry-run",
    "--baseline",
    "--no-baseline",
    "--skip-unreadable",
]


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["--help"]) == 0
    shown = capsys.readouterr().out
    assert [verb for verb in VERBS if f" {verb} " not in shown] == []


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_a_help_text(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Usage: dropkd {verb}" in shown
    # A rich tag that was not understood would stand there in brackets.
    assert "[bold]" not in shown


@pytest.mark.parametrize("verb", ["train", "distill"])
def test_the_fixed_flags_are_there(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    run_command_line([verb, "--help"])
    shown = capsys.readouterr().out
    assert [flag for flag in FIXED_FLAGS if flag not in shown] == []


def test_no_argument_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    run_command_line([])
    assert "Usage: dropkd" in "".join(capsys.readouterr())


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["--version"]) == 0
    assert capsys.readouterr().out.startswith("dropkd ")


def test_waiting_threads_leave_the_cores_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "set, so that it is taken away afterwards")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setattr("sys.argv", ["dropkd", "--version"])
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code, os.environ["OMP_WAIT_POLICY"]) == (0, "PASSIVE")


def test_a_verb_that_does_not_exist_is_a_mistake_with_a_suggestion(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command_line(["distil"]) == 2
    assert "Did you mean 'distill'?" in capsys.readouterr().err


def test_a_flag_of_the_wrong_type_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["train", "x", "--epochs", "many"]) == 2
    assert "--epochs" in capsys.readouterr().err
