"""Checks a data set before anything is trained on it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropkd.data.check.classes import find_odd_classes
from dropkd.data.check.copies import find_copies, find_near_copies
from dropkd.data.check.files import find_bad_files, find_left_out
from dropkd.data.check.findings import LEVELS, Finding, Item
from dropkd.data.check.gathering import Gathered, assign_splits, gather
from dropkd.data.check.hashing import can_hash
from dropkd.data.check.looks import Looks, look_at_all
from dropkd.data.check.pictures import choose_samples, find_shown, shrink_pictures
from dropkd.data.check.result import DataCheck, SizeRange
from dropkd.data.check.sizes import find_odd_images
from dropkd.data.check.subject import Subject
from dropkd.data.check.twins import find_near, find_same
from dropkd.data.source import read_source
from dropkd.errors import ConfigError

__all__ = ["DEFAULT_NEAR", "MOST_NEAR", "check_data"]

# Measured on copies and on distinct images, see docs/data-check.md.
DEFAULT_NEAR = 24
# From here on, most pairs of any two images would have to be compared.
MOST_NEAR = 64

_Progress = Callable[[str, int, int], None]


def check_data(
    data: str | Path,
    *,
    near: int | None = DEFAULT_NEAR,
    seed: int = 0,
    validation_fraction: float = 0.1,
    workers: int | None = None,
    samples: int = 6,
    progress: _Progress | None = None,
) -> DataCheck:
    """Look at every image of a data set and tell what would break training, or make its figures wrong.

    Every file is read and decoded once, one at a time; some 500 bytes are kept of each. Splits that the data set does
    not come with are cut as training would cut them with the same seed and fraction.

    Args:
        data: the data set, in any form that training takes.
        near: the most bits of 256 in which the perceptual hashes of near duplicates differ; None looks for equal images
            only, and so does a missing imagehash.
        seed: picks the images of the splits that are cut, and the samples.
        validation_fraction: the share of the images that a split which is cut gets.
        workers: threads that decode; None decides by the size of the files.
        samples: how many images of each class to keep small copies of.
        progress: called with what is done, how much of it so far and of all.

    Raises:
        DataError: there is nothing to check, or it can't be listed.
        ConfigError: an option is out of range.
    """
    if near is not None and not 0 <= near <= MOST_NEAR:
        raise ConfigError(f"near: must be 0 to {MOST_NEAR} bits of 256, got {near}.")
    if workers is not None and workers < 1:
        raise ConfigError(f"workers: must be at least 1, got {workers}.")
    started = time.monotonic()
    tell = progress or (lambda name, done, total: None)
    gathered = gather(read_source(data))
    # What is left out of a folder is told in full as findings.
    known = gathered.tree is not None
    notes = [note for note in gathered.listing.notes if not (known and note.startswith("ignored "))]
    subject, refusal = assign_splits(gathered.listing, seed, validation_fraction, notes)
    hashing = near is not None and can_hash()
    looks = look_at_all(subject, hashing=hashing, workers=workers, progress=lambda *n: tell("reading images", *n))
    findings = list(_find_all(gathered, refusal, subject, looks, near if hashing else None, tell))
    if near is not None and not hashing:
        findings.append(_tell_no_hashes())
    findings.sort(key=lambda finding: LEVELS.index(finding.level))
    chosen = choose_samples(subject, looks.readable, samples, seed)
    return DataCheck(
        str(data), str(gathered.listing.root), gathered.listing.classes,
        {name: tuple(subject.count(name).tolist()) for name in subject.split_names},
        len(subject), int(looks.readable.sum()), _measure(looks),
        dict(Counter(kind for kind in looks.formats if kind).most_common()),
        dict(Counter(mode for mode in looks.modes if mode).most_common()),
        tuple(findings), tuple(notes), near if hashing else None, time.monotonic() - started,
        tuple(tuple(subject.refer(i) for i in rows) for rows in chosen),
        shrink_pictures(subject, _rows_to_show(subject, chosen, findings)),
    )  # fmt: skip


def _find_all(
    gathered: Gathered, refusal: str, subject: Subject, looks: Looks, near: int | None, tell: _Progress
) -> Iterator[Finding]:
    refusals = tuple(Item(text) for text in (gathered.refusal, refusal) if text)
    if refusals:
        yield Finding("refused", "error", "training would refuse this data", "", refusals)
    yield from find_bad_files(gathered, subject, looks)
    yield from find_odd_classes(subject, gathered.tree)
    same = find_same(looks)
    yield from find_copies(same, looks, subject)
    if near is not None:
        copies = find_near(looks, subject, near, lambda *n: tell("comparing", *n))
        yield from find_near_copies(copies, subject)
        if copies.radius < near:
            yield Finding(
                "near-narrowed", "note", f"near copies were looked for within {copies.radius} bits, not {near}",
                "So many smooth images are too much alike to compare all that are further apart.",
            )  # fmt: skip
    if gathered.tree is not None:
        yield from find_left_out(gathered.tree)
    yield from find_odd_images(looks, subject)


def _tell_no_hashes() -> Finding:
    return Finding(
        "near-not-searched", "note", "near duplicates were not looked for", 'That needs: pip install "dropkd[check]"'
    )


def _measure(looks: Looks) -> SizeRange | None:
    sizes: NDArray[np.int64] = looks.sizes[looks.readable].astype(np.int64)
    if not len(sizes):
        return None
    order = np.argsort(sizes.prod(axis=1), kind="stable")
    smallest, largest = (tuple(sizes[order[k]].tolist()) for k in (0, -1))
    height, width = np.median(sizes, axis=0).astype(int).tolist()
    return SizeRange(smallest, (height, width), largest)


def _rows_to_show(subject: Subject, chosen: Sequence[Sequence[int]], findings: Sequence[Finding]) -> list[int]:
    shown = find_shown(findings)
    rows = {i for row in chosen for i in row}
    rows.update(i for i, path in enumerate(subject.listing.relative) if path in shown)
    return sorted(rows)
