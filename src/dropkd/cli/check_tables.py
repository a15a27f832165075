"""How the check of a data set looks on a terminal: counts, then what breaks training, then the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from dropkd.cli.tables import add_row, make_table, mark_unprintable, say_time

if TYPE_CHECKING:
    from dropkd.data.check import DataCheck, Finding, ImageRef, Item

__all__ = ["print_check", "printable"]

_STYLES = {"error": "bold red", "warning": "bold yellow", "note": "bold"}
# More classes than this are told by the smallest and the largest ones.
_ALL_CLASSES, _ENDS = 30, 8
# Images of one case that are printed.
_IMAGES = 6


def print_check(check: DataCheck, console: Console, listed: int) -> None:
    """Print what was found, with up to ``listed`` cases of each finding."""
    unreadable = check.images - check.readable
    bad = f" ({unreadable:,} can't be read)" if unreadable else ""
    console.print(
        Text(f"{printable(check.data)}: {check.images:,} images{bad} of {len(check.classes):,} classes", style="bold"),
        soft_wrap=True,
    )
    _print_counts(check, console)
    if check.sizes is not None:
        smallest, median, largest = ("{1} x {0}".format(*size) for size in vars(check.sizes).values())
        _print_fact(console, "size", f"median {median}, smallest {smallest}, largest {largest}")
    if check.formats:
        _print_fact(console, "format", _say_counts(check.formats))
    for note in check.notes:
        _print_fact(console, "data", note)
    for finding in check.findings:
        _print_finding(finding, console, listed)
    console.print()
    console.print(Text(_sum_up(check), style="bold"))


def printable(text: str) -> str:
    """Return a text without what a terminal would obey; bytes of a file's name that are no text are spelt out."""
    return mark_unprintable(text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))


def _print_counts(check: DataCheck, console: Console) -> None:
    splits = list(check.counts)
    table = make_table("class", *splits)
    totals = [sum(check.counts[split][k] for split in splits) for k in range(len(check.classes))]
    rows = list(range(len(check.classes)))
    left_out = 0
    if len(rows) > _ALL_CLASSES:
        by_size = sorted(rows, key=lambda k: (totals[k], k))
        left_out = len(rows) - 2 * _ENDS
        rows = by_size[:_ENDS] + by_size[-_ENDS:]
    for place, k in enumerate(rows):
        if left_out and place == _ENDS:
            add_row(table, f"... {left_out:,} more (all: --json, --page)", *("" for _ in splits))
        add_row(table, printable(check.classes[k]), *(f"{check.counts[split][k]:,}" for split in splits))
    table.add_section()
    add_row(table, check.total_name, *(f"{sum(check.counts[split]):,}" for split in splits))
    train = [count for count in check.counts.get("train", ()) if count]
    if train:
        console.print(table)
        _print_fact(console, "train", f"{min(train):,} to {max(train):,} images a class")
    elif check.classes:
        console.print(table)


def _print_finding(finding: Finding, console: Console, listed: int) -> None:
    console.print()
    console.print(Text.assemble((f"{finding.level}: ", _STYLES[finding.level]), (finding.title, "bold")))
    for item in finding.items[:listed]:
        if not item.images:
            console.print(Padding(Text(printable(item.text)), (0, 0, 0, 2), expand=False))
        for line in _lines_of(item):
            # A path that is not broken can be copied.
            console.print(Text(f"  {line}"), soft_wrap=True)
    more = len(finding.items) - listed
    if more > 0:
        console.print(f"  and {more:,} more")
    if finding.advice:
        console.print(Padding(Text(finding.advice, style="italic"), (0, 0, 0, 2), expand=False))


def _lines_of(item: Item) -> list[str]:
    lines = [_say_image(image) for image in item.images[:_IMAGES]]
    if len(item.images) > _IMAGES:
        lines.append(f"and {len(item.images) - _IMAGES:,} more images")
    remark = item.text
    if item.distance is not None and not remark:
        remark = f"{item.distance} of 256 bits differ"
    if not lines:
        return []
    head = f"{lines[0]}: {printable(remark)}" if remark else lines[0]
    return [head, *(f"  {line}" for line in lines[1:])]


def _say_image(image: ImageRef) -> str:
    about = ", ".join(part for part in (image.split if image.split != "all" else "", image.label) if part)
    return printable(f"{image.path} ({about})" if about else image.path)


def _print_fact(console: Console, name: str, text: str) -> None:
    console.print(Text.assemble((f"{name:<7}", "bold"), printable(text)))


def _say_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _sum_up(check: DataCheck) -> str:
    parts = []
    for level in ("error", "warning", "note"):
        number = len(check.of_level(level))
        parts.append(f"{number} {level if number == 1 else level + 's'}")
    return f"{', '.join(parts)}; {check.images:,} images in {say_time(check.seconds)}."
