"""A run's student, judged on images with labels: by its network, or by the answers that it gave before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from dropkd.data import ImageData, Split
from dropkd.data.corruptions import STRENGTHS, corrupt, corruption_kinds
from dropkd.data.split import require_split
from dropkd.engine.evaluation import Answers, answer_split, score_answers
from dropkd.engine.fabric import choose_device
from dropkd.engine.judging import KeptAnswers, judge_answers, judge_kept, opinion_of, read_kept_answers
from dropkd.engine.observer import Observer
from dropkd.engine.teachers import open_expert
from dropkd.errors import ConfigError, DataError, RunError, did_you_mean
from dropkd.metrics import pair_compound_classes, score_compound
from dropkd.models import Network
from dropkd.run import Run, frame_loader
from dropkd.statistics.judging import Opinion

__all__ = ["evaluate"]

_TASKS = ("classes", "compound")


def evaluate(
    run: Run | str | Path,
    data: str | Path | None = None,
    *,
    split: str | None = None,
    task: str = "classes",
    teacher: bool = False,
    mirrored: bool = False,
    corruptions: bool = False,
    kept: bool = False,
    batch_size: int = 64,
    device: str = "auto",
    workers: int = 0,
    observer: Observer | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the selected student's scores per split, as in ``metrics.json``: figures, intervals, classes, calibration.

    Args:
        run: a run or its folder.
        data: another data set with the same classes; by default the run's own.
        split: ``train``, ``val`` or ``test``; by default val and test, where there is one.
        task: ``classes``, or ``compound``: the student knows basic emotions, and the classes of ``data`` are pairs of
            them; its two best classes are compared with the pair, by default on the test split. The run's own accuracy
            and UAR on its basic test images stand beside that.
        teacher: ask the run's teacher as well, for the figures beside a teacher. Where the run kept the teacher's
            answers to these very images, they are taken from there, asked for or not.
        mirrored: test-time augmentation: show each image as it is and mirrored, and average the probabilities.
        corruptions: judge the student also on images that are spoilt in 15 usual ways at 5 strengths each; under
            ``corruptions``, see :mod:`dropkd.data.corruptions`.
        kept: compute everything from the run's ``predictions.parquet``, without the network and the images.
        batch_size: images at a time; it does not change the answers.
        device: where to compute.
        workers: processes that read images.
        observer: hears of progress.

    Raises:
        DataError: other classes than the student's, several labels an image where it knows one or the reverse, no pairs
            of its classes for ``compound``, or no such split.
        ConfigError: an unknown task, or things that can't be asked for together.
        RunError: there are no predictions, or the teacher can't be opened again.
    """
    if task not in _TASKS:
        raise ConfigError(f"unknown task {task!r}. There are: {', '.join(_TASKS)}.{did_you_mean(task, _TASKS)}")
    wishes = {"data": data, "teacher": teacher, "mirrored": mirrored, "corruptions": corruptions}
    _refuse_together(kept, task, {name: bool(wish) for name, wish in wishes.items()})
    opened = run if isinstance(run, Run) else Run.open(run)
    if kept:
        there = read_kept_answers(opened.folder / "predictions.parquet")
        _check_own(opened, there)
        return {name: judge_kept(there[name]) for name in _choose(split, there)}
    judge = _Judge(opened, batch_size, choose_device(device), workers, mirrored, observer or Observer())
    images = opened.open_data(data)
    splits = {part.name: part for part in images.splits}
    names = _choose(split, splits)
    if task == "compound":
        # No compound image was trained on, so nothing is told by images that are cut from their training images.
        names = names if split is not None else names[-1:]
        return _judge_compound(judge, images, {name: splits[name] for name in names})
    _check_classes(images, judge.network)
    expert = _open_expert(opened, images, judge) if teacher else None
    scores = {}
    for name in names:
        scores[name] = judge_answers(judge.ask(splits[name], f"Evaluating {name}"), judge.hear(splits[name], expert))
        if corruptions:
            scores[name]["corruptions"] = judge.spoil(splits[name])
    return scores


