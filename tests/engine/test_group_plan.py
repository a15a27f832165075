"""Which runs take turns at the same batches, within the memory, and which ask the teacher about the same pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dropkd.config import Config, load_config
from dropkd.engine.footprint import Footprint, free_memory, measure_footprint
from dropkd.engine.group_folder import Member
from dropkd.engine.group_plan import Kind, Plan, describe_kind, plan_group, share_views
from dropkd.engine.observer import Observer
from dropkd.engine.optimizer import make_optimizer
from dropkd.engine.setup import prepare_job


def member(name: str, seed: int = 0) -> Member:
    return Member(name, name, load_config(flags={"data.path": "x", "student.name": "y", "seed": seed}))


KIND = Kind(("views",), ("views", 16), mixes=False, asks=True, footprint=Footprint(kept=10, working=5))


def bundles_of(plan: Plan) -> list[list[str]]:
    return [[run.name for run in bundle] for bundle in plan.bundles]


def test_runs_of_one_seed_and_the_same_batches_are_trained_together() -> None:
    runs = [member("a0"), member("b0"), member("a1", 1), member("b1", 1), member("c0")]
    kinds: Mapping[str, Kind] = {run.name: KIND for run in runs} | {"c0": replace(KIND, batches=("views", 32))}
    plan = plan_group(runs, kinds, memory=10_000)
    assert bundles_of(plan) == [["a0", "b0"], ["a1", "b1"], ["c0"]]
    # All of them look at the same views, in three different orders.
    (one,) = plan.sets
    assert [[run.name for run in stream] for stream in one] == [["a0", "b0"], ["a1", "b1"], ["c0"]]


def test_one_stream_of_batches_asks_nothing_twice_and_one_by_one_all_do() -> None:
    runs = [member("a0"), member("b0")]
    kinds = dict.fromkeys(("a0", "b0"), KIND)
    assert plan_group(runs, kinds, memory=10_000).sets == ()
    apart = plan_group(runs, kinds, memory=None)
    assert bundles_of(apart) == [["a0"], ["b0"]]
    assert len(apart.sets) == 1


def test_a_logger_that_knows_one_run_at_a_time_keeps_runs_apart() -> None:
    runs = [
        Member(name, name, load_config(flags={"data.path": "x", "student.name": "y", "loggers": loggers}))
        for name, loggers in (("a", ["tensorboard"]), ("b", ["wandb"]), ("c", []), ("d", ["mlflow"]))
    ]
    assert bundles_of(plan_group(runs, dict.fromkeys("abcd", KIND), memory=10_000)) == [["a", "c"], ["b"], ["d"]]


def test_mixed_batches_are_never_shared_between_seeds_and_plain_runs_ask_nobody() -> None:
    runs = [member("a0"), member("a1", 1), member("p0"), member("p1", 1)]
    mixed, plain = replace(KIND, mixes=True), replace(KIND, asks=False, batches=("views", 8))
    assert plan_group(runs, {"a0": mixed, "a1": mixed, "p0": plain, "p1": plain}, memory=10_000).sets == ()


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=1, max_size=8), st.integers(1, 1000))
def test_no_run_is_lost_and_no_bundle_takes_more_than_its_share_of_the_memory(
    sizes: list[tuple[int, int]], memory: int
) -> None:
    runs = [member(str(number)) for number in range(len(sizes))]
    kinds = {run.name: replace(KIND, footprint=Footprint(*size)) for run, size in zip(runs, sizes, strict=True)}
    plan = plan_group(runs, kinds, memory=memory)
    assert [name for bundle in bundles_of(plan) for name in bundle] == [run.name for run in runs]
    for bundle in plan.bundles:
        prints = [footprint for run in bundle if (footprint := kinds[run.name].footprint)]
        taken = sum(p.kept for p in prints) + max(p.working for p in prints)
        assert len(bundle) == 1 or taken <= 0.8 * memory


def test_views_and_splits_are_shared_unless_something_else_is_said() -> None:
    told = Member("b", "b", load_config(flags={"data.path": "x", "student.name": "y", "data.view_seed": 9}))
    first, second = (run.config for run in share_views([member("a", 3), told], 3))
    assert (first.view_seed, first.split_seed, first.seed) == (3, 3, 3)
    assert (second.view_seed, second.split_seed) == (9, 3)


@pytest.mark.parametrize(
    ("changes", "alike"),
    [
        ({"seed": 1}, True),
        ({"method": "kd"}, True),
        ({"student__name": "cifar_resnet14"}, True),
        ({"training__batch_size": 8}, False),
        ({"training__mixup": 0.2}, False),
        ({"data__flip": False}, False),
        ({"data__distinct_views": 2}, False),
        ({"data__sampling": "balanced"}, False),
        ({"method": "mld"}, False),
    ],
)
def test_what_a_batch_depends_on_tells_kinds_apart(
    configure: Callable[..., Config], changes: dict[str, object], alike: bool
) -> None:
    seeds = {"data__view_seed": 0, "data__split_seed": 0}
    first = prepare_job(configure(**seeds), Observer())
    other = prepare_job(configure(**{**seeds, **changes}), Observer(), shared=first.shared)
    assert (describe_kind(first).batches == describe_kind(other).batches) is alike


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_footprint_is_what_a_training_really_keeps(configure: Callable[..., Config], optimizer: str) -> None:
    job = prepare_job(configure(training__optimizer=optimizer, training__ema_decay=0.5), Observer())
    before = {name: value.clone() for name, value in job.distiller.state_dict().items()}
    state = torch.get_rng_state()
    footprint = measure_footprint(job)
    # Measuring leaves no trace.
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in job.distiller.state_dict().items())
    images, target = torch.rand(16, 3, 28, 28), torch.zeros(16, dtype=torch.int64)
    job.distiller(images, target, torch.arange(16)).loss.backward()
    steps = make_optimizer(job.finetuning)
    steps.step()
    tensors = [v for values in steps.state.values() for v in values.values() if torch.is_tensor(v) and v.ndim]
    kept = [*job.distiller.parameters(), *job.distiller.buffers(), *tensors]
    kept += [*job.distiller.student.parameters(), *job.distiller.student.buffers()]
    assert footprint.kept == sum(value.numel() * value.element_size() for value in kept)
    gradients = sum(p.numel() * p.element_size() for p in job.distiller.parameters())
    # ResNet-8 at 28 x 28 keeps a few maps of 16 channels for each of 16 images.
    assert footprint.working > gradients + 4 * 16 * 16 * 28 * 28 * 4


def test_free_memory_is_no_more_than_the_machine_has() -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < free_memory(torch.device("cpu")) <= total
