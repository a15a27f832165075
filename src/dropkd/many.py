"""Many students of one teacher: what the command line calls, and what a notebook calls just as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dropkd.config import Config, load_config
from dropkd.engine.group_folder import GroupFolder, Member
from dropkd.engine.group_running import GroupRunner
from dropkd.engine.group_starting import open_group
from dropkd.engine.observer import Observer
from dropkd.group import RunGroup
from dropkd.models.teachers.given import Teachers, as_given, count_teachers, name_teachers
from dropkd.report import write_comparison, write_run_report

__all__ = ["distill_many", "list_members", "resume_many", "run_many"]


def distill_many(
    data: str | Path,
    *,
    teacher: Teachers,
    students: Sequence[str],
    seeds: Sequence[int] = (0,),
    variants: Mapping[str, Mapping[str, Any]] | None = None,
    method: str = "dropkd",
    output: str | Path | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    lr: float | None = None,
    device: str | None = None,
    pretrained: bool | None = None,
    settings: Mapping[str, Any] | None = None,
    side_by_side: bool = True,
    overwrite: bool = False,
    observer: Observer | None = None,
) -> RunGroup:
    """Distil one teacher into each student with each seed, and return the group of runs.

    The data set and the teacher are opened once. All runs have the same validation images and random views, so the
    teacher is asked about each view once: runs that see the same batches are trained side by side, and runs with other
    orders read its answers from disk. The numbers of a run are those that it has alone. A run that fails does not stop
    the others. Called again with the same runs, or more of them, it goes on, and repeats nothing that is finished.

    Args:
        data: as in :func:`dropkd.distill`, and so are the arguments that are not listed here.
        teacher: the one teacher, in any form that :func:`dropkd.distill` takes.
        students: model names.
        seeds: of each student; the first one is also that of the views and the validation images.
        variants: settings by dotted key for each named variant, which every student is trained in, as in
            ``{"half": {"method.feature_rate_teacher": 0.5}}``.
        method: a method's name, see ``dropkd methods``.
        output: the group's folder; by default under ``runs/``.
        epochs: passes over the training images.
        batch_size: images a step.
        image_size: pixels that the students are fed, one number or (height, width).
        lr: peak learning rate.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        pretrained: whether students start from their published weights where there are any; True by default.
        settings: anything else of the configuration by its dotted key, ``{"method.temperature": 2.0}``.
        side_by_side: train runs that see the same batches together, as far as the memory goes.
        overwrite: replace a group that is there already.
        observer: hears of progress.

    Raises:
        DropKDError: anything that the caller has to mend, before anything is written. What goes wrong in a run later on
            is among the group's ``failures``.
        Interrupted: SIGTERM or Ctrl-C came; the same call, or :func:`resume_many`, goes on.
    """
    flags = {
        "data.path": str(data),
        "data.image_size": image_size,
        "student.pretrained": pretrained,
        "teacher.source": name_teachers(teacher),
        "teacher.each": True if count_teachers(teacher) > 1 else None,
        "method.name": method,
        "training.epochs": epochs,
        "training.batch_size": batch_size,
        "training.lr": lr,
        "device": device,
        **(settings or {}),
    }
    configs: dict[tuple[str, int], Config] = {}
    for student in students:
        for name, changes in (variants or {"": {}}).items():
            for seed in seeds:
                label = f"{student}, {name}" if name else student
                own = {"student.name": student, "seed": seed, **changes}
                configs[label, seed] = load_config(flags={**flags, **own})
    return run_many(
        list_members(configs),
        output=None if output is None else Path(output),
        side_by_side=side_by_side,
        overwrite=overwrite,
        observer=observer,
        teacher=teacher,
    )


def list_members(configs: Mapping[tuple[str, int], Config]) -> list[Member]:
    """Return the runs of a group, each with a name that makes a folder.

    Args:
        configs: by label, such as the student's name, and seed.

    Example:
        >>> config = load_config(flags={"data.path": "photos", "student.name": "timm/resnet18"})
        >>> [member.name for member in list_members({("timm/resnet18", 3): config})]
        ['timm-resnet18-seed3']
    """
    members: dict[str, Member] = {}
    for (label, seed), config in configs.items():
        safe = "".join(c if c.isalnum() or c in "._+=" else "-" for c in label).strip("-.").replace("--", "-")
        stem, number = f"{safe}-seed{seed}", 1
        while (name := stem if number == 1 else f"{stem}-{number}") in members:
            number += 1
        members[name] = Member(name, label, config)
    return list(members.values())


def run_many(
    members: Sequence[Member],
    *,
    output: Path | None = None,
    side_by_side: bool = True,
    overwrite: bool = False,
    observer: Observer | None = None,
    teacher: Teachers | None = None,
) -> RunGroup:
    """Carry out several configurations as one group; see :func:`distill_many`.

    Args:
        members: the runs.
        output: the group's folder; None finds one under ``runs/``.
        side_by_side: train runs that see the same batches together, as far as the memory goes.
        overwrite: replace a group that is there already.
        observer: hears of progress.
        teacher: a module, or a function from images to logits, to learn from instead of opening what the
            configurations name.

    Raises:
        DropKDError: anything that the caller has to mend, before anything is written.
        Interrupted: SIGTERM or Ctrl-C came; the same call goes on.
    """
    return _carry_out(open_group(members, output, overwrite=overwrite), side_by_side, observer, teacher)


def resume_many(
    folder: str | Path,
    *,
    side_by_side: bool = True,
    observer: Observer | None = None,
    teacher: Teachers | None = None,
) -> RunGroup:
    """Go on with a group that was stopped; runs that are finished stay as they are, those that failed are tried again.

    Raises:
        RunError: it is no group's folder, or its list of runs is damaged.
    """
    return _carry_out(GroupFolder.open(Path(folder)), side_by_side, observer, teacher)


def _carry_out(group: GroupFolder, side_by_side: bool, observer: Observer | None, teacher: Teachers | None) -> RunGroup:
    runner = GroupRunner(
        group,
        observer or Observer(),
        side_by_side=side_by_side,
        teacher=as_given(teacher),
        on_closed=_report,
    )
    try:
        runner.run()
    finally:
        opened = RunGroup(group.path)
        finished = [run.folder for run in opened.runs.values()] if (group.path / "group.yaml").is_file() else []
        if len(finished) > 1:
            write_comparison(finished, group.path / "comparison.html")
    return opened


def _report(folder: Path) -> None:
    write_run_report(folder)
