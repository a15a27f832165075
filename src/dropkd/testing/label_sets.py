"""A clause about images with several labels, for classes that say which of their terms can do with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from dropkd.errors import DropKDError
from dropkd.testing.bench import Bench

__all__ = ["check_label_sets"]


def check_label_sets(bench: Bench) -> Iterator[str]:
    """Images with several labels, or none."""
    if bench.cls.single_label_terms is None:
        return
    classes, samples = bench.pair.num_classes, 0 if bench.pair.targets is None else len(bench.pair.targets)
    # None, one or several of each image, in turn.
    marks = ((torch.arange(samples)[:, None] + 1) % (torch.arange(classes) + 2) == 0).float()
    marks[0] = 0
    bench = replace(bench, pair=replace(bench.pair, targets=marks, multi_label=True))
    taken = bench.cls.find_multi_label_terms()
    if bench.cls.terms and not taken:
        return
    try:
        method = bench.build()
    except DropKDError as error:
        if not bench.options:
            words = f"single_label_terms leaves out {', '.join(sorted(taken))}"
            yield f"{words}, but with several labels it refuses: {error}"
        return
    method.restrict_terms(taken)
    batch = bench.batch(method)
    found = method(bench.student(method), bench.teacher(method), replace(batch, target=marks[batch.index]))
    for name, value in found.items():
        if value.ndim or not value.isfinite():
            yield f"with several labels the term {name!r} must be a finite scalar, got {value}"
