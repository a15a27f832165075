"""Random logits of two networks, golden cases of logits, and what all methods of logits have in common."""

from __future__ import annotations

from typing import Any

import torch
from map_pairs import MANIFEST, ROOT, check_close, load_golden
from torch import Tensor
from torch.nn import functional as F

from dropkd.config import Config, load_config
from dropkd.contracts import Batch, Outputs, Pair, Shapes
from dropkd.methods import build_method, method_class, method_options

MAPS = ((6, 8, 8), (8, 4, 4), (12, 2, 2))


def answer(logits: Tensor, seed: int = 0) -> Outputs:
    """Return an answer with these logits and random maps."""
    source = torch.Generator().manual_seed(seed)
    maps = tuple(torch.randn(len(logits), *shape, generator=source, dtype=logits.dtype) for shape in MAPS)
    return Outputs(logits, maps, torch.zeros(len(logits), 12, dtype=logits.dtype))


def draw(images: int = 6, classes: int = 7, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(images, classes, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 3


def build(name: str, classes: int = 7, **options: Any) -> Any:
    torch.manual_seed(0)
    shapes = Shapes(classes, MAPS, 12)
    return build_method(name, Pair(shapes, shapes, classes), options)


def ask(
    method: Any, student: Tensor, teacher: Tensor, target: Tensor | None = None, shares: Tensor | None = None
) -> dict[str, Tensor]:
    """Return the terms of a method for these logits; random numbers are the same in each call."""
    torch.manual_seed(0)
    target = torch.arange(len(student)) % student.shape[1] if target is None else target
    batch = Batch(target, torch.arange(len(student)), soft_target=shares)
    terms: dict[str, Tensor] = method.to(student.dtype)(answer(student), answer(teacher), batch)
    return terms


def total(terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    return torch.stack([weights[name] * value for name, value in terms.items()]).sum()


def check_golden_total(
    name: str, method: Any, loss: str, weights: dict[str, float], labelled: float | None = None
) -> None:
    """Assert that the weighted terms are a loss of the authors' code, and its gradients where they are known.

    Args:
        name: of the golden case.
        method: with the case's options.
        loss: name of the output; compared with the reference where the authors' code is not finite.
        weights: of the terms.
        labelled: weight of the cross-entropy, where the loss has it in it.
    """
    arrays = load_golden(name)
    student, teacher = arrays["in_student"].requires_grad_(), arrays["in_teacher"].requires_grad_()
    target = arrays.get("in_target", torch.zeros(len(student), dtype=torch.int64))
    value = total(ask(method, student, teacher, target), weights)
    value = value if labelled is None else value + labelled * F.cross_entropy(student, target)
    expected = arrays[f"out_{loss}"]
    check_close(name, value, expected if expected.isfinite() else arrays[f"ref_{loss}"].to(value.dtype))
    value.backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.isfinite().all()
    # Gradients are kept of the loss alone, not of the sums that it is part of.
    if MANIFEST[name]["compare_grads"] and loss == "loss":
        check_close(name, student.grad, arrays[f"grad_{loss}_wrt_student"])


def load_recipe(name: str) -> Config:
    """Return a method's recipe, with every option and weight of the method spelt out."""
    config, cls = load_config(ROOT / "recipes" / "methods" / f"{name}.yaml"), method_class(name)
    assert config.method.name == name
    assert config.method.weights.keys() == {"cross_entropy", *cls.terms}
    assert config.method.options.keys() == method_options(cls).keys()
    assert (config.method.warmup_epochs or 0) == cls.warmup_epochs
    build(name, **config.method.options) if cls.teacher_reads else None
    return config


def check_cifar_training(config: Config, lr: float = 0.05) -> None:
    """Assert that a recipe trains as the CIFAR-100 benchmarks do."""
    training = config.training
    assert (config.student.name, config.student.pretrained) == ("cifar_resnet20", False)
    assert (training.epochs, training.batch_size, training.optimizer) == (240, 64, "sgd")
    assert (training.lr, training.momentum, training.weight_decay, training.nesterov) == (lr, 0.9, 5e-4, False)
    assert (training.schedule, training.milestones, training.decay_factor) == ("step", [150, 180, 210], 0.1)
    assert (training.warmup_epochs, training.label_smoothing, training.precision) == (0, 0.0, "32")
