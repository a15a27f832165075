"""How alike the layers of two networks are, before and after one learned from the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dropkd.data import ImageData, Split, open_data
from dropkd.data.split import require_split
from dropkd.engine.fabric import choose_device
from dropkd.engine.observer import Observer
from dropkd.engine.plan import ResolvedConfig
from dropkd.engine.setup import build_initial_student
from dropkd.engine.teachers import open_expert
from dropkd.errors import DataError, DropKDError, RunError
from dropkd.files import write_text
from dropkd.metrics.cka import LEAST_IMAGES
from dropkd.metrics.cka_grid import CKAGrid
from dropkd.models import Network, open_teacher
from dropkd.models.layers import LayerReader
from dropkd.run import Run, frame_loader

__all__ = ["LayerSimilarity", "compare_layers"]

_FILE = "cka.json"


@dataclass(frozen=True)
class LayerSimilarity:
    """Minibatch CKA of each layer of one network with each layer of another.

    Args:
        first: name of the one network: the teacher, where there is one.
        second: name of the other: the student.
        rows: the first network's layers, shallow to deep.
        columns: the second's.
        after: (rows, columns) of the network as it is; None in a cell where a layer's features do not vary.
        before: the same of the student as it was before its first step; None where that is not known.
        split: which images.
        images: how many.
        batch_size: images a batch.
    """

    first: str
    second: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    after: tuple[tuple[float | None, ...], ...]
    before: tuple[tuple[float | None, ...], ...] | None
    split: str
    images: int
    batch_size: int

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_text(path, json.dumps({"schema": 1, **asdict(self)}, indent=1) + "\n")


def compare_layers(
    run: Run | str | Path,
    other: str | Path | None = None,
    *,
    data: str | Path | None = None,
    split: str | None = None,
    images: int = 2000,
    batch_size: int = 64,
    layers: str = "stages",
    seed: int = 0,
    device: str = "auto",
    observer: Observer | None = None,
) -> LayerSimilarity:
    """Return how alike the layers of a run's student and of its teacher are, and keep it as the run's ``cka.json``.

    Args:
        run: a run; or, beside ``other``, anything that can be a teacher (a name, a file, a run).
        other: another run or network in the teacher's place. Then nothing is written.
        data: the images; by default the run's own.
        split: by default test, else val.
        images: how many of them at most, drawn without replacement.
        batch_size: images a batch. The estimate has no bias for any size, but small batches make it noisy.
        layers: ``stages`` or ``blocks``, see :class:`~dropkd.models.layers.LayerReader`.
        seed: of the draw. Batches are of mixed classes, as the estimate wants them.
        device: where to compute.
        observer: hears of progress.

    Raises:
        RunError: a run without a teacher that can be opened, beside no other network; or no run and no data.
        DataError: no such split, or fewer than four images.
    """
    watcher, where = observer or Observer(), choose_device(device)
    opened = Run.open(run) if isinstance(run, (str, Path)) and _is_run(Path(run)) else run
    if data is None and not isinstance(opened, Run):
        raise RunError(f"{str(run)!r} is no run folder, so it has no images of its own: name some (--data DATA).")
    found = opened.open_data(data) if isinstance(opened, Run) else open_data(data or "")
    # Networks are built with random weights before theirs are loaded.
    with torch.random.fork_rng():
        student = _open(opened, found)
        teacher = _open_teacher(opened, found, student, watcher) if other is None else _open(_as_run(other), found)
        initial = _open_initial(opened, found) if isinstance(opened, Run) and other is None else None
    name, chosen = _choose_split(found, split)
    drawn = np.random.default_rng(seed).permutation(len(chosen))[:images]
    # A last batch of few images would be all noise.
    whole = len(drawn) - len(drawn) % batch_size if len(drawn) >= batch_size else len(drawn)
    if whole < LEAST_IMAGES:
        raise DataError(f"CKA needs {LEAST_IMAGES} images or more, and the split {name!r} has {len(chosen)}.")
    sample = chosen.take(drawn[:whole])
    learners = [student] if initial is None else [student, initial]
    names, grids = _measure(teacher, learners, sample, batch_size, layers, where, watcher)
    first, second = (teacher.spec.name, student.spec.name)
    if isinstance(opened, Run) and other is None and opened.config.teacher is not None:
        first = opened.config.teacher.source
    result = LayerSimilarity(
        first, second, *names, _to_rows(grids[0]), _to_rows(grids[1]) if len(grids) > 1 else None, name, whole,
        batch_size,
    )  # fmt: skip
    if isinstance(opened, Run) and other is None and data is None:
        result.save(opened.folder / _FILE)
    return result


def _measure(
    teacher: Network,
    learners: list[Network],
    sample: Split,
    batch_size: int,
    layers: str,
    where: torch.device,
    observer: Observer,
) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], list[Tensor]]:
    readers = [LayerReader(network.to(where), layers) for network in (teacher, *learners)]
    grids = [CKAGrid(len(readers[0].names), len(reader.names)) for reader in readers[1:]]
    frames = [_frames(reader.network, sample, batch_size) for reader in readers]
    done = 0
    for batches in zip(*frames, strict=True):
        features = [reader.read(images.to(where)) for reader, images in zip(readers, batches, strict=True)]
        for grid, own in zip(grids, features[1:], strict=True):
            grid.update(features[0], own)
        done += len(batches[0])
        observer.on_phase("Comparing layers", done, len(sample))
    return (readers[0].names, readers[1].names), [grid.compute() for grid in grids]


def _frames(network: Network, sample: Split, batch_size: int) -> Iterator[Tensor]:
    return (batch.images for batch in frame_loader(network, sample, batch_size=batch_size))


def _to_rows(grid: Tensor) -> tuple[tuple[float | None, ...], ...]:
    return tuple(tuple(value if value == value else None for value in row) for row in grid.tolist())


def _is_run(path: Path) -> bool:
    return (path / "config.yaml").is_file()


def _as_run(source: str | Path) -> Run | str:
    return Run.open(source) if _is_run(Path(source)) else str(source)


def _open(source: Run | str | Path, data: ImageData) -> Network:
    if isinstance(source, Run):
        return source.network()
    return open_teacher(str(source), num_classes=len(data.classes), image_size=data.native_size or 224)


def _open_teacher(opened: Run | str | Path, data: ImageData, student: Network, observer: Observer) -> Network:
    expert = None
    if isinstance(opened, Run) and opened.config.teacher is not None:
        expert = open_expert(opened.config, data, student, None, observer)
    if expert is None:
        raise RunError(
            f"{str(opened.folder if isinstance(opened, Run) else opened)!r} names no teacher that could be opened: "
            "name another run or network to compare its layers with."
        )
    return expert


def _open_initial(opened: Run, data: ImageData) -> Network | None:
    """Return the student before its first step; None where it can't be built again."""
    expected: Any = opened.metrics.get("student", {}).get("initial_weights_sha256")
    if expected is None:
        return None
    config = ResolvedConfig.model_validate(opened.config.model_dump())
    try:
        initial, digest = build_initial_student(config, data)
    except DropKDError:
        # A student that was given as a module, or published weights that are out of reach.
        return None
    return initial if digest == expected else None


def _choose_split(data: ImageData, split: str | None) -> tuple[str, Split]:
    splits = {part.name: part for part in data.splits}
    if split is not None:
        require_split(split, splits)
    name = split or next(name for name in ("test", "val", "train") if name in splits)
    return name, splits[name]
