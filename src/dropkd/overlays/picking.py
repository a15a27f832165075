"""Which images of a run are shown, and which class is asked about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from torch import Tensor

from dropkd.data import Split
from dropkd.data.labels import Targets
from dropkd.engine.judging import read_kept_answers
from dropkd.errors import ConfigError, did_you_mean
from dropkd.models import Network
from dropkd.overlays.asking import judge_networks
from dropkd.overlays.choosing import Chosen, Verdicts, choose_rows, judge_shares
from dropkd.overlays.inputs import Teller
from dropkd.run import Run
from dropkd.statistics.arrays import IntArray

__all__ = ["choose_images", "class_chooser", "draw_rows"]

# Images that both networks are asked about where no answers were kept, to choose those that are shown.
_POOL = 400


def class_chooser(
    asked: str, names: Sequence[str], targets: Targets | None, several: bool
) -> Callable[[int, Tensor], int]:
    """Return what gives the class that an image is asked about, by its number and the student's logits."""
    if asked in ("true", "answer"):
        if asked == "answer" or targets is None:
            return lambda _row, logits: int(logits.argmax())
        return partial(_true_class, targets, several)
    if asked not in names:
        raise ConfigError(
            f"There is no class {asked!r} to ask about: 'true', 'answer' or one of the {len(names)} classes."
            f"{did_you_mean(asked, names)}"
        )
    number = list(names).index(asked)
    return lambda _row, _logits: number


def _true_class(targets: Targets, several: bool, row: int, logits: Tensor) -> int:
    """Return the true class; of several labels the one that the student finds least, and its answer where none is."""
    if not several:
        return int(targets[row])
    labels = np.flatnonzero(targets[row])
    return int(labels[int(logits[labels].argmin())]) if len(labels) else int(logits.argmax())


def choose_images(
    opened: Run,
    networks: dict[str, Network],
    split: Split,
    images: int,
    seed: int,
    is_files: bool,
    is_own: bool,
    teller: Teller,
) -> list[Chosen]:
    """Return the images that are shown."""
    if is_files:
        return [Chosen("Your images", "in the order in which they were given", len(split), tuple(range(len(split))))]
    verdicts, rows = _recall(opened, networks, split) if is_own else None, np.arange(len(split))
    if verdicts is None:
        rows = np.array(draw_rows(len(split), _POOL, seed), np.int64)
        order = [networks[who] for who in ("student", "teacher") if who in networks]
        judged = judge_networks(order, split.take(rows), partial(teller.observer.on_phase, "Choosing images"))
        verdicts = judged[0], judged[1] if len(judged) > 1 else None
        if len(rows) < len(split):
            teller.notes.append(
                f"The images are chosen among {len(rows)} of {len(split)}, drawn at random, since the run keeps no "
                "answers to them."
            )
    kinds = choose_rows(*verdicts, images, seed)
    return [Chosen(kind.title, kind.text, kind.total, tuple(int(rows[k]) for k in kind.rows)) for kind in kinds]


def _recall(opened: Run, networks: dict[str, Network], split: Split) -> tuple[Verdicts, Verdicts | None] | None:
    """Return how right the networks are by what the run kept; None where it did not keep answers to these images."""
    file = opened.folder / "predictions.parquet"
    answers = read_kept_answers(file).get(split.name) if file.is_file() else None
    if answers is None or answers.paths != split.relative_paths:
        return None
    student = judge_shares(answers.student.probabilities, split.targets)
    if "teacher" not in networks:
        return student, None
    return None if answers.teacher is None else (student, judge_shares(answers.teacher.probabilities, split.targets))


def draw_rows(there: int, wanted: int, seed: int) -> list[int]:
    """Return so many of the numbers below ``there``, drawn without replacement, in order."""
    rows: IntArray = np.random.default_rng(seed).permutation(there)[:wanted]
    found: list[int] = np.sort(rows).tolist()
    return found
