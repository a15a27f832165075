"""``dropkd watch`` as a user meets it: in a terminal, without one, and where there is nothing to watch."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., tuple[int, str, str]]
DROPKD = [sys.executable, "-m", "dropkd"]
STEP: dict[str, Any] = {
    "event": "step", "step": 1, "epoch": 0, "total_steps": 20, "lr": 0.1, "loss": 2.0, "seconds": 1.0,
    "terms": {"cross_entropy": {"raw": 2.0, "weighted": 2.0}},
}  # fmt: skip
# Holds a run's log and adds a line to it each tenth of a second, as a training would.
WRITER = """
import json, sys, time
from pathlib import Path
from dropkd.engine.journal import Journal
journal = Journal(Path(sys.argv[1]) / "metrics.jsonl")
journal.write("start", 0, config={"training": {"epochs": 100}, "method": {"name": "kd"}})
step = json.loads(sys.argv[2])
for number in range(1, 600):
    journal.write("step", number, **{k: v for k, v in step.items() if k not in ("event", "step")})
    print(number, flush=True)
    time.sleep(0.1)
"""


@pytest.fixture
def going(tmp_path: Path) -> Any:
    """A run that another process trains."""
    run = tmp_path / "going"
    run.mkdir()
    (run / "config.yaml").write_text("method: {name: kd}\n")
    command = [sys.executable, "-c", WRITER, str(run), json.dumps({**STEP, "total_steps": 600})]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield run
        process.kill()


@contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that heeds Ctrl-C, also where the tests themselves run in the background; it is gone afterwards."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


class Terminal:
    """``dropkd`` in a terminal of 80 x 24."""

    def __init__(self, *arguments: object) -> None:
        self.shown = b""
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, (24, 80))
        self.before = termios.tcgetattr(self.slave)
        environment = {**os.environ, "TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            [*DROPKD, *map(str, arguments)], stdin=self.slave, stdout=self.slave, stderr=self.slave, env=environment,
            start_new_session=True, preexec_fn=lambda: _take_terminal(),
        )  # fmt: skip

    def read_until(self, words: bytes, seconds: float = 30.0) -> None:
        until = time.monotonic() + seconds
        while words not in self.shown:
            assert time.monotonic() < until, self.shown.decode(errors="replace")
            if select.select([self.master], [], [], 0.1)[0]:
                self.shown += os.read(self.master, 65536)

    def end(self) -> int:
        """Wait for the end; what the terminal was told since is kept."""
        until = time.monotonic() + 20
        while self.process.poll() is None:
            assert time.monotonic() < until
            if select.select([self.master], [], [], 0.1)[0]:
                self.shown += os.read(self.master, 65536)
        while select.select([self.master], [], [], 0.1)[0]:
            self.shown += os.read(self.master, 65536)
        self.after = termios.tcgetattr(self.slave)
        os.close(self.master)
        os.close(self.slave)
        return self.process.returncode


def _take_terminal() -> None:
    import fcntl

    # Ctrl-C reaches the process by its controlling terminal.
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.parametrize("leave", ["q", "ctrl-c", "sigterm"])
def test_one_leaves_cleanly_and_the_terminal_is_as_before(going: Path, leave: str) -> None:
    terminal = Terminal("watch", going, "--every", "0.2")
    terminal.read_until(b"q leaves")
    terminal.read_until(b"/600 steps")
    if leave == "sigterm":
        terminal.process.send_signal(signal.SIGTERM)
    else:
        os.write(terminal.master, b"q" if leave == "q" else b"\x03")
    assert terminal.end() == 0
    # The screen of the one who called is back, with what was seen last; the cursor is to be seen.
    assert terminal.shown.count(b"\x1b[?1049h") == terminal.shown.count(b"\x1b[?1049l") == 1
    assert b"running" in terminal.shown.rpartition(b"\x1b[?1049l")[2]
    assert terminal.shown.rfind(b"\x1b[?25h") > terminal.shown.rfind(b"\x1b[?25l")
    assert terminal.after == terminal.before
    assert b"Traceback" not in terminal.shown
    assert b"Stopped" not in terminal.shown


def test_a_finished_run_is_shown_and_the_terminal_given_back(teacher_run: Path) -> None:
    terminal = Terminal("watch", teacher_run)
    assert terminal.end() == 0
    assert b"finished" in terminal.shown
    assert b"\x1b[?1049h" not in terminal.shown


def test_a_real_run_is_shown_once_as_it_stands(teacher_run: Path, cli: Cli) -> None:
    code, out, err = cli("watch", teacher_run, "--once")
    metrics = json.loads((teacher_run / "metrics.json").read_text())
    assert (code, err) == (0, "")
    out = out.replace("\u00a0", " ")
    assert "cifar_resnet8, trained alone" in out
    assert "finished" in out
    assert "epoch 4/4" in out
    assert f"kept weights on test: {100 * metrics['splits']['test']['accuracy']:.1f} %" in out


def test_without_a_terminal_there_is_a_line_for_each_epoch_until_the_end(teacher_run: Path, cli: Cli) -> None:
    code, out, _ = cli("watch", teacher_run)
    assert code == 0
    lines = out.splitlines()
    assert [line.partition("  loss")[0] for line in lines[:-1]] == [f"teacher  epoch {k}/4" for k in range(1, 5)]
    assert lines[-1] == "teacher  finished"


def test_a_run_is_followed_from_its_beginning_to_its_end(clothes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train = [*DROPKD, "train", str(clothes), "--model", "cifar_resnet8", "--epochs", "3", "--batch-size", "16"]
    with started([*DROPKD, "watch", str(run), "--wait", "--every", "0.1"]) as watching:
        subprocess.run([*train, "--output", str(run)], check=True, capture_output=True)
        out, _ = watching.communicate(timeout=60)
    assert watching.returncode == 0
    assert f"Waiting for {run}" in out
    assert [out.count(f"epoch {k}/3") for k in (1, 2, 3)] == [1, 1, 1]
    assert out.rstrip().endswith("run  finished")


def test_a_run_that_was_killed_is_said_to_be_and_ends_the_lines(going: Path, tmp_path: Path, cli: Cli) -> None:
    run = tmp_path / "dead"
    run.mkdir()
    (run / "metrics.jsonl").write_text(json.dumps(STEP) + "\n" + '{"event": "st')
    code, out, _ = cli("watch", run)
    assert code == 0
    assert "dead  stopped  No process trains this run: it was killed" in out
    assert f"`dropkd resume {run}` goes on with it" in out


def test_a_report_on_a_run_that_is_being_written_is_whole(going: Path, cli: Cli) -> None:
    for _ in range(5):
        code, _, err = cli("report", going)
        assert (code, err) == (0, "")
        page = (going / "report.html").read_text()
        assert page.rstrip().endswith("</html>")
        assert "unreadable" not in page
        assert '<span class="status running">running</span>' in page
        assert "This run is being trained" in page
        assert f"dropkd watch {going}" in page
        assert "dropkd resume" not in page
    assert [path.name for path in going.iterdir() if path.name.startswith(".")] == []


def test_the_run_that_was_written_to_last_is_watched_unasked(
    teacher_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("watch", "--once")[0] == 2
    for number, name in enumerate(("b", "c", "a")):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text("seed: 1\n")
        os.utime(folder / "config.yaml", (number, number))
    code, out, _ = cli("watch", "--once")
    assert code == 0
    assert out.startswith("a  ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing"], "There is no run folder 'missing'. Did you mean 'missed'?"),
        (["missed"], "'missed' is no run folder: it holds no config.yaml"),
        (["file.txt"], "'file.txt' is a file"),
        (["run", "--once", "--wait"], "leave --wait out"),
        (["run", "--once", "--web"], "leave --web out"),
        (["run", "--port", "8000"], "--port is that of the page: give --web as well"),
        (["run", "--web", "--port", "99999"], "--port"),
        (["missing", "--web"], "There is no run folder 'missing'"),
    ],
)
def test_what_can_not_be_watched_is_a_mistake_in_words(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "missed").mkdir()
    (tmp_path / "file.txt").write_text("")
    code, out, err = cli("watch", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


def test_the_page_is_served_until_one_leaves(teacher_run: Path) -> None:
    command = [*DROPKD, "watch", str(teacher_run), "--web", "--port", "0"]
    with started(command) as process:
        assert process.stdout is not None
        (address,) = re.findall(r" at (http://127\.0\.0\.1:\d+/) ", process.stdout.readline())
        with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310  (our own)
            assert "Finished after 4 epochs" in answer.read().decode()
        # Another one at the same port is refused in words.
        port = address.rstrip("/").rpartition(":")[2]
        again = subprocess.run([*command[:-1], port], capture_output=True, text=True)
        assert (again.returncode, again.stdout) == (2, "")
        assert f"Port {port} is in use. Choose another by --port, or 0 for any free one." in again.stderr
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")


def test_watching_loads_what_every_installation_has(teacher_run: Path) -> None:
    program = (
        "import sys; from dropkd.cli import run_command_line;"
        f"code = run_command_line(['watch', {str(teacher_run)!r}, '--once']);"
        "sys.exit(code or bool({'torch', 'pyarrow', 'filelock'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0
