"""Distillation between unlike architectures, through exit branches to the logits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.errors import ConfigError, ModelError
from dropkd.functional.ofa import ofa_loss
from dropkd.functional.precision import full_precision
from dropkd.functional.standardization import standardize_logits
from dropkd.methods.exits import TokenExit, count_last_cells, make_convolution_exit
from dropkd.methods.method import Method
from dropkd.methods.options import Temperature
from dropkd.methods.stages import Stages

__all__ = ["OFAKD"]

Gamma = Annotated[float, Ge(1)]
Branches = Literal["auto", "convolutions", "tokens"]


class OFAKD(Method):
    r"""The student answers after every stage, and each answer learns the teacher's, the target class above all.

    Feature maps of unlike networks say different things; their logits say the same. So each of the student's maps gets
    a branch of its own that ends in logits, and nothing but the teacher's logits is needed.

    Equation:
        p = \operatorname{softmax}(z / T)
        L(z) = -\frac{1}{B} \sum_i \sum_c [(p^t_{ic} + [c = y_i])^\gamma - [c = y_i]] \, \log p_{ic}
        L_{logit} = L(z^s)
        L_{stages} = \sum_k L(\operatorname{branch}_k(F^s_k))

        F_k is the student's map of stage k.

    Terms:
        logit: the loss of the student's logits; weight 1.
        stages: the losses of the branches, summed; weight 1. Both are the defaults of the authors' code; their
            CIFAR-100 runs have 0.1 for the stages, as has recipes/methods/ofakd.yaml.

    Trains:
        a branch for each of the student's maps. A convolutional student's halves the grid once for each stage that is
        left and ends in a linear layer as wide as the wider of both embeddings; 32,492 parameters for
        cifar_resnet56 -> cifar_resnet20 at 32 px with 100 classes. A transformer's merges tokens and runs as many
        blocks as stages are left.

    Args:
        pair: the shapes of student and teacher, whose logits must be as many.
        gamma: exponent of the teacher's probabilities in the term logit; above 1 it raises the target class. At 1 the
            loss is the cross-entropy with the teacher's probabilities.
        stage_gamma: the same in the term stages, one number or one for each stage from shallow to deep; null = gamma.
        temperature: both networks' logits are divided by it.
        stages: the student's maps that get a branch: all, deepest, or how many from the deep end.
        branches: convolutions or tokens, or auto: tokens where the student has several maps, all on one grid, as
            transformers and mixers have.
        standardize: give each row of logits mean 0 and deviation 1 first, as in LSKD, those of the branches among
            them; not a form of the authors.

    Note:
        The loss is that of the authors' code, to which the published numbers belong: 1 is taken away at the target,
        and the exponent acts on all classes. The code takes the logarithm of a softmax, which is infinite for far-apart
        logits; the same numbers come from log space here. There is no factor for the temperature. Under mixup the
        target class is the one with the larger share.

        The branches of convolutional students are the authors', for four stages as for any other number; a network of
        more than four stages has the branch of a first stage for each of the shallow ones. A convolutional branch that
        comes down to one cell needs two images, for its batch norm. The branches of transformers are theirs but for
        this: maps hold no class token, so that the average over tokens takes its place for ViTs too; a ViT's maps are
        those of blocks equally far apart, while the authors take 1, 3, 9 and 11 of 12; heads are fewer than four where
        four do not divide the width. Pyramids of windows (Swin) have a grid for each stage and so get convolutions; the
        authors' tokens are there with branches: tokens.

    References:
        Hao, Guo, Han, Tang, Hu, Wang, Xu, "One-for-All: Bridge the Gap Between Heterogeneous Architectures in
        Knowledge Distillation", NeurIPS 2023.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> teacher = dropkd.models.build_network("cct_2_3x2", num_classes=10, image_size=(32, 32))
        >>> losses = dropkd.Distiller(student, teacher, "ofakd")(torch.rand(4, 3, 32, 32), torch.arange(4))
        >>> sorted(losses.raw)
        ['cross_entropy', 'logit', 'stages']
    """

    student_reads = frozenset({"logits", "maps"})
    teacher_reads = frozenset({"logits"})
    terms: ClassVar[Mapping[str, float]] = {"logit": 1.0, "stages": 1.0}
    label_space_terms: ClassVar[frozenset[str]] = frozenset({"logit", "stages"})

    def __init__(
        self,
        pair: Pair,
        *,
        gamma: Gamma = 1.0,
        stage_gamma: Gamma | tuple[Gamma, ...] | None = None,
        temperature: Temperature = 1.0,
        stages: Stages = "all",
        branches: Branches = "auto",
        standardize: bool = False,
    ) -> None:
        super().__init__(pair)
        self.gamma, self.temperature, self.standardize = gamma, temperature, standardize
        count = _count_branches(pair, stages)
        self.stage_gammas = _spread(gamma if stage_gamma is None else stage_gamma, count)
        places = list(enumerate(reversed(pair.student.maps)))[count - 1 :: -1]
        if branches == "tokens" or (branches == "auto" and _is_isotropic(pair)):
            width = pair.student.embedding
            exits: list[nn.Module] = [TokenExit(c, (h, w), width, pair.num_classes, left) for left, (c, h, w) in places]
        else:
            width = max(pair.student.embedding, pair.teacher.embedding if pair.teacher else 0)
            exits = [make_convolution_exit(c, width, pair.num_classes, left) for left, (c, _, _) in places]
            # Batch norm over one cell needs a second image.
            if any(left and count_last_cells((h, w), left) == 1 for left, (_, h, w) in places):
                self.least_batch = 2
        self.branches = nn.ModuleList(exits)

    def restrict_terms(self, names: Collection[str]) -> None:
        """Compute these terms only from now on, and freeze the branches where they are not among them."""
        super().restrict_terms(names)
        self.branches.requires_grad_("stages" in self.active)

    @full_precision
    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the active terms."""
        goal = self._scale(self.require_teacher(teacher).logits.detach())

        def compare(logits: Tensor, gamma: float) -> Tensor:
            return ofa_loss(self._scale(logits), goal, batch.target, gamma, self.temperature)

        terms = {}
        if "logit" in self.active:
            terms["logit"] = compare(student.logits, self.gamma)
        if "stages" in self.active:
            maps = student.maps[-len(self.branches) :]
            exits = zip(self.branches, maps, self.stage_gammas, strict=True)
            terms["stages"] = torch.stack([compare(branch(m), gamma) for branch, m, gamma in exits]).sum()
        return terms

    def _scale(self, logits: Tensor) -> Tensor:
        return standardize_logits(logits) if self.standardize else logits


def _is_isotropic(pair: Pair) -> bool:
    """Return whether the student has several maps, all on one grid, as transformers and mixers have."""
    maps = pair.student.maps
    return len(maps) > 1 and len({shape[1:] for shape in maps}) == 1


def _count_branches(pair: Pair, stages: Stages) -> int:
    count = len(pair.student.maps)
    if not count:
        raise ModelError(
            "the student gives no feature maps. Name the layers by student.map_modules, "
            "or choose a method of logits such as kd."
        )
    wanted = {"deepest": 1, "all": count}[stages] if isinstance(stages, str) else stages
    if wanted > count:
        raise ConfigError(
            f"method.stages is {wanted}, but the student gives {count} feature maps. "
            "Name more layers by student.map_modules."
        )
    return wanted


def _spread(gamma: float | tuple[float, ...], count: int) -> tuple[float, ...]:
    """Return a gamma for each branch."""
    gammas = gamma if isinstance(gamma, tuple) else (gamma,) * count
    if len(gammas) != count:
        raise ConfigError(
            f"method.stage_gamma holds {len(gammas)} numbers, {list(gammas)!r}, but {count} of the student's stages "
            "have a branch. Give one number for each, from shallow to deep, or one for all."
        )
    return gammas
