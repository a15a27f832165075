"""Times measured side by side: with a clock of their own, so that each test is exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import numpy as np
import pytest
from scipy.stats import binom

from dropkd.costing import latency
from dropkd.costing.latency import median_interval, summarise_times, time_side_by_side


class Clock:
    """A clock that stands still but for the calls that take time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.heard: list[str] = []

    def taking(self, name: str, seconds: Iterator[float]) -> Callable[[], None]:
        def call() -> None:
            self.heard.append(name)
            self.now += next(seconds)

        return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(latency, "perf_counter", lambda: clock.now)
    return clock


def always(seconds: float) -> Iterator[float]:
    return (seconds for _ in count())


def test_steady_calls_are_done_after_thirty(clock: Clock) -> None:
    found = time_side_by_side({"a": clock.taking("a", always(0.05))})["a"]
    assert (found.p50, found.p95, found.calls, found.settled) == (pytest.approx(0.05), pytest.approx(0.05), 30, True)


def test_the_first_calls_warm_up_and_do_not_count(clock: Clock) -> None:
    cold = iter([5.0, 1.0, 0.3])
    found = time_side_by_side({"a": clock.taking("a", (next(cold, 0.04) for _ in count()))}, seconds=100.0)["a"]
    assert found.p95 == pytest.approx(0.04)


def test_no_slow_call_is_left_out(clock: Clock) -> None:
    times = (0.5 if k % 10 == 0 else 0.05 for k in count())
    found = time_side_by_side({"a": clock.taking("a", times)}, seconds=20.0)["a"]
    assert found.p50 == pytest.approx(0.05)
    assert found.p95 == pytest.approx(0.5)


def test_calls_that_vary_are_repeated_until_their_time_is_up(clock: Clock) -> None:
    draw = np.random.default_rng(0)
    times = (float(draw.uniform(0.02, 0.06)) for _ in count())
    found = time_side_by_side({"a": clock.taking("a", times)}, seconds=3.0)["a"]
    assert not found.settled
    assert found.calls == pytest.approx(3.0 / 0.04, abs=10)
    assert found.interval[1] - found.interval[0] > 0.02 * found.p50


def test_a_slow_network_is_timed_at_least_once(clock: Clock) -> None:
    found = time_side_by_side({"slow": clock.taking("slow", always(60.0))}, seconds=1.0)["slow"]
    assert (found.calls, found.p50, found.settled) == (1, 60.0, False)
    # One call to warm up, one that counts: not four minutes.
    assert clock.heard == ["slow", "slow"]


def test_networks_take_turns_so_that_a_machine_that_slows_down_is_unfair_to_none(clock: Clock) -> None:
    def slowing(start: float) -> Iterator[float]:
        while True:
            yield start * (1 + clock.now / 2)

    calls = {name: clock.taking(name, slowing(0.03)) for name in ("a", "b", "c")}
    found = time_side_by_side(calls, seconds=2.0)
    # The last is more than three times as slow as the first call, yet each median is the same to a few per cent.
    assert found["a"].p95 > 2 * 0.03
    for name in ("b", "c"):
        assert found[name].p50 == pytest.approx(found["a"].p50, rel=0.1)


def test_before_short_calls_are_timed_the_caches_are_filled_again(clock: Clock) -> None:
    """A call right after another network's finds its weights gone from the processor's caches."""

    def cold_after_others() -> Iterator[float]:
        while True:
            # The call itself is the last that was heard.
            yield 0.004 if clock.heard[-2:-1] != ["small"] else 0.001

    calls = {"small": clock.taking("small", cold_after_others()), "large": clock.taking("large", always(0.03))}
    assert time_side_by_side(calls, seconds=2.0)["small"].p95 == pytest.approx(0.001)


@pytest.mark.parametrize("number", [5, 30, 101, 1000])
def test_the_interval_of_the_median_holds_it_in_95_of_100_draws(number: int) -> None:
    low, high = median_interval([float(k) for k in range(number)])
    # The true median lies between two ranks with the probability that so many draws fall below it.
    sure = binom.cdf(high, number, 0.5) - binom.cdf(low, number, 0.5)
    assert sure >= (0.935 if number > 5 else 0.9)
    assert number <= 30 or sure < 0.97


def test_the_summary_is_numpys() -> None:
    times = np.random.default_rng(3).lognormal(size=201).tolist()
    found = summarise_times(times)
    assert found.p50 == np.median(times)
    assert found.p95 == np.quantile(times, 0.95, method="inverted_cdf")


def test_a_median_is_sure_where_its_interval_is_a_tenth_of_it_or_less() -> None:
    steady, wild = [1.0] * 20 + [1.05] * 20, [1.0] * 20 + [1.3] * 20
    assert summarise_times(steady).is_sure
    assert not summarise_times(wild).is_sure


def test_no_time_is_no_measurement() -> None:
    with pytest.raises(ValueError, match="seconds must be above 0, got 0"):
        time_side_by_side({}, seconds=0)
