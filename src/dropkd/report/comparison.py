"""The page that compares several runs on the same test images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dropkd.errors import RunError
from dropkd.report.cards import name_absent
from dropkd.report.comparison_charts import draw_accuracies, draw_validation
from dropkd.report.comparison_tables import tabulate_groups, tabulate_runs
from dropkd.report.contrast import contrast_groups
from dropkd.report.cost_scatter import weigh_costs
from dropkd.report.dropout_grid import draw_grids
from dropkd.report.groups import Group, group_runs, measure_gain
from dropkd.report.rendering import write_page
from dropkd.report.run_record import RunRecord, read_run
from dropkd.report.settings import differing_settings, repeat_command
from dropkd.report.standing import describe_standing
from dropkd.report.summary import SPLIT_NAMES
from dropkd.report.wording import join_words, plural

__all__ = ["write_comparison"]

_SPLITS = ("test", "val")
# A longer title would be a paragraph.
_LONGEST_TITLE = 48
# Keys that make a comparison unfair when they differ.
_BUDGET = ("training.epochs", "training.batch_size", "training.lr", "student.", "data.image_size", "data.augmentation")


def write_comparison(run_folders: Sequence[Path], output: Path) -> Path:
    """Write a page that compares runs, and return its path.

    Runs that differ in their seed alone are put together. A folder given twice counts once.

    Args:
        run_folders: two or more run folders; running and interrupted ones are shown without final figures.
        output: the file to write; its folder is made.

    Raises:
        RunError: fewer than two runs, a folder that is no run, or runs tested on different images.
    """
    folders = list(dict.fromkeys(Path(folder).resolve() for folder in run_folders))
    if len(folders) < 2:
        raise RunError(
            f"A comparison needs two or more different run folders, got {len(folders)}. "
            "For one run, `dropkd report RUN` writes its own page."
        )
    runs = [read_run(folder) for folder in folders]
    _check_same_test_set(runs)
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    return write_page(output, "comparison.html.j2", _describe_comparison(runs, output))


def _check_same_test_set(runs: Sequence[RunRecord]) -> None:
    hashes: dict[str, list[str]] = {}
    for run in runs:
        if run.metrics.get("test_sha256"):
            hashes.setdefault(str(run.metrics["test_sha256"]), []).append(str(run.folder))
    if len(hashes) > 1:
        told = "\n".join(f"  test_sha256 {key[:12]}: {', '.join(map(repr, where))}" for key, where in hashes.items())
        raise RunError(
            "These runs were tested on different images, so their figures can't be compared:\n"
            f"{told}\nCompare runs of the same data; `dropkd evaluate RUN DATA` tests a run on other data."
        )


def _describe_comparison(runs: Sequence[RunRecord], output: Path) -> dict[str, Any]:
    split = _common_split(runs)
    groups = group_runs(runs)
    plain_runs = [run for group in groups if group.is_plain for run in group.runs]
    plain_runs += [run.baseline for run in runs if run.baseline is not None]
    gains = [measure_gain(group, plain_runs, split) for group in groups]
    cards = contrast_groups(groups, _choose_reference(groups), split)
    ordered = [run for group in groups for run in group.runs]
    configs = [group.runs[0].config for group in groups]
    return {
        "headline": "mAP" if any(run.is_multi_label for run in runs) else "Accuracy",
        "title": f"{_name_groups(groups)} compared", "split_name": SPLIT_NAMES[split], "run_count": len(runs),
        "standing": describe_standing(groups, gains, split), "dots": draw_accuracies(groups, split),
        "group_rows": tabulate_groups(groups, gains, split), "run_rows": tabulate_runs(groups, gains, split, output),
        "trade_off": weigh_costs(groups, split), "grids": draw_grids(groups, split),
        "validation": draw_validation(groups), "cards": cards, "labels": [group.label for group in groups],
        "differences": [row for row in differing_settings(configs) if row[0] != "seed"],
        "commands": [(run.name, command) for run in ordered if (command := repeat_command(run))],
        "gaps": [*_find_gaps(runs), *_find_unequal_training(runs, configs), *name_absent(runs[0], cards)],
    }  # fmt: skip


def _choose_reference(groups: Sequence[Group]) -> Group:
    """Return the plain group of a student that others distil into, else the first plain one, else the first."""
    taught = {run.student_name for group in groups if not group.is_plain for run in group.runs}
    plain = [group for group in groups if group.is_plain]
    fitting = [group for group in plain if group.runs[0].student_name in taught]
    return next(iter([*fitting, *plain, *groups]))


def _common_split(runs: Sequence[RunRecord]) -> str:
    """Return the split that all runs with figures have figures of: test before val."""
    finished = [run for run in runs if run.split]
    for split in _SPLITS:
        if finished and all(run.score(split) is not None for run in finished):
            return split
    return _SPLITS[-1]


def _name_groups(groups: Sequence[Group]) -> str:
    labels = [group.label for group in groups]
    if len(labels) == 1:
        return f"{len(groups[0].runs)} runs of {labels[0]}"
    joined = join_words(labels)
    return joined if len(joined) <= _LONGEST_TITLE else plural(len(labels), "way", "ways") + " of training"


def _find_gaps(runs: Sequence[RunRecord]) -> list[str]:
    """Name what is missing by run; of an unfinished one only that it has not finished."""
    gaps = []
    for run in runs:
        if run.status in ("unfinished", "running"):
            state = "is being trained" if run.status == "running" else "has not finished"
            gaps.append(f"{run.name}: {state}, so it has no final figures.")
            continue
        if run.status == "interrupted":
            gaps.append(f"{run.name}: was interrupted; its figures are those of its best epoch until then.")
        gaps += [f"{run.name}: {gap}" for gap in run.gaps]
    return gaps


def _find_unequal_training(runs: Sequence[RunRecord], configs: Sequence[Any]) -> list[str]:
    """Name what makes runs unlike beside their method: their budget, or their training images at one seed."""
    notes = []
    keys = [key for key, _ in differing_settings(configs) if key.startswith(_BUDGET)]
    if keys:
        notes.append(f"These runs were not trained alike, which may explain differences: see {join_words(keys)} below.")
    images: dict[int | None, set[str]] = {}
    for run in runs:
        if run.metrics.get("train_sha256"):
            images.setdefault(run.seed, set()).add(str(run.metrics["train_sha256"]))
    notes += [
        f"The runs of seed {seed} were trained on different images." for seed, found in images.items() if len(found) > 1
    ]
    return notes
