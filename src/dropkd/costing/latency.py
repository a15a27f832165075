"""How long calls take, measured side by side so that a busy machine is unfair to none of them."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TypeVar

__all__ = ["Latency", "median_interval", "summarise_times", "time_side_by_side"]

_Name = TypeVar("_Name", bound=Hashable)

# Calls before the first that counts: memory is allocated and kernels are chosen in them.
_WARM_CALLS = 3
# A turn of short calls lasts about this long, so that many are seen without a turn for each.
_TURN_SECONDS = 0.02
_MOST_CALLS_A_TURN = 50
# Enough calls for a 95th percentile that is not the largest.
_FEWEST_CALLS = 30
# The median is known well enough once its 95 % interval is this narrow, as a share of it.
_NARROW = 0.02
_SURE = 0.1
# Normal quantile of a 95 % interval.
_Z = 1.959964


@dataclass(frozen=True)
class Latency:
    """The times of one call, in seconds. None is left out, however long it took.

    Args:
        p50: the median.
        p95: 95 % of the calls took no longer.
        interval: 95 % interval of the median, without any assumption on how times are distributed.
        calls: how many were timed.
        settled: the interval is narrower than 2 % of the median; else time ran out before.
    """

    p50: float
    p95: float
    interval: tuple[float, float]
    calls: int
    settled: bool

    @property
    def is_sure(self) -> bool:
        """Tell whether the median is known to 10 %, as a ratio of two needs it."""
        return self.interval[1] - self.interval[0] <= _SURE * self.p50


@dataclass
class _Runner:
    """A call, and what it has taken so far."""

    call: Callable[[], object]
    times: list[float] = field(default_factory=list)
    spent: float = 0.0
    is_done: bool = False

    def time_one(self) -> float:
        begin = perf_counter()
        self.call()
        return perf_counter() - begin

    def take_turn(self, seconds: float) -> None:
        """Time as many calls as a turn holds, and see whether that is enough."""
        begin = perf_counter()
        usual = statistics.median(self.times) if self.times else _TURN_SECONDS
        if usual < _TURN_SECONDS:
            # Whoever had the turn before has filled the processor's caches with its own weights.
            self.call()
        for _ in range(min(_MOST_CALLS_A_TURN, max(1, int(_TURN_SECONDS / max(usual, 1e-9))))):
            self.times.append(self.time_one())
        self.spent += perf_counter() - begin
        enough = len(self.times) >= _FEWEST_CALLS and _is_narrow(self.times)
        self.is_done = enough or self.spent >= seconds


def time_side_by_side(calls: Mapping[_Name, Callable[[], object]], *, seconds: float = 5.0) -> dict[_Name, Latency]:
    """Return how long each call takes, measured in turns in an order that changes from round to round.

    Each is called a few times first. A call is repeated until the interval of its median is narrower than 2 % of it,
    over 30 calls at least, or until its time is used up; then at least one was timed.

    Args:
        calls: what is called, by name. Whatever they start must have ended when they return.
        seconds: time for each of them.

    Raises:
        ValueError: no time is given.
    """
    if not seconds > 0:
        raise ValueError(f"seconds must be above 0, got {seconds!r}.")
    runners = {name: _Runner(call) for name, call in calls.items()}
    for runner in runners.values():
        begin = perf_counter()
        for _ in range(_WARM_CALLS):
            runner.call()
            # One call of a slow network is as much as its time allows.
            if perf_counter() - begin > seconds / 2:
                break
    order = random.Random(0)
    while waiting := [runner for runner in runners.values() if not runner.is_done]:
        order.shuffle(waiting)
        for runner in waiting:
            runner.take_turn(seconds)
    return {name: summarise_times(runner.times) for name, runner in runners.items()}


def summarise_times(times: Sequence[float]) -> Latency:
    """Return median, 95th percentile and the median's interval of some times.

    Example:
        >>> summarise_times([3.0, 1.0, 2.0])
        Latency(p50=2.0, p95=3.0, interval=(1.0, 3.0), calls=3, settled=False)
    """
    ordered = sorted(times)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    settled = len(ordered) >= _FEWEST_CALLS and _is_narrow(ordered)
    return Latency(statistics.median(ordered), p95, median_interval(ordered), len(ordered), settled)


def median_interval(times: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median, by the ranks that the binomial distribution gives it.

    Of few values it is their whole range, which is then less than 95 % sure.

    Example:
        >>> median_interval([float(k) for k in range(100)])
        (40.0, 59.0)
    """
    ordered = sorted(times)
    reach = _Z * math.sqrt(len(ordered)) / 2
    low = max(0, math.floor(len(ordered) / 2 - reach))
    high = min(len(ordered) - 1, math.ceil(len(ordered) / 2 + reach) - 1)
    return ordered[low], ordered[max(low, high)]


def _is_narrow(times: Sequence[float]) -> bool:
    low, high = median_interval(times)
    return high - low <= _NARROW * statistics.median(times)
