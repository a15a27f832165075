"""What networks cost on this machine: size, multiply-adds, time and memory, side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dropkd.costing.latency import time_side_by_side
from dropkd.costing.machine import count_cores, describe_machine
from dropkd.costing.memory import measure_peaks
from dropkd.costing.record import CostRecord, Memory, NetworkCost, Timing
from dropkd.costing.sources import find_subjects, list_files
from dropkd.costing.subjects import Deployed, Subject, deploy, open_session
from dropkd.engine.fabric import choose_device
from dropkd.engine.observer import Observer
from dropkd.errors import ConfigError, DropKDError, ModelError
from dropkd.metrics import measure_cost
from dropkd.metrics.network_cost import StaticCost, measure_network
from dropkd.models import count_parameters

__all__ = ["measure_costs"]


@dataclass(frozen=True)
class _Plan:
    """How everything is measured."""

    batch_sizes: tuple[int, ...]
    threads: tuple[int, ...]
    seconds: float
    device: torch.device
    size: tuple[int, int] | None


def measure_costs(
    sources: Sequence[str | Path | nn.Module],
    *,
    image_size: int | Sequence[int] | None = None,
    num_classes: int | None = None,
    batch_sizes: Sequence[int] = (1, 8, 32),
    threads: Sequence[int] | None = None,
    seconds: float = 3.0,
    teacher: bool = True,
    onnx: bool | None = None,
    memory: bool = True,
    device: str = "cpu",
    observer: Observer | None = None,
) -> CostRecord:
    """Measure what networks cost on this machine, and keep it as ``cost.json`` in each run folder among them.

    All networks are timed in turns, so that whatever else the machine does meets all of them. Reading and resizing
    images is not timed: a batch lies in memory.

    Args:
        sources: run folders, groups of runs, models by name (with random weights, which take as long), ONNX files,
            whatever else can be a teacher, and modules.
        image_size: side, or height and width, that models given by name are fed; by default their own.
        num_classes: number of logits of models given by name; by default that of their published weights.
        batch_sizes: images at a time.
        threads: numbers of threads that compute; by default one, and as many as there are cores.
        seconds: the most time for each network, runtime, batch size and number of threads.
        teacher: measure a run's teacher as well.
        onnx: time a run's exported ONNX files by onnxruntime; None where there are any, True exports one for it.
        memory: measure the most memory that a process takes, in a process of its own for each network.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        observer: hears of progress.

    Raises:
        ConfigError: a number that is none, or a device that is not there.
        RunError: a folder that is no run, or one without a student.
        ModelError: an unknown model, or one that can't be opened.

    Example:
        >>> record = measure_costs(["cifar_resnet8"], batch_sizes=[1], threads=[1], seconds=0.1, memory=False)
        >>> record.networks[0].parameters
        83892
    """
    watcher = observer or Observer()
    plan = _make_plan(image_size, batch_sizes, threads, seconds, device)
    with find_subjects(sources, plan.size, num_classes, teacher=teacher, onnx=onnx, observer=watcher) as subjects:
        costs = {subject.name: _describe(subject) for subject in subjects}
        deployed = {s.name: deploy(s.network.to(plan.device)) for s in subjects if s.network is not None}
        costs.update({name: _add_deployed(costs[name], ready) for name, ready in deployed.items()})
        gathered = _Gathered(subjects, deployed, plan)
        gathered.time_all(watcher)
        if memory:
            gathered.measure_memory(watcher)
        costs = {name: gathered.complete(cost) for name, cost in costs.items()}
        name = torch.cuda.get_device_name(plan.device) if plan.device.type == "cuda" else None
        record = CostRecord(describe_machine(name), tuple(costs.values()))
        for folder in dict.fromkeys(folder for subject in subjects for folder in subject.folders):
            own = [costs[subject.name] for subject in subjects if folder in subject.folders]
            own.sort(key=lambda cost: cost.role != "student")
            replace(record, networks=tuple(own)).write(folder)
    return record


def _make_plan(
    image_size: int | Sequence[int] | None,
    batch_sizes: Sequence[int],
    threads: Sequence[int] | None,
    seconds: float,
    device: str,
) -> _Plan:
    from dropkd.models.spec import parse_image_size

    cores = count_cores()
    chosen = tuple(dict.fromkeys(threads or (1, cores)))
    for name, values in (("batch sizes", batch_sizes), ("threads", chosen)):
        wrong = next((value for value in values if value < 1), None)
        if wrong is not None or not values:
            raise ConfigError(f"{name} must be whole numbers of 1 or more, got {wrong}.")
    if not seconds > 0:
        raise ConfigError(f"seconds must be above 0, got {seconds:g}.")
    where = choose_device(device)
    # On a GPU the processor's threads have little to do.
    used = chosen if where.type == "cpu" else chosen[:1]
    return _Plan(tuple(sorted(set(batch_sizes))), used, seconds, where, parse_image_size(image_size))


def _describe(subject: Subject) -> NetworkCost:
    network = subject.network
    static = StaticCost(0, None, 0) if network is None else measure_network(network)
    known = static.parameters > 0
    parameters, weights = (static.parameters, static.bytes) if known else (None, None)
    return NetworkCost(
        name=subject.name, role=subject.role,
        architecture=subject.name if network is None else network.spec.name,
        image_size=(0, 0) if network is None else network.spec.image_size,
        parameters=parameters, macs=static.macs, bytes=weights,
        deployed_parameters=parameters, deployed_macs=static.macs,
        files=list_files(subject), notes=subject.notes,
    )  # fmt: skip


def _add_deployed(cost: NetworkCost, deployed: Deployed) -> NetworkCost:
    if not deployed.fused:
        return cost
    macs = measure_cost(deployed.module, deployed.size).macs
    return replace(cost, deployed_parameters=count_parameters(deployed.module), deployed_macs=macs)


class _Gathered:
    """What is measured of each network, filled step by step."""

    def __init__(self, subjects: Sequence[Subject], deployed: Mapping[str, Deployed], plan: _Plan) -> None:
        self.subjects = subjects
        self.deployed = deployed
        self.plan = plan
        self.timings: defaultdict[str, list[Timing]] = defaultdict(list)
        self.memory: defaultdict[str, list[Memory]] = defaultdict(list)
        self.notes: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self.sizes: dict[str, tuple[int, int]] = {}

    def complete(self, cost: NetworkCost) -> NetworkCost:
        """Return a network's cost with what was measured of it."""
        name = cost.name
        return replace(
            cost, image_size=self.sizes.get(name, cost.image_size), timings=tuple(self.timings[name]),
            memory=tuple(self.memory[name]), notes=(*cost.notes, *self.notes[name]),
        )  # fmt: skip

    def time_all(self, observer: Observer) -> None:
        """Time every network, runtime, batch size and number of threads."""
        settings = [(count, batch) for count in self.plan.threads for batch in self.plan.batch_sizes]
        for done, (threads, batch) in enumerate(settings):
            observer.on_phase("Timing", done, len(settings))
            with _using_threads(threads):
                calls = dict(self._list_calls(batch, threads))
                found = time_side_by_side(calls, seconds=self.plan.seconds)
            for (name, runtime, file), latency in found.items():
                self.timings[name].append(Timing(runtime, file, batch, threads, latency))
        observer.on_phase("Timing", len(settings), len(settings))

    def _list_calls(self, batch: int, threads: int) -> Iterator[tuple[tuple[str, str, str | None], Callable[[], Any]]]:
        for subject in self.subjects:
            deployed = self.deployed.get(subject.name)
            if deployed is not None:
                call = deployed.make_call(batch, self.plan.device)
                if self._try(subject, call, batch):
                    yield (subject.name, "torch", None), call
            for path in subject.exports if self.plan.device.type == "cpu" else ():
                try:
                    session = open_session(path, batch, threads, self._size_of(subject))
                except ModelError as error:
                    self.notes[subject.name][str(error)] = None
                    continue
                self.sizes.setdefault(subject.name, session.size)
                if self._try(subject, session.answer, batch):
                    yield (subject.name, "onnxruntime", path.name), session.answer

    def _size_of(self, subject: Subject) -> tuple[int, int] | None:
        return self.plan.size if subject.network is None else subject.network.spec.image_size

    def _try(self, subject: Subject, call: Callable[[], Any], batch: int) -> bool:
        """Tell whether a network answers such a batch; where it does not, that is noted."""
        try:
            call()
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            self.notes[subject.name][f"Batches of {batch} were not timed: {reason}"] = None
            return False
        return True

    def measure_memory(self, observer: Observer) -> None:
        """Measure the most memory that each network takes."""
        if self.plan.device.type == "cuda":
            self._measure_gpu_memory()
            return
        asked = [(subject, file) for subject in self.subjects for file in (None, *subject.exports)]
        asked = [(subject, file) for subject, file in asked if file is not None or subject.origin is not None]
        for done, (subject, file) in enumerate(asked):
            observer.on_phase("Measuring memory", done, len(asked))
            origin = file if file is not None else subject.origin
            runtime, name = ("torch", None) if file is None else ("onnxruntime", file.name)
            timed = [t.batch for t in self.timings[subject.name] if (t.runtime, t.file) == (runtime, name)]
            if origin is None or not timed:
                continue
            try:
                found = measure_peaks(origin, sorted(set(timed)), self.plan.threads[0], self._size_of(subject))
            except DropKDError as error:
                self.notes[subject.name][str(error)] = None
                continue
            self.memory[subject.name] += [
                Memory(runtime, name, batch, peak, found.libraries) for batch, peak in found.peaks.items()
            ]
        observer.on_phase("Measuring memory", len(asked), len(asked))

    def _measure_gpu_memory(self) -> None:
        for deployed in self.deployed.values():
            deployed.module.to("cpu")
        for name, deployed in self.deployed.items():
            deployed.module.to(self.plan.device)
            for batch in sorted({timing.batch for timing in self.timings[name]}):
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(self.plan.device)
                deployed.make_call(batch, self.plan.device)()
                self.memory[name].append(
                    Memory("torch", None, batch, torch.cuda.max_memory_allocated(self.plan.device), 0)
                )
            deployed.module.to("cpu")


@contextmanager
def _using_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
