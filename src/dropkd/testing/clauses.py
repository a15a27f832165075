"""The clauses of the contract: each takes a bench and yields, in words, what is wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from dropkd.contracts import Outputs, Pair, Shapes
from dropkd.errors import DropKDError
from dropkd.testing.bench import CNN, TRANSFORMER, Bench

__all__ = ["CLAUSES"]

_MODEL_LIBRARIES = ("timm.models", "torchvision.models", "transformers", "dropkd.models")
_IMAGES = 6
_SMALL = Shapes(2, ((5, 6, 3), (9, 3, 1)), 9, has_classifier=True)
_TWO_HEADED = Shapes(7, ((8, 4, 4), (16, 2, 2)), 16, has_classifier=False)


def _check_terms(bench: Bench) -> Iterator[str]:
    """Its terms."""
    method = bench.build()
    for active in ({*bench.cls.terms}, *({name} for name in bench.cls.terms), set()):
        method.restrict_terms(active)
        terms = bench.call(method)
        if set(terms) != active:
            yield f"with the terms {_list(active)} active it returns {_list(terms)}"
        for name, value in terms.items():
            yield from _check_value(name, value)


def _check_value(name: str, value: object) -> Iterator[str]:
    if not isinstance(value, Tensor) or value.ndim:
        shape = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        yield f"the term {name!r} must be a scalar tensor, averaged over the batch, got {shape}"
    elif value.dtype != torch.float32:
        yield f"the term {name!r} must be float32 for answers in float32, got {value.dtype}"
    elif not value.isfinite():
        yield f"the term {name!r} is {value.item()}: it is not finite, or it reads what it does not declare"


def _check_gradients(bench: Bench) -> Iterator[str]:
    """Where its gradients go."""
    for active in ({*bench.cls.terms}, *({name} for name in bench.cls.terms)):
        method = bench.build()
        method.restrict_terms(active)
        student, teacher = bench.student(), bench.teacher()
        terms = method(student, teacher, bench.batch())
        if not active:
            continue
        total = torch.stack(list(terms.values())).sum()
        if total.requires_grad:
            torch.autograd.backward(total)
        if active == {*bench.cls.terms} and not _find_gradients(student):
            yield "no gradient reaches the student"
        for name in _find_gradients(teacher):
            yield f"gradients reach the teacher's {name}: detach them"
        for name, parameter in method.named_parameters():
            if parameter.requires_grad and parameter.grad is None:
                yield (
                    f"with the terms {_list(active)} active, {name!r} asks for a gradient but gets none: freeze it in "
                    "restrict_terms, or use it"
                )
            elif parameter.grad is not None and not parameter.grad.isfinite().all():
                yield f"the gradient of {name!r} is not finite"


def _find_gradients(answer: Outputs | None) -> list[str]:
    """Return the fields of an answer that a gradient other than 0 has reached."""
    if answer is None:
        return []
    tensors = {name: getattr(answer, name) for name in ("logits", "embedding", "classifier")}
    named = (*tensors.items(), *(("maps", feature_map) for feature_map in answer.maps))
    return sorted({n for n, t in named if t is not None and t.grad is not None and t.grad.count_nonzero()})


def _check_inputs_untouched(bench: Bench) -> Iterator[str]:
    """The answers that it is given."""
    method, student, teacher = bench.build(), bench.student().detach(), bench.teacher()
    answers = {"student": student} | ({"teacher": teacher.detach()} if teacher else {})
    before = {side: answer.apply(Tensor.clone) for side, answer in answers.items()}
    method(student, answers.get("teacher"), bench.batch())
    for side, answer in answers.items():
        pairs = zip(_list_tensors(before[side]), _list_tensors(answer), strict=True)
        if not all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in pairs):
            yield f"it changes the {side}'s answer in place, which may be a cached one"


def _list_tensors(answer: Outputs) -> list[Tensor]:
    weight = () if answer.classifier is None else (answer.classifier,)
    return [answer.logits, *answer.maps, answer.embedding, *weight]


def _check_state(bench: Bench) -> Iterator[str]:
    """Saving and restoring its state."""
    method, other = bench.build(seed=0), bench.build(seed=1)
    for step in range(2):
        bench.call(method, seed=step)
    other.load_state_dict(method.state_dict())
    if not _are_equal(bench.call(method), bench.call(other)):
        yield "its state dict does not restore it: keep what it learns in parameters and buffers"


def _check_repeatability(bench: Bench) -> Iterator[str]:
    """Its random numbers."""
    first, second = (bench.call(bench.build(), seed=3) for _ in range(2))
    if not _are_equal(first, second):
        yield "with the same seed it gives other values: draw random numbers from torch's generators"
    states = []
    for seed in (4, 5):
        bench.call(bench.build(), seed=seed)
        states.append(torch.get_rng_state())
    if torch.equal(*states):
        yield "it seeds torch's generator, which is the engine's to do"


def _check_autocast(bench: Bench) -> Iterator[str]:
    """Autocast to bfloat16."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = bench.call(bench.build())
    for name, value in terms.items():
        for problem in _check_value(name, value):
            yield f"under autocast to bfloat16 {problem}"


