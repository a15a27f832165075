from __future__ import annotations

from pathlib import Path

import pytest

from dropkd import file_locks
from dropkd.engine.journal import Journal
from dropkd.errors import RunError
from dropkd.file_locks import hold_lock, is_path_locked

from .logs import other_process


def test_a_file_is_held_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert is_path_locked(path) is False
    with path.open("ab") as file:
        assert is_path_locked(path) is False
        assert hold_lock(file)
        assert is_path_locked(path) is True
        with path.open("ab") as other:
            assert not hold_lock(other, patience=0.05)
    assert is_path_locked(path) is False


def test_the_lock_goes_with_a_process_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with other_process(tmp_path) as process:
        assert is_path_locked(path) is True
        process.kill()
        process.wait()
        assert is_path_locked(path) is False


def test_two_processes_never_train_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold_lock, "__defaults__", (0.05,))
    path = tmp_path / "metrics.jsonl"
    first = Journal(path)
    first.write("start", 0)
    with pytest.raises(RunError, match="Another process is training the run"):
        Journal(path)
    # The second has not cut the log of the first.
    assert path.read_bytes().count(b"\n") == 1
    first.close()
    Journal(path).close()


def test_without_locks_of_the_system_nothing_is_known_and_nothing_is_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_locks, "fcntl", None)
    path = tmp_path / "log"
    with path.open("ab") as file:
        assert hold_lock(file)
        assert is_path_locked(path) is None


def test_a_file_system_that_refuses_locks_is_no_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: object, how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(file_locks.fcntl, "flock", refuse)
    path = tmp_path / "log"
    with path.open("ab") as file:
        assert hold_lock(file)
        assert is_path_locked(path) is None
