"""The tables of what a student loses by learning from a teacher's cache."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from record import describe_machine
from short_training import format_spread

__all__ = ["LIVE", "compare_with_live", "print_tables", "summarise", "write_summary"]

LIVE = "live"
# Student's t, 97.5 %, by degrees of freedom.
_T_QUANTILES = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}
Runs = Mapping[tuple[str, str, int], Mapping[str, Any]]


def print_tables(results: Sequence[Mapping[str, Any]]) -> None:
    """Print a row for each method and setting: what students reach, and what becomes of the losses."""
    rows = summarise(results)
    print("| method | setting | seeds | accuracy | against live |\n|---|---|---|---|---|")
    for row in rows["runs"]:
        print(f"| {row['method']} | {row['setting']} | {row['seeds']} | {row['accuracy']} | {row['against_live']} |")
    losses = rows["losses"]
    settings = list(dict.fromkeys(row["setting"] for row in losses))
    print(f"\n| method | {' | '.join(settings)} |\n|---|{'---|' * len(settings)}")
    by_method: dict[str, dict[str, str]] = {}
    for row in losses:
        by_method.setdefault(row["method"], {})[row["setting"]] = _format_change(row)
    for method, cells in by_method.items():
        print(f"| {method} | {' | '.join(cells.get(setting, '') for setting in settings)} |")


def summarise(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the tables hold."""
    runs = {(r["method"], r["setting"], r["seed"]): r for r in results if "test" in r}
    pairs = list(dict.fromkeys((method, setting) for method, setting, _ in runs))
    return {
        "runs": [_summarise_setting(runs, method, setting) for method, setting in pairs],
        "losses": [row for row in results if "loss_change" in row],
    }


def _summarise_setting(runs: Runs, method: str, setting: str) -> dict[str, Any]:
    seeds = sorted(seed for m, s, seed in runs if (m, s) == (method, setting))
    own = [100 * runs[method, setting, seed]["test"] for seed in seeds]
    live = [100 * runs[method, LIVE, seed]["test"] for seed in seeds if (method, LIVE, seed) in runs]
    against = "" if setting == LIVE or len(live) < len(own) else compare_with_live(own, live)
    return {
        "method": method, "setting": setting, "seeds": len(seeds), "accuracy": format_spread(own),
        "against_live": against,
    }  # fmt: skip


def compare_with_live(own: Sequence[float], live: Sequence[float]) -> str:
    """Return the mean difference at the same seeds with its 95 % interval.

    Example:
        >>> compare_with_live([80.0, 81.0, 82.0], [81.0, 81.0, 81.0])
        '+0.00 ± 2.48'
    """
    differences = [one - other for one, other in zip(own, live, strict=True)]
    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return f"{mean:+.2f}"
    half = _T_QUANTILES[len(differences) - 1] * statistics.stdev(differences) / len(differences) ** 0.5
    return f"{mean:+.2f} ± {half:.2f}"


def _format_change(row: Mapping[str, Any]) -> str:
    cka = "" if row["cka"] is None else f", {row['cka']:.4f}"
    return f"{row['loss_change']:.0e}, {row['gradient_change']:.0e}{cka}"


def write_summary(path: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Write the tables with the machine, the versions and the commit."""
    path.write_text(json.dumps({**describe_machine(), **summarise(results)}, indent=2) + "\n")
