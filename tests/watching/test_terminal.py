"""What stands on the terminal: all of it at each size, and nothing that it would obey."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from dropkd.engine.group_folder import GroupFolder
from dropkd.watching import GroupWatch, RunWatch
from dropkd.watching.group_watch import GroupView
from dropkd.watching.terminal import LiveView
from dropkd.watching.view import RunView

from .logs import config, events, held, start, step, write_run


def show(view: RunView | GroupView, width: int = 100, height: int = 40, encoding: str = "utf-8") -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=stream, force_terminal=True, width=width, height=height, color_system=None)
    console.print(LiveView(view, "q leaves"))
    stream.seek(0)
    return stream.read().replace("\u00a0", " ")


def test_a_run_shows_how_far_how_well_how_fast_and_its_terms(tmp_path: Path) -> None:
    run = write_run(tmp_path / "first", *events(done=3))
    with held(run):
        shown = show(RunWatch(run).look())
    for words in (
        "first  resnet18, kd from vit_base_patch16_224  seed 3  running", "75 %  30/40 steps", "s left", "epoch 3/4",
        "128 images/s", "memory 2.5 GB at most", "val accuracy 52.0 %", "best 90.0 % (epoch 2)", "agreement 60.0 %",
        "cross_entropy", "logit", "accuracy: validation, training", "loss: validation, training", "q leaves",
    ):  # fmt: skip
        assert words in shown


@pytest.mark.parametrize(("width", "height"), [(200, 50), (80, 24), (60, 18), (40, 12), (20, 8), (8, 3)])
def test_a_view_fits_the_terminal(tmp_path: Path, width: int, height: int) -> None:
    run = write_run(tmp_path, *events(done=3))
    with held(run):
        lines = show(RunWatch(run).look(), width, height).splitlines()
    assert max(map(len, lines)) <= width
    if height >= 18:
        assert len(lines) <= height
        assert any("┤" in line for line in lines)


def test_before_the_first_epoch_the_loss_of_each_step_is_drawn(tmp_path: Path) -> None:
    run = write_run(tmp_path, start(), *[step(k) for k in range(1, 6)])
    with held(run):
        assert "loss of each step" in show(RunWatch(run).look())


def test_a_terminal_of_plain_characters_gets_no_others(tmp_path: Path) -> None:
    run = write_run(tmp_path, *events(done=3))
    shown = show(RunWatch(run).look(), encoding="ascii")
    assert shown.isascii()
    assert "best 90.0 % (epoch 2)" in shown


def test_nothing_in_a_log_is_obeyed_by_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b]0;title\x07\x1b[31m[bold]red[/bold]\r\n\u202eabc"
    settings = config(method={"name": evil}, student={"name": evil}, teacher={"source": evil})
    told = [start(settings), step(1, terms={evil: {"raw": 1.0, "weighted": 1.0}}), {"event": "failure", "reason": evil}]
    run = write_run(tmp_path / "run\x1b[2J", *told, {"event": "warning", "text": evil}, settings=settings)
    shown = show(RunWatch(run).look())
    assert not set(shown) & {"\x1b", "\x07", "\r", "\u202e"}
    assert "[bold]red[/bold]" in shown
    group = write_run(tmp_path / "group" / "one", *told).parent
    (group / "group.yaml").write_text(json.dumps({"group": 1, "runs": {"one": {"label": evil}, f"x{evil}": {}}}))
    assert not set(show(GroupWatch(group).look())) & {"\x1b", "\x07", "\r", "\u202e"}


def test_a_group_is_a_table_of_its_runs(tmp_path: Path) -> None:
    write_run(tmp_path / "a", *events())
    write_run(tmp_path / "b", *events(done=2))
    runs = {name: {"label": "student", "config": {}, "shares_cache": None} for name in "abcd"}
    (tmp_path / "group.yaml").write_text(json.dumps({"group": 1, "runs": runs}))
    (tmp_path / "failures").mkdir()
    (tmp_path / "failures" / "d.txt").write_text("Traceback\nthe teacher is not there\n")
    with held(tmp_path / "b"):
        shown = show(GroupWatch(tmp_path).look(), 80)
    assert "1 of 4 runs finished  1 failed or stopped" in shown
    rows = {line.split()[0]: line.split() for line in shown.splitlines() if line[:1] in "abcd"}
    assert rows["a"][1] == "finished"
    assert rows["b"][1] == "running"
    assert "2/4" in rows["b"]
    assert rows["c"][1] == "waiting"
    assert "d: the teacher is not there" in shown
    # It is the group that is resumed.
    stopped = GroupWatch(tmp_path).look().members[1].run
    assert f"`dropkd resume {tmp_path}` goes on with it" in stopped.words


def test_of_many_runs_those_that_go_on_are_shown_and_the_rest_is_counted(tmp_path: Path) -> None:
    for number in range(60):
        write_run(tmp_path / f"run{number:02}", *events(1))
    write_run(tmp_path / "run57", *events(done=1))
    with held(tmp_path / "run57"):
        shown = show(GroupWatch(tmp_path).look(), 80, 24)
    assert "run57" in shown
    assert len(shown.splitlines()) <= 24
    assert "more finished" in shown


def test_a_group_whose_list_names_other_places_leaves_them_out(tmp_path: Path) -> None:
    write_run(tmp_path / "elsewhere", *events())
    group = tmp_path / "group"
    write_run(group / "own", *events(done=1))
    (group / "link").symlink_to(tmp_path / "elsewhere")
    runs = {"own": {}, "../elsewhere": {}, str(tmp_path / "elsewhere"): {}, "link": {}}
    (group / "group.yaml").write_text(json.dumps({"group": 1, "runs": runs}))
    view = GroupWatch(group).look()
    assert [member.name for member in view.members] == ["own", "link"]
    assert "'../elsewhere', which is not within" in view.trouble
    assert view.members[1].run.record.log.steps == []


def test_a_damaged_list_of_runs_is_said_and_what_was_known_stays(tmp_path: Path) -> None:
    write_run(tmp_path / "a", *events())
    (tmp_path / "group.yaml").write_text(json.dumps({"group": 1, "runs": {"a": {}}}))
    watch = GroupWatch(tmp_path)
    watch.look()
    for damaged in ("group: [", "3", "{}", "runs: 7", "runs: {a: [1]}"):
        (tmp_path / "group.yaml").write_text(damaged)
        view = watch.look()
        assert "can't be read" in view.trouble
        assert [member.name for member in view.members] == ["a"]


def test_a_group_whose_process_is_between_two_runs_has_not_ended(tmp_path: Path) -> None:
    write_run(tmp_path / "a", *events())
    runs = {name: {"label": "student", "config": {}, "shares_cache": None} for name in "ab"}
    (tmp_path / "group.yaml").write_text(json.dumps({"group": 1, "runs": runs}))
    watch = GroupWatch(tmp_path)
    view = watch.look()
    assert view.has_ended
    with GroupFolder(tmp_path, ()).working():
        assert not watch.look().has_ended
    assert watch.look().has_ended
