"""Every loss with inputs to try it on, its slow definition, and where its gradients go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import oracles
import torch
from torch import Tensor

from dropkd import functional

Value = Tensor | list[Tensor]


@dataclass(frozen=True)
class Loss:
    """A loss on trial.

    ``learned`` are the arguments that gradients reach, ``fixed`` those that they must not reach; ``orderless``
    says that the order of the images is without effect.
    """

    function: Callable[..., Tensor]
    oracle: Callable[..., float]
    draw: Callable[[torch.Generator], dict[str, Value]]
    learned: tuple[str, ...]
    fixed: tuple[str, ...] = ()
    orderless: bool = True


def _normal(*shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda source: torch.randn(*shape, generator=source, dtype=torch.float64)


def _between(low: float, high: float, *shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda source: low + (high - low) * torch.rand(*shape, generator=source, dtype=torch.float64)


def _labels(source: torch.Generator) -> Tensor:
    return torch.randint(7, (5,), generator=source)


def _stages(*shapes: tuple[int, ...]) -> Callable[[torch.Generator], list[Tensor]]:
    return lambda source: [_normal(*shape)(source) for shape in shapes]


def _draw(**parts: Any) -> Callable[[torch.Generator], dict[str, Value]]:
    return lambda source: {name: part(source) for name, part in parts.items()}


_LOGITS = {"student_logits": _normal(5, 7), "teacher_logits": _normal(5, 7)}
_EMBEDDINGS = {"student_embedding": _normal(5, 6), "teacher_embedding": _normal(5, 4)}
_VIEWS = {name: _normal(5, 7) for name in ("student_weak", "student_strong", "teacher_weak", "teacher_strong")}
_MAPS = {
    "student_maps": _stages((3, 4, 5, 6), (3, 6, 2, 3)),
    "teacher_maps": _stages((3, 3, 7, 4), (3, 9, 2, 3)),
}


def _over_logits(function: Callable[..., Tensor], oracle: Callable[..., float], **more: Any) -> Loss:
    return Loss(function, oracle, _draw(**_LOGITS, **more), ("student_logits",), ("teacher_logits",))


def _over_embeddings(function: Callable[..., Tensor], oracle: Callable[..., float]) -> Loss:
    return Loss(function, oracle, _draw(**_EMBEDDINGS), ("student_embedding",), ("teacher_embedding",))


def _standardized_kd(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    student, teacher = (functional.standardize_logits(logits) for logits in (student_logits, teacher_logits))
    return functional.kd_loss(student, teacher, 2.0)


def _correlate(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda student_logits, teacher_logits: function(student_logits, teacher_logits, 3.0)


LOSSES: dict[str, Loss] = {
    "kd": _over_logits(functional.kd_loss, oracles.kd),
    "kd, sigmoid": _over_logits(functional.kd_sigmoid_loss, oracles.kd_of_each_class),
    "dkd": _over_logits(functional.dkd_loss, oracles.dkd, target=_labels),
    "tckd": _over_logits(functional.tckd_loss, oracles.tckd, target=_labels),
    "nckd": _over_logits(functional.nckd_loss, oracles.nckd, target=_labels),
    "standardized kd": _over_logits(_standardized_kd, oracles.standardized_kd),
    "dist": _over_logits(functional.dist_loss, oracles.dist),
    "ofa": _over_logits(lambda **x: functional.ofa_loss(**x, gamma=1.5), oracles.ofa, target=_labels),
    "class relation": _over_logits(functional.class_relation_loss, oracles.relate_classes),
    "sample relation": _over_logits(functional.sample_relation_loss, oracles.relate_images),
    "dfra": _over_logits(lambda **x: functional.dfra_loss(**x, alpha=3.0, temperature=2.0), oracles.dfra),
    "batch correlation": _over_logits(
        _correlate(functional.batch_correlation_loss), lambda s, t: oracles.correlate_images(s, t, 3.0)
    ),
    "class correlation": _over_logits(
        _correlate(functional.class_correlation_loss), lambda s, t: oracles.correlate_classes(s, t, 3.0)
    ),
    "mld": Loss(functional.mld_loss, oracles.mld, _draw(**_VIEWS), tuple(_VIEWS)[:2], tuple(_VIEWS)[2:]),
    "mld, as intended": Loss(
        lambda **x: functional.mld_loss(**x, form="intended"),
        lambda *x: oracles.mld(*x, form="intended"),
        _draw(**_VIEWS),
        tuple(_VIEWS)[:2],
        tuple(_VIEWS)[2:],
    ),
    "at": Loss(functional.at_loss, oracles.at, _draw(**_MAPS), ("student_maps",), ("teacher_maps",)),
    "at, as in the paper": Loss(
        lambda **x: functional.at_loss(**x, power=1.5, form="paper"),
        lambda *x: oracles.at_of_the_paper(*x, power=1.5),
        _draw(**_MAPS),
        ("student_maps",),
        ("teacher_maps",),
    ),
    "nst": Loss(functional.nst_loss, oracles.nst, _draw(**_MAPS), ("student_maps",), ("teacher_maps",)),
    "pkt": _over_embeddings(functional.pkt_loss, oracles.pkt),
    "rkd distance": _over_embeddings(functional.rkd_distance_loss, oracles.rkd_distance),
    "rkd angle": _over_embeddings(functional.rkd_angle_loss, oracles.rkd_angle),
    "sp": Loss(
        functional.sp_loss,
        oracles.sp,
        _draw(student_map=_normal(4, 3, 2, 2), teacher_map=_normal(4, 5, 1, 3)),
        ("student_map",),
        ("teacher_map",),
    ),
    "cc": Loss(
        functional.cc_loss,
        oracles.cc,
        _draw(student_embedding=_normal(5, 6), teacher_embedding=_normal(5, 6)),
        ("student_embedding", "teacher_embedding"),
        orderless=False,
    ),
    "rsd": Loss(
        lambda **x: functional.rsd_loss(**x, kappa=0.3),
        oracles.rsd,
        _draw(student_embedding=_normal(5, 4), teacher_embedding=_normal(5, 4)),
        ("student_embedding",),
        ("teacher_embedding",),
    ),
    "cc kernel": Loss(
        functional.cc_kernel_loss,
        oracles.cc_kernel,
        _draw(**_EMBEDDINGS),
        ("student_embedding", "teacher_embedding"),
    ),
    "hint": Loss(
        functional.hint_loss,
        oracles.hint,
        _draw(student=_normal(3, 4), teacher=_normal(3, 4)),
        ("student",),
        ("teacher",),
    ),
    "hcl": Loss(
        functional.hcl_loss,
        oracles.hcl,
        _draw(student_maps=_stages((2, 3, 6, 3), (2, 4, 1, 1)), teacher_maps=_stages((2, 3, 6, 3), (2, 4, 1, 1))),
        ("student_maps",),
        ("teacher_maps",),
    ),
    "vid": Loss(
        functional.vid_loss,
        oracles.vid,
        _draw(mean=_normal(2, 3, 2, 2), target=_normal(2, 3, 2, 2), variance=_between(0.5, 2.0, 3)),
        ("mean", "variance"),
        ("target",),
    ),
    "ofd": Loss(
        functional.ofd_loss,
        oracles.ofd,
        _draw(student_map=_normal(2, 3, 4, 4), teacher_map=_normal(2, 3, 4, 4), margin=_between(-0.5, -0.1, 3)),
        ("student_map",),
        ("teacher_map", "margin"),
    ),
    "crd": Loss(
        lambda scores: functional.crd_loss(scores, 50), oracles.crd, _draw(scores=_between(0.1, 2.0, 4, 6)), ("scores",)
    ),
    "rank regularization": Loss(
        functional.rank_regularization_loss,
        oracles.rank_regularization,
        _draw(attention_weights=_between(0.4, 0.6, 10)),
        ("attention_weights",),
    ),
    "flip consistency": Loss(
        functional.flip_consistency_loss,
        oracles.flip_consistency,
        _draw(cam=_normal(2, 3, 2, 5), flipped_cam=_normal(2, 3, 2, 5)),
        ("cam", "flipped_cam"),
    ),
}
