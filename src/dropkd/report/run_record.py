"""Reads a run folder as far as it goes: an interrupted or running run gives a record with its gaps named."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dropkd.errors import DropKDError, RunError
from dropkd.file_locks import is_path_locked
from dropkd.report.event_log import EventLog, read_event_log
from dropkd.report.label_sets import LabelSets
from dropkd.report.predictions import Predictions, class_names
from dropkd.report.run_files import (
    descend,
    keep_fitting,
    list_classes,
    read_answers,
    read_config,
    read_json,
    read_stored_classes,
)
from dropkd.statistics.arrays import Interval

if TYPE_CHECKING:
    from dropkd.data.pictures import ListedPictures

__all__ = ["RunRecord", "read_interval", "read_run"]

_SPLITS = ("test", "val")
# What metrics.json says of a run's end.
_OUTCOME = frozenset({"status", "splits", "last_epoch", "selected", "seconds", "steps", "stopped_early"})


@dataclass(frozen=True)
class RunRecord:
    """What a run folder says.

    Args:
        folder: the run folder.
        config: ``config.yaml`` as a tree; empty where it is missing.
        log: ``metrics.jsonl``.
        metrics: ``metrics.json``; empty before the run has ended.
        environment: ``environment.json``; empty where it is missing.
        predictions: the answers by split; empty where there are none yet, or where images have several labels.
        classes: names of the classes by number; None where nothing tells them.
        gaps: what is missing or unreadable, each a sentence.
        baseline: the plain run beside it, or None.
        label_sets: the answers by split where images have several labels, else empty.
        is_running: whether a process is training the run, or the plain one within it.
    """

    folder: Path
    config: Mapping[str, Any]
    log: EventLog
    metrics: Mapping[str, Any]
    environment: Mapping[str, Any]
    predictions: Mapping[str, Predictions]
    classes: tuple[str, ...] | None
    gaps: tuple[str, ...]
    baseline: RunRecord | None
    label_sets: Mapping[str, LabelSets] = field(default_factory=dict)
    is_running: bool = False

    @property
    def is_multi_label(self) -> bool:
        """Return whether images have several labels, or none."""
        return bool(self.metrics.get("multi_label")) or bool(self.log.by_epoch("train", "exact_match"))

    @property
    def headline(self) -> str:
        """Return the key of the figure that a network is judged by."""
        return "map" if self.is_multi_label else "accuracy"

    @property
    def headline_name(self) -> str:
        """Return how that figure is called within a sentence."""
        return "mAP" if self.is_multi_label else "accuracy"

    def score(self, split: str) -> float | None:
        """Return the student's figure on a split, or None."""
        return self.figure("splits", split, self.headline)

    def teacher_score(self, split: str) -> float | None:
        """Return the teacher's figure on a split, or None."""
        return self.figure("teacher", "splits", split, self.headline)

    @property
    def name(self) -> str:
        """Return the folder's name, with its parent's where it is a run's own ``baseline``."""
        place = self.folder.resolve()
        return f"{place.parent.name}/{place.name}" if place.name == "baseline" else place.name

    @property
    def method(self) -> str:
        """Return the method's key, ``plain`` without one."""
        return str(self.metrics.get("method") or self.setting("method", "name") or "plain")

    @property
    def seed(self) -> int | None:
        """Return the seed of the run."""
        seed = self.metrics.get("seed", self.config.get("seed"))
        return seed if isinstance(seed, int) else None

    @property
    def status(self) -> str:
        """Return ``finished``, ``running``, ``interrupted`` or ``unfinished`` (ended without a word)."""
        ended = str(self.metrics.get("status") or "unfinished")
        return "running" if self.is_running and ended != "finished" else ended

    @property
    def student_name(self) -> str:
        """Return the name of the student's architecture."""
        return str(self.figure_text("student", "name") or self.setting("student", "name") or "student")

    @property
    def teacher_name(self) -> str | None:
        """Return what the teacher was given as, or None for a run without a teacher."""
        source = self.figure_text("teacher", "source") or self.setting("teacher", "source")
        return None if source is None else str(source)

    @cached_property
    def split(self) -> str | None:
        """Return the split that the headline figures are of: test, else val, or None before there are figures."""
        return next((name for name in _SPLITS if self.score(name) is not None), None)

    @cached_property
    def data_root(self) -> Path | None:
        """Return the folder that the images' paths start from, or None where the configuration does not say.

        A relative path starts where the run was started: the run folder's own place, less the relative path that
        it was given as, tells that place even when the report is written from another.
        """
        named = self.setting("data", "path")
        if named is None:
            return None
        path, output = Path(str(named)).expanduser(), Path(str(self.setting("output") or "/"))
        place = self.folder.resolve()
        if not path.is_absolute() and not output.is_absolute() and place.parts[-len(output.parts) :] == output.parts:
            start = Path(*place.parts[: -len(output.parts)])
            return start / path if (start / path).is_dir() else path
        return path

    @cached_property
    def pictures(self) -> Path | ListedPictures | None:
        """Return where the images are read from: a folder, or data that has to be listed first."""
        root = self.data_root
        listed = [answers.paths for answers in self.predictions.values()]
        listed += [answers.paths for answers in self.label_sets.values()]
        first = next((path for paths in listed for path in paths), "")
        # A folder of tables or of shards holds the images, but not as files.
        if root is None or (root.is_dir() and (not first or _is_file(root / first))):
            return root
        # Loads torch, which pages about folders do without.
        from dropkd.data.pictures import ListedPictures

        try:
            return ListedPictures(root)
        except DropKDError:
            return root

    def setting(self, *keys: str) -> Any:
        """Return a value of the configuration by its keys, or None."""
        return descend(self.config, keys)

    def figure(self, *keys: str) -> float | None:
        """Return a finite number of ``metrics.json`` by its keys, or None."""
        value = descend(self.metrics, keys)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return value if is_number and math.isfinite(value) else None

    @property
    def departures(self) -> Mapping[str, Any] | None:
        """Return what the run was asked for beside the defaults, by key; None for a run that does not say."""
        found = self.environment.get("departures")
        return found if isinstance(found, Mapping) else None

    def interval(self, split: str, key: str) -> Interval | None:
        """Return the 95 % interval that the run wrote beside the student's figure on a split, or None."""
        return read_interval(self.metrics, "splits", split, key)

    def figure_text(self, *keys: str) -> str | None:
        """Return a text of ``metrics.json`` by its keys, or None."""
        value = descend(self.metrics, keys)
        return None if value is None else str(value)

    def class_name(self, number: int) -> str:
        """Return a class's name, or ``class 3`` where nothing tells it."""
        known = self.classes is not None and 0 <= number < len(self.classes)
        return self.classes[number] if known and self.classes else f"class {number}"


