"""Clauses about the terms: which are returned, and with what values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import torch
from torch import Tensor

from dropkd.testing.bench import Bench

__all__ = ["check_independence", "check_precision", "check_terms", "find_bad_values", "list_words"]


def check_terms(bench: Bench) -> Iterator[str]:
    """Its terms."""
    for active in bench.list_active():
        method = bench.build()
        method.restrict_terms(active)
        terms = bench.call(method)
        if set(terms) != active:
            yield (
                f"with the terms {list_words(active)} active it returns {list_words(terms)}: return the active terms, "
                "all of them and no others"
            )
        yield from find_bad_values(terms)


def check_independence(bench: Bench) -> Iterator[str]:
    """Its terms beside each other."""
    together = _call_repeatably(bench, frozenset(bench.cls.terms))
    for name, value in together.items():
        alone = _call_repeatably(bench, frozenset({name})).get(name, value)
        if not torch.allclose(alone, value, rtol=1e-4, atol=1e-6):
            yield (
                f"the term {name!r} is {alone.item():.6g} alone and {value.item():.6g} beside the others: compute each "
                "term in the same way, whichever others are active"
            )


def _call_repeatably(bench: Bench, active: frozenset[str]) -> dict[str, Tensor]:
    """Return the terms that random numbers don't change, in evaluation mode where those of training mode are random."""
    for is_training in (True, False):
        calls = []
        for seed in (0, 1):
            method = bench.build().train(is_training)
            method.restrict_terms(active)
            calls.append(bench.call(method, seed=seed))
        steady = {name: value for name, value in calls[0].items() if torch.equal(value, calls[1].get(name, value))}
        if len(steady) == len(active):
            break
    return steady


def check_precision(bench: Bench) -> Iterator[str]:
    """Its precision."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = bench.call(bench.build())
    for problem in find_bad_values(terms):
        yield f"under autocast to bfloat16 {problem}; dropkd.functional.precision.full_precision on forward mends it"
    method = bench.build().double()
    student, teacher = bench.student(method), bench.teacher(method)
    wide = (None if answer is None else answer.apply(Tensor.double) for answer in (student, teacher))
    remedy = "compute in the precision of the answers, and convert to float32 only what is of less"
    try:
        terms = method(*wide, bench.batch(method))
    except Exception as error:
        yield f"in double precision it raised {type(error).__name__}: {error}; {remedy}"
        return
    for problem in find_bad_values(terms, torch.float64):
        yield f"in double precision {problem}; {remedy}"


def find_bad_values(terms: Mapping[str, object], dtype: torch.dtype = torch.float32) -> Iterator[str]:
    """Yield what is wrong with the terms: each is a finite scalar of the answers' type."""
    for name, value in terms.items():
        if not isinstance(value, Tensor) or value.ndim:
            shape = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
            yield f"the term {name!r} must be a scalar tensor, averaged over the batch, got {shape}"
        elif value.dtype != dtype:
            words = str(dtype).removeprefix("torch.")
            yield f"the term {name!r} must be {words} for answers in {words}, got {value.dtype}"
        elif not value.isfinite():
            yield f"the term {name!r} is {value.item()}: it is not finite, or it reads what it does not declare"


def list_words(names: Collection[str]) -> str:
    """Return names in braces, in alphabetical order."""
    return "{" + ", ".join(sorted(names)) + "}"
