"""Check that a class keeps the contract of a distillation method."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from dropkd.contracts import Outputs
from dropkd.methods.method import Method
from dropkd.methods.options import list_options
from dropkd.testing.bench import Bench
from dropkd.testing.clauses import CLAUSES

__all__ = ["ContractError", "check_method"]


class ContractError(AssertionError):
    """A class breaks the contract of a method; the text names each clause."""


def check_method(cls: type[Method], options: Mapping[str, Any] | None = None) -> None:
    """Run the contract of a method on a class with small random answers of two networks.

    Args:
        cls: the class.
        options: values for some of its options; the others keep their defaults.

    Raises:
        ContractError: clauses are broken; all of them at once, in words.

    Example:
        >>> from dropkd.methods.kd import KD
        >>> check_method(KD)
    """
    problems = _run(_check_declarations, cls)
    if not problems:
        bench = Bench(cls, dict(options or {}))
        # The clauses seed torch's generator; the caller's random numbers stay as they were.
        with torch.random.fork_rng(devices=[]):
            problems = [problem for clause in CLAUSES for problem in _run(clause, bench)]
    if problems:
        listing = "".join(f"\n* {problem}" for problem in dict.fromkeys(problems))
        raise ContractError(f"{cls.__name__} breaks the contract of a method:{listing}")


def _run(clause: Callable[[Any], Iterator[str]], subject: object) -> list[str]:
    """Return what a clause finds; an exception inside a method is a finding too."""
    found: list[str] = []
    try:
        found.extend(clause(subject))
    except Exception as error:
        what = (clause.__doc__ or "").rstrip(".").lower()
        found.append(f"{what}: it raised {type(error).__name__}: {error}")
    return found


def _check_declarations(cls: type[Method]) -> Iterator[str]:
    """The class and its constructor."""
    if not issubclass(cls, Method):
        yield "it is not a subclass of dropkd.methods.Method"
        return
    for name in ("student_reads", "teacher_reads"):
        for unknown in sorted(set(getattr(cls, name)) - set(Outputs._fields)):
            yield f"{name} holds {unknown!r}; a network answers with {', '.join(Outputs._fields)}"
    for name, weight in cls.terms.items():
        if not (isinstance(weight, (int, float)) and math.isfinite(weight) and weight >= 0):
            yield f"the default weight of the term {name!r} must be a number of at least 0, got {weight!r}"
        if name == "cross_entropy":
            yield "the term 'cross_entropy' is the engine's; choose another name"
    for unknown in sorted(cls.label_space_terms - set(cls.terms)):
        yield f"label_space_terms holds {unknown!r}, which is not among its terms"
    if not 1 <= cls.labelled_views <= len(cls.views):
        yield f"labelled_views must be from 1 to {len(cls.views)}, the number of its views, got {cls.labelled_views}"
    for option in list_options(cls).values():
        if not option.description:
            yield f"the option {option.name!r} is not described in the Args of the class"
