"""Several students, or several seeds, by one command: what is asked for, and the tables that close it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dropkd.cli import options as flags
from dropkd.errors import ConfigError

if TYPE_CHECKING:
    from dropkd.config import Config
    from dropkd.group import RunGroup, Standing
    from dropkd.statistics.intervals import Spread

__all__ = ["assemble_members", "go_on_with_group", "is_group_asked", "parse_seeds", "run_group"]


def parse_seeds(text: str) -> list[int]:
    """Return the seeds that ``0-4`` or ``0,3,7`` names, or both at once.

    Raises:
        ConfigError: it is something else, or names a seed twice.

    Example:
        >>> parse_seeds("0-2,7")
        [0, 1, 2, 7]
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise ConfigError(f"--seeds must look like 0-4 or 0,3,7, got {text!r}.")
        # A slip of the finger must not fill the memory with numbers.
        if last - first >= 10_000 or last >= 2**32:
            raise ConfigError(f"--seeds: {part.strip()!r} are more seeds, or larger ones, than can be meant.")
        seeds += range(first, last + 1)
    twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if twice:
        raise ConfigError(f"--seeds {text}: {', '.join(map(str, twice))} stands there twice.")
    return seeds


def is_group_asked(parameters: Mapping[str, Any]) -> bool:
    """Whether a command line asks for more than one run."""
    return parameters.get("seeds") is not None or len(parameters.get("student") or ()) > 1


def assemble_members(parameters: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[tuple[str, int], Config]:
    """Return the configurations of a command line by student and seed.

    Args:
        parameters: those of the verb, by the names that its function gives them.
        defaults: values by dotted key for what the user left open.

    Raises:
        ConfigError: a line for each mistake.
    """
    students: Sequence[str | None] = parameters.get("student") or [None]
    twice = sorted({name for name in students if name is not None and students.count(name) > 1})
    if twice:
        raise ConfigError(f"--student {twice[0]} is given twice. More runs of it come from more --seeds.")
    seeds: Sequence[int | None] = [parameters.get("seed")]
    if parameters.get("seeds") is not None:
        if parameters.get("seed") is not None:
            raise ConfigError("--seed and --seeds are both given. Name all seeds by --seeds.")
        seeds = parse_seeds(parameters["seeds"])
    found: dict[tuple[str, int], Config] = {}
    for student in students:
        for seed in seeds:
            own = {**parameters, "student": student, "seed": seed, "output": None}
            config = flags.assemble_config(own, defaults=defaults)
            found[config.student.name, config.seed] = config
    return found


def run_group(
    configs: Mapping[tuple[str, int], Config],
    output: Path | None,
    *,
    side_by_side: bool,
    overwrite: bool = False,
    dry_run: bool = False,
) -> None:
    """Carry out a group, or only say what it would do, and print the outcome."""
    from dropkd.cli.console import output as console
    from dropkd.cli.progress import Progress
    from dropkd.cli.training import run_config
    from dropkd.many import list_members, run_many

    members = list_members(configs)
    if dry_run:
        # Of each student the first run: its other seeds take as long.
        firsts = {member.label: member.config for member in reversed(members)}
        for label in dict.fromkeys(member.label for member in members):
            run_config(firsts[label], dry_run=True)
        names = ", ".join(member.name for member in members)
        console.print(f"{len(members)} runs: {names}", markup=False, soft_wrap=True)
        return
    with Progress() as progress:
        group = run_many(members, output=output, side_by_side=side_by_side, overwrite=overwrite, observer=progress)
    _close(group)


def go_on_with_group(folder: Path) -> None:
    """Go on with a group that was stopped, and print the outcome."""
    from dropkd.cli.progress import Progress
    from dropkd.many import resume_many

    with Progress() as progress:
        group = resume_many(folder, observer=progress)
    _close(group)


def _close(group: RunGroup) -> None:
    """Print what a group has reached; exit code 1 where a run failed."""
    from dropkd.cli.console import errors
    from dropkd.cli.tables import print_line

    summary = group.summary()
    _print_summary(summary)
    _print_runs(group, summary)
    print_line("group", group.folder)
    if (group.folder / "comparison.html").is_file():
        print_line("report", group.folder / "comparison.html")
    failures = group.failures
    for name, reason in failures.items():
        errors.print(f"failed: {name}: {reason}", markup=False, soft_wrap=True)
    if failures:
        errors.print(
            f"{len(failures)} of {len(group.on_disk().members)} runs failed. Try them again with: "
            f"dropkd resume {group.folder}",
            markup=False,
            soft_wrap=True,
        )
        raise typer.Exit(1)


def _print_summary(summary: Sequence[Standing]) -> None:
    from dropkd.cli.console import output
    from dropkd.cli.tables import FIGURES, add_row, make_table, print_heading

    splits = _list_splits(summary)
    table = make_table("student", "runs", *(f"{split}, mean \N{PLUS-MINUS SIGN} deviation" for split in splits))
    for standing in summary:
        done = max((spread.count for spread in standing.splits.values()), default=0)
        runs = f"{done}" if done == standing.runs else f"{done} of {standing.runs}"
        add_row(table, standing.label, runs, *(_say_spread(standing.splits.get(split)) for split in splits))
    output.print()
    print_heading(f"{_join(FIGURES[kind] for kind in dict.fromkeys(s.figure for s in summary))} over seeds")
    output.print(table)


def _print_runs(group: RunGroup, summary: Sequence[Standing]) -> None:
    from dropkd.cli.console import output
    from dropkd.cli.tables import add_row, make_table, say_percent

    splits, figures = _list_splits(summary), {standing.label: standing.figure for standing in summary}
    disk, failures = group.on_disk(), group.failures
    table = make_table("run", "epoch", *splits)
    teachers: dict[tuple[str, ...], str] = {}
    order = list(figures)
    for member in sorted(disk.members, key=lambda member: order.index(member.label)):
        metrics = group.runs[member.name].metrics if member.name in group.runs else {}
        figure = figures[member.label]
        scores = [say_percent(metrics.get("splits", {}).get(split, {}).get(figure)) for split in splits]
        epoch = str(metrics["selected"]["epoch"] + 1) if metrics else ("failed" if member.name in failures else "-")
        add_row(table, member.name, epoch, *scores)
        teacher = metrics.get("teacher") or {}
        if teacher.get("splits"):
            known = tuple(say_percent(teacher["splits"].get(split, {}).get(figure)) for split in splits)
            teachers[known] = teacher["source"]
    for known, source in teachers.items():
        add_row(table, "teacher" if len(teachers) == 1 else f"teacher {source}", "", *known)
    output.print(table)


def _list_splits(summary: Sequence[Standing]) -> list[str]:
    found = {split for standing in summary for split in standing.splits}
    return [split for split in ("val", "test") if split in found]


def _say_spread(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    deviation = "" if spread.deviation is None else f" \N{PLUS-MINUS SIGN} {100 * spread.deviation:.2f}"
    return f"{100 * spread.mean:.2f}{deviation} %"


def _join(words: Any) -> str:
    return " and ".join(words)
