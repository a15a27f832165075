"""Where a run's student and its teacher look: maps of some images side by side, and how much they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from dropkd.engine.fabric import choose_device
from dropkd.engine.observer import Observer
from dropkd.errors import ConfigError
from dropkd.models import Network
from dropkd.overlays.agreement import Agreement, measure_agreement
from dropkd.overlays.asking import Pairing, ask_networks, open_viewers
from dropkd.overlays.choosing import Chosen
from dropkd.overlays.faithfulness import Faithfulness, sum_up_costs
from dropkd.overlays.inputs import Teller, open_inputs
from dropkd.overlays.picking import choose_images, class_chooser, draw_rows
from dropkd.overlays.result import ExplainedGroup, Explanation, check_replaceable
from dropkd.overlays.showing import Painter
from dropkd.overlays.viewing import check_way
from dropkd.run import Run

__all__ = ["explain", "place_of"]

# What the folder in a run is called, that of the run's own images and that of files.
_OWN, _FILES = "overlays", "overlays-files"


def explain(
    run: Run | str | Path,
    *,
    teacher: str | Path | None = None,
    files: Sequence[str | Path] = (),
    data: str | Path | None = None,
    split: str | None = None,
    images: int = 12,
    way: str = "auto",
    asked: str = "true",
    compared: int = 32,
    output: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    observer: Observer | None = None,
) -> Explanation:
    """Show where a run's student and its teacher look, and keep it as a folder in the run, for the report.

    Args:
        run: a run or its folder.
        teacher: another network or run in the teacher's place; by default the run's own.
        files: images of your own instead of the run's.
        data: another data set with the same classes.
        split: by default test, else val.
        images: how many are shown.
        way: ``gradcam`` (Grad-CAM), ``hirescam`` (HiResCAM), ``occlusion`` or ``attention``; ``auto`` takes Grad-CAM
            where both networks are convolutional, and else occlusion for both.
        asked: the class that both are asked about: ``true``, ``answer`` (the student's) or a class's name. Files have
            no true class, so there ``true`` is the student's answer too.
        compared: images drawn at random that it is measured on how much the two agree, and how true the maps are.
        output: the folder; by default ``overlays`` in the run folder, or ``overlays-files`` for files.
        seed: of the draws.
        device: where to compute.
        observer: hears of progress and of what is left out.

    Raises:
        RunError: no run, an unfinished one, or a folder that can't be written.
        DataError: no such split, other classes, or no such file.
        ModelError: a network that can't be opened, or not asked in this way.
        ConfigError: an unknown way or class.
    """
    check_way(way)
    for name, count in (("images", images), ("compared", compared)):
        if count < 0:
            raise ConfigError(f"{name} must be 0 or more, got {count}.")
    if not images and not compared and not files:
        raise ConfigError("images and compared are both 0: there is nothing to ask about.")
    opened = run if isinstance(run, Run) else Run.open(run)
    student = opened.network()
    folder = place_of(opened.folder, output, bool(files))
    check_replaceable(folder)
    teller = Teller(observer or Observer())
    # Networks are built with random weights before theirs are loaded.
    with torch.random.fork_rng():
        there, expert = open_inputs(opened, student, teacher, files, data, split, teller)
    where = choose_device(device)
    networks: dict[str, Network] = {} if expert is None else {"teacher": expert.to(where)}
    networks["student"] = student.to(where)
    several = student.spec.multi_label
    names = student.spec.classes or tuple(f"class {k}" for k in range(student.shapes.logits))
    choose_class = class_chooser(asked, names, None if files else there.targets, several)
    taken, viewers = open_viewers(networks, way, there, multi_label=several, say=teller.note)
    kinds = choose_images(opened, networks, there, images, seed, bool(files), teacher is None, teller)
    drawn = [] if files else draw_rows(len(there), compared, seed)
    # An image that is both shown and drawn is asked about once.
    rows = np.array(list(dict.fromkeys([row for kind in kinds for row in kind.rows] + drawn)), np.int64)
    answers = ask_networks(
        viewers,
        there.take(rows),
        lambda row, logits: choose_class(int(rows[row]), logits),
        student,
        partial(teller.observer.on_phase, "Looking"),
    )
    pairings = dict(zip(rows.tolist(), answers, strict=True))
    painter = Painter(there, names, several, is_labelled=not files)
    told = {
        who: {"name": _name(opened, who, viewer.network, teacher), "read_at": viewer.describe()}
        for who, viewer in viewers.items()
    }
    at_random = [pairings[row] for row in drawn]
    found = Explanation(
        taken, "answer" if files and asked == "true" else asked, there.name, several, told,
        tuple(_show(kind, painter, pairings) for kind in kinds), _check(at_random), _agree(at_random),
        tuple(teller.notes),
    )  # fmt: skip
    found.save(folder)
    return found


def place_of(run_folder: Path, output: str | Path | None, of_files: bool) -> Path:
    """Return the folder that overlays are kept in; see :func:`explain`."""
    return Path(output) if output is not None else run_folder / (_FILES if of_files else _OWN)


def _show(kind: Chosen, painter: Painter, pairings: Mapping[int, Pairing]) -> ExplainedGroup:
    images = tuple(painter.show(row, pairings[row]) for row in kind.rows)
    return ExplainedGroup(kind.title, kind.text, kind.total, images)


def _agree(pairings: Sequence[Pairing]) -> Agreement | None:
    maps = [shared for pairing in pairings if (shared := pairing.shared()) is not None]
    return measure_agreement([one for one, _ in maps], [other for _, other in maps], len(pairings) - len(maps))


def _check(pairings: Sequence[Pairing]) -> dict[str, Faithfulness]:
    found = {}
    for who in pairings[0].views if pairings else ():
        costs = [costs for pairing in pairings if (costs := pairing.views[who].costs) is not None]
        if (summed := sum_up_costs(costs)) is not None:
            found[who] = summed
    return found


def _name(opened: Run, who: str, network: Network, teacher: str | Path | None) -> str:
    if who == "student":
        return network.spec.name
    if teacher is not None:
        return str(teacher)
    return network.spec.name if opened.config.teacher is None else opened.config.teacher.source
