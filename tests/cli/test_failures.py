from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from dropkd.cli import run_command_line
from dropkd.engine.signals import Interrupted
from dropkd.errors import ConfigError, DataError

Fail = Callable[[BaseException], None]


@pytest.fixture
def resume_fails_with(monkeypatch: pytest.MonkeyPatch) -> Fail:
    def arrange(error: BaseException) -> None:
        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr("dropkd.api.resume", fail)

    return arrange


def test_a_users_mistake_is_its_text_and_exit_code_2(
    resume_fails_with: Fail, capsys: pytest.CaptureFixture[str]
) -> None:
    resume_fails_with(DataError("The folder '[bold]x' holds no images.\nNeither does 'y'."))
    assert run_command_line(["resume", "x"]) == 2
    shown = capsys.readouterr()
    assert shown.err == "error: The folder '[bold]x' holds no images.\nNeither does 'y'.\n"


def test_each_mistake_of_a_configuration_is_an_error_of_its_own(
    resume_fails_with: Fail, capsys: pytest.CaptureFixture[str]
) -> None:
    resume_fails_with(ConfigError("'a' must be 1, got 2\n'b' is missing"))
    assert run_command_line(["resume", "x"]) == 2
    assert capsys.readouterr().err == "error: 'a' must be 1, got 2\nerror: 'b' is missing\n"


def test_a_long_text_is_not_wrapped(resume_fails_with: Fail, capsys: pytest.CaptureFixture[str]) -> None:
    resume_fails_with(DataError("word " * 100))
    run_command_line(["resume", "x"])
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_bug_of_ours_is_a_traceback_and_exit_code_1(
    resume_fails_with: Fail, capsys: pytest.CaptureFixture[str]
) -> None:
    resume_fails_with(KeyError("lost"))
    assert run_command_line(["resume", "x"]) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "KeyError: 'lost'" in shown
    assert shown.splitlines()[-1].startswith("error: this is a bug in dropkd, not a mistake of yours.")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_how_to_go_on_and_exits_as_the_signal_does(
    number: int, code: int, resume_fails_with: Fail, capsys: pytest.CaptureFixture[str]
) -> None:
    resume_fails_with(Interrupted(number, "at step 3", Path("x")))
    assert run_command_line(["resume", "x"]) == code
    assert capsys.readouterr().err == "Stopped at step 3; nothing is lost. Go on with: dropkd resume x\n"


def test_ctrl_c_outside_training_is_130(resume_fails_with: Fail, capsys: pytest.CaptureFixture[str]) -> None:
    resume_fails_with(KeyboardInterrupt())
    assert run_command_line(["resume", "x"]) == 130
    assert "Traceback" not in capsys.readouterr().err