def _check_modules(bench: Bench) -> Iterator[str]:
    """What it holds."""
    method = bench.build()
    for name, module in method.named_modules():
        reads_images = isinstance(module, nn.Conv2d) and module.in_channels == 3
        if reads_images or type(module).__module__.startswith(_MODEL_LIBRARIES):
            yield f"it holds a model ({name!r} is a {type(module).__name__}); it may own projectors only"
    for name, value in vars(method).items():
        hidden = [item for item in _unpack(value) if isinstance(item, (nn.Module, nn.Parameter))]
        if hidden and not name.startswith("_"):
            kind = type(hidden[0]).__name__
            where = type(value).__name__
            yield f"{name!r} hides a {kind} in a {where}, so that it is not trained or saved: register it"


def _unpack(value: object) -> list[object]:
    if isinstance(value, Mapping):
        return [item for part in value.values() for item in _unpack(part)]
    if isinstance(value, (list, tuple, set)):
        return [item for part in value for item in _unpack(part)]
    return [value]


def _check_batches(bench: Bench) -> Iterator[str]:
    """Batches of one image, labels that are shares, other networks."""
    wide = replace(bench, pair=Pair(TRANSFORMER, CNN, 7, bench.pair.targets))
    small = replace(bench, pair=Pair(_SMALL, _SMALL, 2, torch.arange(24) % 2))
    two_headed = replace(bench, pair=Pair(_TWO_HEADED, _TWO_HEADED, 7, bench.pair.targets))
    cases = (
        ("one image", bench, 1, False),
        ("shares as labels", bench, _IMAGES, True),
        ("a transformer as the student", wide, _IMAGES, False),
        ("two classes and odd maps", small, _IMAGES, False),
        ("networks without a linear classifier", two_headed, _IMAGES, False),
    )
    for words, case, images, soft in cases:
        try:
            terms = case.build()(case.student(images=images), case.teacher(images=images), case.batch(images, soft))
        except DropKDError:
            continue  # an error in words is an answer
        except Exception as error:
            yield f"with {words} it raised {type(error).__name__}: {error}"
            continue
        for name, value in terms.items():
            yield from (f"with {words}: {problem}" for problem in _check_value(name, value))


def _check_labels(bench: Bench) -> Iterator[str]:
    """Its targets and what it deploys."""
    method, batch = bench.build(), bench.batch()
    bench.call(method)
    labels, rows = method.targets(batch), len(batch.target)
    if tuple(labels.shape) not in ((rows,), (rows, bench.pair.num_classes)):
        yield f"targets must return (B,) or (B, K), got {tuple(labels.shape)}"
    if not isinstance(method.deploy(nn.Linear(2, 2)), nn.Module):
        yield "deploy must return a module"


CLAUSES = (
    _check_terms,
    _check_gradients,
    _check_inputs_untouched,
    _check_state,
    _check_repeatability,
    _check_autocast,
    _check_modules,
    _check_batches,
    _check_labels,
)


def _are_equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def _list(names: Collection[str]) -> str:
    return "{" + ", ".join(sorted(names)) + "}"