@dataclass(frozen=True)
class _Judge:
    """Asks a run's student about images.

    Args:
        run: whose student.
        batch_size: images at a time.
        device: where to compute.
        workers: processes that read images.
        mirrored: average the answers to an image and its mirror image.
        observer: hears of progress.
    """

    run: Run
    batch_size: int
    device: torch.device
    workers: int
    mirrored: bool
    observer: Observer

    @cached_property
    def network(self) -> Network:
        """The student, opened once."""
        return self.run.network().to(self.device)

    @cached_property
    def _kept(self) -> Mapping[str, KeptAnswers]:
        """What the run keeps of its answers, read once; nothing where it keeps none."""
        file = self.run.folder / "predictions.parquet"
        return read_kept_answers(file) if file.is_file() else {}

    def ask(self, split: Split, phase: str, network: Network | None = None, **loading: Any) -> Answers:
        """Return a network's answers, the student's by default."""
        asked = network or self.network
        loader = frame_loader(asked, split, batch_size=self.batch_size, workers=self.workers, **loading)
        progress = partial(self.observer.on_phase, phase)
        return answer_split(asked, loader, self.device, progress=progress, mirrored=self.mirrored)

    def hear(self, split: Split, expert: Network | None) -> Opinion | None:
        """Return the teacher's answers; without a teacher those that the run kept, if they are to these very images."""
        if expert is not None:
            return opinion_of(self.ask(split, f"Teacher, {split.name}", expert))
        answers = self._kept.get(split.name)
        return None if answers is None or answers.paths != split.relative_paths else answers.teacher

    def spoil(self, split: Split) -> dict[str, Any]:
        """Return the student's figure on spoilt images, by kind and strength."""
        by_kind: dict[str, list[float]] = {}
        key = "map" if self.network.spec.multi_label else "accuracy"
        for kind in corruption_kinds():
            for strength in STRENGTHS:
                answers = self.ask(split, f"{split.name}, {kind} {strength}", change=partial(corrupt, kind, strength))
                by_kind.setdefault(kind, []).append(score_answers(answers)[key])
        means = [sum(values) / len(values) for values in by_kind.values()]
        return {"figure": key, "mean": sum(means) / len(means), "kinds": by_kind}


def _refuse_together(kept: bool, task: str, wishes: Mapping[str, bool]) -> None:
    asked = [name for name, wish in wishes.items() if wish and name != "data"]
    if kept and (task != "classes" or any(wishes.values())):
        raise ConfigError(
            "What the run kept are its own answers to its own images: leave out other data, tasks, the teacher, "
            "mirrored and spoilt images, or ask the network."
        )
    if task == "compound" and asked:
        raise ConfigError(f"compound emotions are judged without {', '.join(asked)}.")


def _check_own(opened: Run, there: Mapping[str, KeptAnswers]) -> None:
    """Raise where the answers can't be those of the run, as where the file is another run's."""
    classes, splits = opened.metrics.get("classes"), opened.metrics.get("splits", {})
    for name, answers in there.items():
        images, found = splits.get(name, {}).get("images", len(answers.paths)), len(answers.paths)
        known = answers.student.probabilities.shape[1]
        other = f"{found:,} images instead of {images:,}" if found != images else ""
        if classes is not None and known != len(classes):
            other = f"{known:,} classes instead of {len(classes):,}"
        if other:
            raise RunError(
                f"predictions.parquet of {str(opened.folder)!r} holds the answers to other images than this run's "
                f"{name} images: {other}. Ask the network, without --kept."
            )


def _choose(split: str | None, there: Mapping[str, Any]) -> list[str]:
    if split is not None:
        require_split(split, there)
    return [split] if split is not None else [name for name in there if name != "train"]


def _judge_compound(judge: _Judge, images: ImageData, splits: Mapping[str, Split]) -> dict[str, dict[str, Any]]:
    if images.multi_label or judge.network.spec.multi_label:
        raise DataError("compound emotions are judged on images with one class each, not with several labels.")
    pairs = pair_compound_classes(judge.network.spec.classes or (), images.classes)
    scores = {}
    for name, split in splits.items():
        answers = judge.ask(split, f"Evaluating {name}")
        figures = score_compound(answers.logits, answers.target, pairs)
        scores[name] = {"images": len(answers.target), **figures, **_basic_figures(judge.run)}
    return scores


def _basic_figures(opened: Run) -> dict[str, float | None]:
    """Return what the run itself measured on its test images, or on its validation images where it had no others."""
    splits = opened.metrics.get("splits", {})
    measured = splits.get("test", splits.get("val", {}))
    return {f"basic_{name}": measured.get(name) for name in ("accuracy", "uar")}


def _open_expert(opened: Run, images: ImageData, judge: _Judge) -> Network:
    expert = None
    if opened.config.teacher is not None:
        expert = open_expert(opened.config, images, judge.network, None, judge.observer)
    if expert is None:
        raise RunError(
            f"{str(opened.folder)!r} names no teacher that could be asked: it had none, or one that was given as a "
            "module. Leave the teacher out."
        )
    return expert.to(judge.device)


def _check_classes(images: ImageData, network: Network) -> None:
    if images.multi_label != network.spec.multi_label:
        kinds = ("one class", "several labels") if images.multi_label else ("several labels", "one class")
        raise DataError(
            f"The student was trained on images with {kinds[0]} each, and those of {str(images.root)!r} have "
            f"{kinds[1]}."
        )
    if network.spec.classes is not None and images.classes != network.spec.classes:
        absent = sorted(set(network.spec.classes) - set(images.classes))
        extra = sorted(set(images.classes) - set(network.spec.classes))
        raise DataError(
            f"The classes of {str(images.root)!r} are not those that the student was trained on: "
            f"absent {absent or 'none'}, unknown {extra or 'none'}."
        )
