"""Clauses about what strains a method: few images, answers that are hard to compute with, other networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from dropkd.contracts import Batch, Outputs, Pair, Shapes
from dropkd.errors import DropKDError
from dropkd.testing.bench import CNN, TRANSFORMER, Bench, make_pair
from dropkd.testing.gradients import find_bad_gradients, go_back
from dropkd.testing.values import find_bad_values

__all__ = ["check_answers", "check_batches", "check_networks"]

_SMALL = Shapes(2, ((5, 6, 3), (9, 3, 1)), 9, has_classifier=True)
_TWO_HEADED = Shapes(7, ((8, 4, 4), (16, 2, 2)), 16, has_classifier=False)
_ONE_CELL = Shapes(7, ((6, 1, 1),), 6, has_classifier=True)
_OTHER_CLASSES = replace(TRANSFORMER, logits=5)


@dataclass(frozen=True)
class _Trial:
    """A step that is out of the ordinary.

    Args:
        words: what is so, for the message.
        pair: other networks than those of the bench.
        images: another number of images.
        may_refuse: whether an error in words is as good an answer as terms.
        change: made to both networks' answers.
        relabel: made to the batch.
        teacher_seed: of the teacher's answer; 1 is the student's.
        hidden_terms: terms that are off.
    """

    words: str
    pair: Pair | None = None
    images: int | None = None
    may_refuse: bool = True
    change: Callable[[Tensor], Tensor] = Tensor.detach
    relabel: Callable[[Batch], Batch] = replace
    teacher_seed: int = 2
    hidden_terms: frozenset[str] = frozenset()


def check_batches(bench: Bench) -> Iterator[str]:
    """Batches of few images, of shares as labels, of one class."""
    method = bench.build()
    least = method.least_batch
    for images in sorted({1, least - 1, least} - {0}):
        words = f"{'one image' if images == 1 else f'{images} images'} (its least_batch is {least})"
        yield from _try(bench, _Trial(words, images=images, may_refuse=images < least))
    shares = bench.batch(method, soft=True).soft_target
    yield from _try(bench, _Trial("shares as labels", relabel=lambda b: replace(b, soft_target=shares)))
    yield from _try(
        bench, _Trial("one class in the batch", may_refuse=False, relabel=partial(_choose_first, bench.pair))
    )


def _choose_first(pair: Pair, batch: Batch) -> Batch:
    """Return a batch of samples of the first class."""
    return replace(batch, target=batch.target * 0, index=batch.index % 3 * pair.num_classes)


def check_answers(bench: Bench) -> Iterator[str]:
    """Answers that are hard to compute with."""
    yield from _try(bench, _Trial("answers of 0", may_refuse=False, change=lambda t: t * 0))
    yield from _try(bench, _Trial("answers of 60 and -60", may_refuse=False, change=lambda t: t.sign() * 60))
    yield from _try(bench, _Trial("two networks that answer alike", make_pair(CNN, CNN), teacher_seed=1))


def check_networks(bench: Bench) -> Iterator[str]:
    """Other networks."""
    pair, least = bench.pair, bench.build().least_batch
    other_classes = make_pair(CNN, _OTHER_CLASSES)
    yield from _try(bench, _Trial("a transformer as the student", make_pair(TRANSFORMER, CNN)))
    yield from _try(bench, _Trial("two classes and odd maps", make_pair(_SMALL, _SMALL)))
    yield from _try(bench, _Trial("networks without a linear classifier", make_pair(_TWO_HEADED, _TWO_HEADED)))
    yield from _try(bench, _Trial("maps of one cell", make_pair(_ONE_CELL, _ONE_CELL), images=least))
    yield from _try(bench, _Trial("a teacher whose batch norms are not known", replace(pair, teacher_norms=())))
    yield from _try(bench, _Trial("training samples that are not known beforehand", replace(pair, targets=None)))
    yield from _try(
        bench, _Trial("a teacher of other classes", other_classes, hidden_terms=bench.cls.label_space_terms)
    )


def _try(bench: Bench, trial: _Trial) -> Iterator[str]:
    """Yield what is wrong with the terms and gradients of a step."""
    bench = bench if trial.pair is None else replace(bench, pair=trial.pair)
    try:
        method = bench.build()
        method.restrict_terms(set(method.terms) - trial.hidden_terms)
        student = _change(bench.student(method, images=trial.images), trial.change)
        teacher = bench.teacher(method, trial.teacher_seed, trial.images)
        batch = trial.relabel(bench.batch(method, trial.images))
        terms = method(student, None if teacher is None else _change(teacher, trial.change), batch)
        go_back(terms)
    except DropKDError as error:
        if not trial.may_refuse:
            yield f"with {trial.words} it refuses: {error}; compute its terms, or raise least_batch where it is that"
        return
    except Exception as error:
        refusal = "; answer, or refuse by a DropKDError that says how to mend it" if trial.may_refuse else ""
        yield f"with {trial.words} it raised {type(error).__name__}: {error}{refusal}"
        return
    yield from (f"with {trial.words}: {problem}" for problem in find_bad_values(terms))
    yield from (f"with {trial.words}: {problem}" for problem in find_bad_gradients(method, student))


def _change(answer: Outputs, change: Callable[[Tensor], Tensor]) -> Outputs:
    return answer.apply(lambda tensor: change(tensor.detach()).requires_grad_())
