"""The learning rate as a function of the step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropkd.engine.schedule import Schedule


def test_the_warm_up_rises_to_the_peak_and_the_cosine_falls_from_it() -> None:
    schedule = Schedule("cosine", total_steps=100, steps_per_epoch=10, warmup_steps=10)
    factors = [schedule.factor(step) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert 0 < factors[99] < 0.001


def test_a_cosine_ends_at_its_final_factor() -> None:
    schedule = Schedule("cosine", total_steps=1000, steps_per_epoch=10, warmup_steps=100, final_factor=0.02)
    factors = [schedule.factor(step) for step in range(1000)]
    assert factors[:101] == [Schedule("cosine", 1000, 10, 100).factor(step) for step in range(101)]
    assert factors[550] == pytest.approx(0.51)
    assert factors[100:] == sorted(factors[100:], reverse=True)
    assert 0.02 < factors[999] < 0.0201


def test_a_step_schedule_decays_after_so_many_epochs_are_done() -> None:
    schedule = Schedule("step", 240, 1, milestones=(150, 180, 210), decay_factor=0.1)
    assert [schedule.factor(epoch) for epoch in (149, 150, 179, 180, 210)] == pytest.approx([1, 0.1, 0.1, 0.01, 0.001])


def test_an_exponential_schedule_decays_after_each_epoch_and_not_within_it() -> None:
    schedule = Schedule("exponential", 12, steps_per_epoch=4, decay_factor=0.9)
    assert [schedule.factor(step) for step in range(12)] == pytest.approx([1] * 4 + [0.9] * 4 + [0.81] * 4)


@given(
    kind=st.sampled_from(["cosine", "step", "exponential", "constant"]),
    total=st.integers(1, 500),
    warmup=st.integers(0, 500),
    data=st.data(),
)
def test_every_factor_lies_between_0_and_1(kind: str, total: int, warmup: int, data: st.DataObject) -> None:
    final = data.draw(st.floats(0, 1))
    schedule = Schedule(kind, total, max(1, total // 7), min(warmup, total), (3, 5), final_factor=final)
    assert 0 <= schedule.factor(data.draw(st.integers(0, total - 1))) <= 1
