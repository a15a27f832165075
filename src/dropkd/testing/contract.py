"""Check that a class keeps the contract of a distillation method."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from dropkd.errors import ConfigError
from dropkd.methods.method import Method
from dropkd.methods.options import check_options, list_options, spell_out_options
from dropkd.testing.bench import Bench
from dropkd.testing.gradients import check_cached_teacher, check_gradients, check_inputs_untouched
from dropkd.testing.holdings import check_holdings, check_repeatability, check_state
from dropkd.testing.label_sets import check_label_sets
from dropkd.testing.labels import check_labels, check_wishes, find_bad_wishes, is_amount
from dropkd.testing.strains import check_answers, check_batches, check_networks
from dropkd.testing.values import check_independence, check_precision, check_terms

__all__ = ["ContractError", "check_method"]

_CLAUSES = (
    check_terms,
    check_independence,
    check_precision,
    check_gradients,
    check_inputs_untouched,
    check_cached_teacher,
    check_state,
    check_repeatability,
    check_holdings,
    check_labels,
    check_batches,
    check_answers,
    check_networks,
    check_label_sets,
)


class ContractError(AssertionError):
    """A class breaks the contract of a method; the text names each clause."""


def check_method(cls: type[Method], options: Mapping[str, Any] | None = None) -> None:
    """Run the contract of a method on a class with small random answers of two networks.

    The terms that the class declares are the ones it returns: finite scalars in the precision of the answers, each
    the same whichever others are active. Gradients reach the student and every parameter that asks for one, in every
    epoch, and never the teacher, whose answer may come from a cache and is not changed. The state dict restores the
    method; with one seed it repeats itself, also under autocast; it holds no model and nothing else beside its state.
    Batches of its ``least_batch``, dead and saturated answers, other networks, numbers of classes and labels give terms
    too, or an error in words where the method is not made for them; so do images with several labels where the class
    says by ``single_label_terms`` which of its terms can do with them.

    What it can't see: whether a term is averaged over the batch and free of its weight.

    Args:
        cls: the class.
        options: values for some of its options; the others keep their defaults.

    Raises:
        ContractError: clauses are broken; all of them at once, in words that say what is wrong and how to mend it.
        ConfigError: the class has no such option, or it can't have that value.

    Example:
        >>> from dropkd.methods.kd import KD
        >>> check_method(KD)
    """
    problems = _run(_check_declarations, cls)
    if not problems:
        bench = Bench(cls, check_options(cls, cls.__name__, options or {}))
        # The clauses seed torch's generator; the caller's random numbers stay as they were.
        with torch.random.fork_rng(devices=[]):
            # What can't be built or asks for what there isn't would fail in each clause.
            problems = _run(check_wishes, bench)
            problems = problems or [problem for clause in _CLAUSES for problem in _run(clause, bench)]
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
    yield from find_bad_wishes(cls)
    for name, weight in cls.terms.items():
        if not is_amount(weight):
            yield f"the default weight of the term {name!r} must be a number of at least 0, got {weight!r}"
        if name == "cross_entropy":
            yield "the term 'cross_entropy' is the engine's; choose another name"
        if not name.isidentifier():
            yield f"the term {name!r} must be a name of letters, digits and _, since it is a key of the configuration"
    for unknown in sorted(cls.label_space_terms - set(cls.terms)):
        yield f"label_space_terms holds {unknown!r}, which is not among its terms"
    for unknown in sorted((cls.single_label_terms or frozenset()) - set(cls.terms)):
        yield f"single_label_terms holds {unknown!r}, which is not among its terms"
    for option in list_options(cls).values():
        if not option.description:
            yield f"the option {option.name!r} is not described in the Args of the class"
    try:
        check_options(cls, cls.__name__, spell_out_options(cls, {}))
    except ConfigError as error:
        yield f"a default is not what its own annotation allows: {error}"
