"""Clauses about what flows back, and about the answers that a method is given."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from torch import Tensor

from dropkd.contracts import Outputs, Pair
from dropkd.methods.method import Method
from dropkd.testing.bench import EPOCHS, Bench, list_tensors
from dropkd.testing.values import list_words

__all__ = ["check_cached_teacher", "check_gradients", "check_inputs_untouched", "find_bad_gradients", "go_back"]


def check_gradients(bench: Bench) -> Iterator[str]:
    """Where its gradients go."""
    for active in bench.list_active():
        method = bench.build()
        method.restrict_terms(active)
        trained, reached, idle = _list_trained(method), set(), dict[str, list[str]]()
        for epoch in EPOCHS:
            method.zero_grad(set_to_none=True)
            student, teacher = bench.student(method), bench.teacher(method)
            go_back(method(student, teacher, bench.batch(method, epoch=epoch)))
            reached |= _find_reached(student)
            yield from (f"gradients reach the teacher's {name}: detach them" for name in sorted(_find_reached(teacher)))
            yield from find_bad_gradients(method)
            for name in _list_idle(method):
                idle.setdefault(name, []).append(str(epoch))
            method.end_epoch(epoch)
        if active and active == {*bench.cls.terms} and not reached:
            yield "no gradient reaches the student: compute the terms from the student's answer, without detaching it"
        yield from _describe_idle(active, idle)
        if _list_trained(method) != trained:
            changed = list_words(_list_trained(method) ^ trained)
            yield f"training changes whether {changed} ask for gradients: only restrict_terms, before it, may do so"
    yield from _check_norms(bench.pair)


def go_back(terms: dict[str, Tensor]) -> None:
    """Send the sum of the terms back."""
    values = [value.sum() for value in terms.values() if isinstance(value, Tensor) and value.requires_grad]
    if values:
        torch.autograd.backward(torch.stack(values).sum())


def find_bad_gradients(method: Method, student: Outputs | None = None) -> Iterator[str]:
    """Yield which gradients are not finite, those of a method's parameters and of the student's answer."""
    answered = () if student is None else list_tensors(student)
    for name, tensor in (*answered, *method.named_parameters()):
        if tensor.grad is not None and not tensor.grad.isfinite().all():
            yield f"the gradient of {name!r} is not finite"


def _list_trained(method: Method) -> set[str]:
    return {name for name, parameter in method.named_parameters() if parameter.requires_grad}


def _list_idle(method: Method) -> list[str]:
    return [name for name, parameter in method.named_parameters() if parameter.requires_grad and parameter.grad is None]


def _describe_idle(active: Collection[str], idle: dict[str, list[str]]) -> Iterator[str]:
    for name, epochs in idle.items():
        when = "" if len(epochs) == len(EPOCHS) else f" in epoch {' and '.join(epochs)}"
        yield (
            f"with the terms {list_words(active)} active, {name!r} asks for a gradient but gets none{when}, for which "
            "data-parallel training waits: freeze it in restrict_terms, or use it in every step"
        )


def _find_reached(answer: Outputs | None) -> set[str]:
    """Return the fields of an answer that a gradient other than 0 has reached."""
    tensors = () if answer is None else list_tensors(answer)
    return {name for name, tensor in tensors if tensor.grad is not None and tensor.grad.count_nonzero()}


def _check_norms(pair: Pair) -> Iterator[str]:
    if any(tensor.grad is not None for norm in pair.teacher_norms if norm is not None for tensor in norm):
        yield "gradients reach the teacher's norms: detach them"


def check_inputs_untouched(bench: Bench) -> Iterator[str]:
    """The answers and labels that it is given."""
    method = bench.build()
    batch, teacher = bench.batch(method), bench.teacher(method)
    answers = {"student": bench.student(method)} | ({"teacher": teacher} if teacher is not None else {})
    answers = {side: answer.detach() for side, answer in answers.items()}
    before = {side: answer.apply(Tensor.clone) for side, answer in answers.items()}
    labels = batch.target.clone(), batch.index.clone()
    method(answers["student"], answers.get("teacher"), batch)
    for side, answer in answers.items():
        pairs = zip(list_tensors(before[side]), list_tensors(answer), strict=True)
        if not all(torch.equal(a.nan_to_num(), b.nan_to_num()) for (_, a), (_, b) in pairs):
            yield f"it changes the {side}'s answer in place, which may be a cached one: make new tensors"
    if not all(torch.equal(a, b) for a, b in zip(labels, (batch.target, batch.index), strict=True)):
        yield "it changes the batch's labels in place, which others read: give its own in targets(batch)"


def check_cached_teacher(bench: Bench) -> Iterator[str]:
    """Its terms from a cached teacher."""
    method = bench.build()
    if not method.teacher_reads:
        return
    live = _try_answers(bench, *_draw_rounded(bench, method))
    student, teacher = _draw_rounded(bench, method)
    teacher = _strip(teacher.detach(), method.teacher_reads, is_cached=True)
    try:
        cached = _try_answers(bench, _strip(student, method.student_reads, is_cached=False), teacher)
    except Exception as error:
        yield (
            f"with answers that hold nothing but what it reads, the teacher's from a cache, it raised "
            f"{type(error).__name__}: {error}; declare all it reads, and ask the teacher's answer for its numbers only"
        )
        return
    for name, value in live.items():
        if name not in cached or not torch.allclose(value, cached[name], rtol=1e-4, atol=1e-7):
            yield f"from a cached teacher {name} is not the same: use the numbers of the teacher's answer, nothing else"


def _draw_rounded(bench: Bench, method: Method) -> tuple[Outputs, Outputs]:
    """Return both answers, the teacher's in numbers that a cache of bfloat16 keeps as they are."""
    teacher = method.require_teacher(bench.teacher(method))
    return bench.student(method), teacher.apply(lambda t: t.detach().bfloat16().float().requires_grad_())


def _try_answers(bench: Bench, student: Outputs, teacher: Outputs) -> dict[str, Tensor]:
    """Return the terms and the gradients of a first step."""
    method = bench.build()
    terms: dict[str, Tensor] = method(student, teacher, bench.batch(method))
    go_back(terms)
    found = {f"the term {name!r}": value.detach() for name, value in terms.items()}
    for name, tensor in (*list_tensors(student), *method.named_parameters()):
        if tensor.grad is not None:
            found[f"the gradient of {name!r}"] = tensor.grad
    return found


def _strip(answer: Outputs, reads: Collection[str], *, is_cached: bool) -> Outputs:
    """Return an answer without what is not read: no maps, and of a cache no logits and embedding either."""
    maps, preactivations = (getattr(answer, n) if n in reads else () for n in ("maps", "preactivations"))
    if not is_cached:
        return answer._replace(maps=maps, preactivations=preactivations)
    logits, embedding = (getattr(answer, n) if n in reads else answer.logits[:, :0] for n in ("logits", "embedding"))
    return Outputs(logits, maps, embedding, answer.classifier if "classifier" in reads else None, preactivations)