def read_interval(metrics: Mapping[str, Any], *keys: str) -> Interval | None:
    """Return the interval that stands beside a figure of ``metrics.json``.

    Args:
        metrics: the figures, or a part of them.
        keys: where the figure is; its interval stands under ``intervals`` there.
    """
    found = descend(metrics, (*keys[:-1], "intervals", keys[-1]))
    is_pair = isinstance(found, list | tuple) and len(found) == 2
    if not is_pair or not all(isinstance(bound, int | float) and math.isfinite(bound) for bound in found):
        return None
    return float(found[0]), float(found[1])


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # A name that is too long, say.
        return False


def read_run(folder: Path, *, with_baseline: bool = True) -> RunRecord:
    """Read a run folder; whatever is missing becomes a gap of the record.

    Raises:
        RunError: there is no such folder, or neither ``config.yaml`` nor ``metrics.jsonl`` nor ``metrics.json`` in it.
    """
    _check_is_run(folder)
    gaps: list[str] = []
    # Asked first: of a run that nobody trains any more all that was written is read.
    places = (folder, folder / "baseline") if with_baseline else (folder,)
    is_running = any(is_path_locked(place / "metrics.jsonl") for place in places)
    config = read_config(folder / "config.yaml", gaps)
    metrics = read_json(folder / "metrics.json", gaps, "the final figures")
    environment = read_json(folder / "environment.json", gaps, "versions and the command")
    if is_running and metrics.get("status") == "interrupted":
        # It has been resumed: the figures of its interruption are not those of the run as it is now.
        metrics = {key: value for key, value in metrics.items() if key not in _OUTCOME}
    log = read_event_log(folder / "metrics.jsonl", is_written=is_running)
    gaps += log.gaps
    predictions, label_sets = read_answers(folder / "predictions.parquet", gaps)
    named = list_classes(metrics)
    predictions = keep_fitting(predictions, {s: a.num_classes for s, a in predictions.items()}, metrics, named, gaps)
    label_sets = keep_fitting(label_sets, {s: a.target.shape[1] for s, a in label_sets.items()}, metrics, named, gaps)
    classes = named or read_stored_classes(folder / "student.safetensors") or class_names(predictions)
    baseline = _find_baseline(folder, metrics) if with_baseline else None
    if with_baseline and metrics.get("baseline") and baseline is None:
        gaps.append(f"The plain run that this one names, {str(metrics['baseline'])!r}, was not found.")
    if baseline is not None and not _share_test_images(metrics, baseline.metrics):
        gaps.append(f"The plain run {baseline.name!r} was tested on other images, so nothing is compared with it.")
        baseline = None
    return RunRecord(
        folder, config, log, metrics, environment, predictions, classes, tuple(gaps), baseline, label_sets, is_running
    )


def _share_test_images(metrics: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Tell whether two runs were tested on the same images; True where a run does not say."""
    return len({metrics.get("test_sha256"), others.get("test_sha256")} - {None}) < 2


def _check_is_run(folder: Path) -> None:
    if not folder.is_dir():
        raise RunError(f"There is no run folder {str(folder)!r}.")
    if not any((folder / name).is_file() for name in ("config.yaml", "metrics.jsonl", "metrics.json")):
        raise RunError(
            f"{str(folder)!r} is not a run folder: it holds no config.yaml, metrics.jsonl or metrics.json. "
            "Give the folder that `dropkd train` or `dropkd distill` wrote (--output)."
        )


def _find_baseline(folder: Path, metrics: Mapping[str, Any]) -> RunRecord | None:
    named = metrics.get("baseline")
    places = [folder / "baseline"]
    if named:
        places += [folder / str(named), Path(os.fspath(str(named)))]
    for place in places:
        try:
            return read_run(place, with_baseline=False)
        except RunError:
            continue
    return None
