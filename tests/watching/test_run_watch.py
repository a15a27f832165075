"""What a run is at, from before its beginning to its end or its death."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import pytest

from dropkd.watching import RunView, RunWatch, State

from .logs import STEPS, config, epoch, events, held, other_process, start, step, write_run


def look(folder: Path) -> RunView:
    return RunWatch(folder).look()


def _write_metrics(folder: Path, **figures: Any) -> None:
    (folder / "metrics.json").write_text(json.dumps(figures))


def test_a_folder_without_anything_waits(tmp_path: Path) -> None:
    assert look(tmp_path).state is State.WAITING
    assert look(tmp_path / "not there").state is State.WAITING


def test_a_run_that_has_its_configuration_alone_is_being_made_ready(tmp_path: Path) -> None:
    assert look(write_run(tmp_path)).state is State.PREPARING


def test_a_run_whose_log_is_held_goes_on(tmp_path: Path) -> None:
    write_run(tmp_path, *events(done=1))
    with held(tmp_path):
        view = look(tmp_path)
    assert view.state is State.RUNNING
    assert view.words == ""
    assert (view.epoch, view.epochs, view.done_steps, view.total_steps) == (1, 4, 10, 40)
    assert view.fraction == 0.25
    assert view.title == "resnet18, kd from vit_base_patch16_224"
    assert view.record.seed == 3


def test_a_run_whose_log_is_opened_is_made_ready_until_its_first_step(tmp_path: Path) -> None:
    write_run(tmp_path, start())
    with held(tmp_path):
        assert look(tmp_path).state is State.PREPARING


def test_a_run_that_did_its_last_step_is_being_judged(tmp_path: Path) -> None:
    write_run(tmp_path, *events(done=4))
    with held(tmp_path):
        assert look(tmp_path).state is State.JUDGING


def test_a_run_that_lost_its_patience_is_being_judged(tmp_path: Path) -> None:
    write_run(tmp_path, *events(done=2), {"event": "stop", "epochs": 2})
    with held(tmp_path):
        assert look(tmp_path).state is State.JUDGING


def test_a_run_with_an_end_is_finished_and_has_its_figures(tmp_path: Path) -> None:
    write_run(tmp_path, *events())
    _write_metrics(tmp_path, status="finished", splits={"test": {"accuracy": 0.75}})
    view = look(tmp_path)
    assert (view.state, view.fraction) == (State.FINISHED, 1.0)
    assert view.record.score("test") == 0.75


def test_a_killed_run_is_told_from_one_that_goes_on(tmp_path: Path) -> None:
    write_run(tmp_path, *events(done=1))
    with other_process(tmp_path) as process:
        assert look(tmp_path).state is State.RUNNING
        process.kill()
        process.wait()
        view = look(tmp_path)
    assert view.state is State.STOPPED
    assert f"`dropkd resume {tmp_path}` goes on with it" in view.words
    assert "killed" in view.words


def test_an_interrupted_run_is_so_until_it_is_resumed(tmp_path: Path) -> None:
    write_run(tmp_path, *events(done=1))
    _write_metrics(tmp_path, status="interrupted", splits={"val": {"accuracy": 0.5}})
    assert look(tmp_path).state is State.INTERRUPTED
    with held(tmp_path):
        view = look(tmp_path)
        assert view.state is State.RUNNING
        # Figures of the state that it has left are not shown as its own.
        assert view.record.score("val") is None
    # Resumed and killed: the log is younger than the word on its interruption.
    later = time.time() + 5
    os.utime(tmp_path / "metrics.jsonl", (later, later))
    assert look(tmp_path).state is State.STOPPED


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    write_run(tmp_path, *events(done=1), {"event": "failure", "reason": "The term 'logit' was not finite."})
    view = look(tmp_path)
    assert view.state is State.FAILED
    assert "The term 'logit' was not finite." in view.words


def test_a_plain_run_that_is_trained_first_stands_for_the_run(tmp_path: Path) -> None:
    write_run(tmp_path)
    write_run(tmp_path / "baseline", *events(done=2))
    with held(tmp_path / "baseline"):
        view = look(tmp_path)
    assert view.state is State.BASELINE
    assert view.baseline is not None
    assert view.baseline.state is State.RUNNING
    assert view.baseline.fraction == 0.5


def test_a_plain_run_that_died_is_the_death_of_the_run(tmp_path: Path) -> None:
    write_run(tmp_path)
    write_run(tmp_path / "baseline", *events(done=2))
    assert look(tmp_path).state is State.STOPPED
    write_run(tmp_path / "baseline", *events(done=2), {"event": "failure", "reason": "too hot"})
    view = look(tmp_path)
    assert (view.state, view.failure) == (State.FAILED, "too hot")


def test_after_its_plain_run_a_run_is_made_ready(tmp_path: Path) -> None:
    write_run(tmp_path)
    write_run(tmp_path / "baseline", *events())
    assert look(tmp_path).state is State.PREPARING


def test_time_left_is_the_rest_at_the_pace_of_late(tmp_path: Path) -> None:
    write_run(tmp_path, *events(done=1))
    with held(tmp_path):
        left = look(tmp_path).seconds_left
    # Thirty steps of half a second, less the moments since the log was written.
    assert left == pytest.approx(15.0, abs=2.0)
    assert look(tmp_path).seconds_left is None  # of a run that nobody trains


def test_best_epoch_terms_pace_and_memory_are_told(tmp_path: Path) -> None:
    write_run(tmp_path, *events(done=3))
    with held(tmp_path):
        view = look(tmp_path)
    assert view.best == (2, 0.9)
    assert view.validation[-1] == (3.0, 0.52)
    assert (view.images_per_second, view.peak_memory, view.lr) == (128.0, 2.5e9, 0.1)
    entropy, logit = view.terms
    assert (entropy.name, entropy.share, logit.raw, logit.weighted) == ("cross_entropy", 0.25, 4.0, 1.0)
    assert len(entropy.course) == 3


def test_what_a_run_warned_of_each_epoch_is_said_once_and_the_latest(tmp_path: Path) -> None:
    told = [{"event": "warning", "text": f"The term 'at' was 0 in every step of epoch {k}."} for k in range(1, 9)]
    write_run(tmp_path, *events(done=1), *told)
    assert look(tmp_path).warnings == ("The term 'at' was 0 in every step of epoch 8.",)


def test_a_loss_that_is_not_finite_is_a_warning(tmp_path: Path) -> None:
    write_run(tmp_path, *events(done=1), step(STEPS + 1, loss=math.nan))
    with held(tmp_path):
        assert look(tmp_path).warnings == (f"The loss of step {STEPS + 1} is not finite.",)


def test_a_log_that_falls_silent_is_a_warning(tmp_path: Path) -> None:
    write_run(tmp_path, *events(done=1))
    with held(tmp_path):
        before = time.time() - 600
        os.utime(tmp_path / "metrics.jsonl", (before, before))
        (warning,) = look(tmp_path).warnings
    assert "Nothing has been logged for 10" in warning


def test_where_locks_are_unknown_a_log_without_end_may_be_growing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path, *events(done=1))
    monkeypatch.setattr("dropkd.watching.tail.is_locked", lambda descriptor: None)
    view = look(tmp_path)
    assert view.state is State.RUNNING
    assert "can't be told" in view.words


def test_links_out_of_the_folder_are_not_read_and_that_is_said(tmp_path: Path) -> None:
    elsewhere = write_run(tmp_path / "elsewhere", *events())
    run = write_run(tmp_path / "run")
    (run / "metrics.jsonl").symlink_to(elsewhere / "metrics.jsonl")
    (run / "baseline").symlink_to(elsewhere)
    view = look(run)
    assert view.record.log.steps == []
    assert view.baseline is None or not view.baseline.record.log.steps
    assert "'metrics.jsonl' is a link, which may lead out of the folder, so it is not read." in view.warnings


def test_files_of_any_content_do_not_break_the_view(tmp_path: Path) -> None:
    strange = [
        {"event": "epoch", "epoch": "one"}, {"event": "epoch", "epoch": 0, "train": 3, "val": None, "best": 1},
        {"event": "step", "step": 4, "terms": [1], "loss": "x", "seconds": None, "total_steps": -3},
        {"event": "step", "step": 5, "epoch": None, "terms": {"kd": None, "at": {"raw": "NaN"}}, "seconds": 1e308},
        {"event": ["no"]}, {"no": "event"}, {"event": "start", "config": [1]}, {"event": "warning"},
    ]  # fmt: skip
    write_run(tmp_path, *strange)
    (tmp_path / "config.yaml").write_text("a: [")
    (tmp_path / "metrics.json").write_text("[]")
    view = look(tmp_path)
    assert view.state is State.STOPPED
    assert (view.total_steps, view.best, view.seconds_left) == (None, None, None)
    assert any("config.yaml can't be read" in said for said in view.warnings)
    for changed in (b"", b"\0\0\0", b"{}\n" * 3, b'{"event": "epoch", "epoch": 1e400}\n'):
        (tmp_path / "metrics.jsonl").write_bytes(changed)
        assert look(tmp_path).state in (State.STOPPED, State.PREPARING)


def test_a_configuration_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    watch = RunWatch(write_run(tmp_path, settings=config(epochs=4)))
    assert watch.look().epochs == 4
    write_run(tmp_path, settings=config(epochs=12))
    assert watch.look().epochs == 12


def test_several_labels_are_judged_by_their_precision(tmp_path: Path) -> None:
    val = {"loss": 1.0, "map": 0.625, "exact_match": 0.5}
    train = {"loss": 1.0, "exact_match": 0.25, "terms": {}}
    write_run(tmp_path, start(), step(1), epoch(0, val=val, train=train))
    view = look(tmp_path)
    assert (view.record.headline_name, view.best) == ("mAP", (1, 0.625))
