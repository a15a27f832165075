"""A log that grows, is cut, is replaced: what was read is always what stands there."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dropkd.watching.tail import Tail

from .logs import epoch, events, held, lines, other_process, start, step, write_run

LOG = lines(*events())


def _tail(folder: Path) -> Tail:
    return Tail(folder, "metrics.jsonl")


@given(cuts=st.lists(st.integers(0, len(LOG)), max_size=12))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_log_read_piece_by_piece_is_the_log_read_at_once(tmp_path: Path, cuts: list[int]) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"")
    tail = _tail(tmp_path)
    for cut in sorted(cuts):
        path.write_bytes(LOG[:cut])
        tail.read()
        # Whole lines and nothing else.
        assert tail.events == events()[: LOG[:cut].count(b"\n")]
    path.write_bytes(LOG)
    tail.read()
    assert tail.events == events()
    assert tail.broken == 0


def test_half_a_line_waits_for_its_other_half(tmp_path: Path) -> None:
    write_run(tmp_path, start(), tail=b'{"event": "st')
    tail = _tail(tmp_path)
    assert tail.read()
    assert (len(tail.events), tail.broken) == (1, 0)
    assert not tail.read()
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(lines(step(1)).removeprefix(b'{"event": "st'))
    assert tail.read()
    assert tail.events == [start(), step(1)]


def test_a_resumed_run_cuts_its_log_and_what_was_cut_off_is_gone(tmp_path: Path) -> None:
    write_run(tmp_path, *events(done=2))
    tail = _tail(tmp_path)
    tail.read()
    path = tmp_path / "metrics.jsonl"
    kept = len(lines(*events(done=1)))
    with path.open("r+b") as file:
        file.truncate(kept)
    tail.read()
    assert tail.events == events(done=1)


def test_a_log_that_was_cut_and_is_longer_again_is_read_anew(tmp_path: Path) -> None:
    write_run(tmp_path, *events(done=1))
    tail = _tail(tmp_path)
    tail.read()
    # The same inode, more bytes than were read, other content before that place.
    told = [*events(done=1)[:5], *[step(k, loss=7.0) for k in range(5, 30)]]
    with (tmp_path / "metrics.jsonl").open("r+b") as file:
        file.truncate(0)
        file.write(lines(*told))
    tail.read()
    assert tail.events == told


def test_a_run_that_replaces_another_is_read_from_its_beginning(tmp_path: Path) -> None:
    write_run(tmp_path, *events())
    tail = _tail(tmp_path)
    tail.read()
    (tmp_path / "metrics.jsonl").rename(tmp_path / "old")
    assert tail.read()
    assert (tail.exists, tail.events) == (False, [])
    write_run(tmp_path, start(), step(1))
    tail.read()
    assert tail.events == [start(), step(1)]


def test_lines_that_are_no_events_are_counted_and_passed_over(tmp_path: Path) -> None:
    strange = b'nonsense\n[1, 2]\n"text"\n\xff\xfe\n' + b"[" * 100_000 + b"\n\n"
    (tmp_path / "metrics.jsonl").write_bytes(lines(start()) + strange + lines(step(1)))
    tail = _tail(tmp_path)
    tail.read()
    assert tail.events == [start(), step(1)]
    assert tail.broken == 5


def test_it_is_known_whether_a_process_writes_to_the_log(tmp_path: Path) -> None:
    write_run(tmp_path, *events(done=1))
    tail = _tail(tmp_path)
    tail.read()
    assert tail.is_held is False
    with held(tmp_path) as journal:
        tail.read()
        assert tail.is_held is True
        # Looking takes nothing away from the one who writes.
        journal.write("epoch", 20, **{k: v for k, v in epoch(1).items() if k not in ("event", "step")})
        assert tail.read()
    assert tail.events[-1]["epoch"] == 1
    with other_process(tmp_path) as process:
        tail.read()
        assert tail.is_held is True
        process.kill()
        process.wait()
        tail.read()
    assert tail.is_held is False
