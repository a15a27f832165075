"""Distillation of relations in the logits, at every stage of the student and in their mixture."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor, nn

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.errors import ModelError
from dropkd.functional.checks import check_batch
from dropkd.functional.mldrkd import dfra_loss
from dropkd.functional.precision import full_precision
from dropkd.methods.exits import make_convolution_exit
from dropkd.methods.method import Method
from dropkd.methods.options import Temperature

__all__ = ["MLDRKD"]

# As in the authors' code: the gate is this many times as wide inside as there are classes.
_GATE_EXPANSION = 4


class MLDRKD(Method):
    r"""The student's logits, those of each of its stages and a mixture of these learn the relations in the teacher's.

    Beside the probabilities, two kinds of relation are compared: between the classes of an image and, class by class,
    between the images of a batch. They keep what a sure teacher says of the other classes.

    Equation:
        R_{i;cd} = z_{ic} z_{id} / \sqrt{K}, \quad S_{c;ij} = z_{ic} z_{jc} / \sqrt{K}
        D(z) = \mathrm{mean}_{i,c} \, KL(\sigma(R^t_{i;c:}) \| \sigma(R_{i;c:}))
            + \mathrm{mean}_{c,i} \, KL(\sigma(S^t_{c;i:}) \| \sigma(S_{c;i:}))
            + \alpha \, \mathrm{mean}_i \, KL(\sigma(z^t_i) \| \sigma(z_i))
        L_{logit} = D(z^s), \quad L_{stages} = \sum_k D(z^k), \quad L_{fusion} = D(\sum_k w_k \odot z^k)
        w_{ikc} = \mathrm{softmax}_k \, G(v^k_i)_c

        z are logits over the temperature, v^k and z^k the vector and the logits of the branch of stage k, G the gate.

    Terms:
        logit: relations and probabilities of the student's logits; weight 1.
        stages: those of the logits of each branch, summed; weight 1.
        fusion: those of the mixture of the branches, weighed anew for each image, stage and class; weight 1. All are
            the weights of the authors' configurations, beside a cross-entropy of weight 1.

    Trains:
        a branch for each of the student's maps, which halves the grid once for each stage that is left and ends in a
        linear layer as wide as the wider of the student's deepest map and the teacher's embedding, and a gate of two
        linear layers with GELU that all branches share; 98,528 parameters for cifar_resnet56 -> cifar_resnet20 at 32 px
        with 100 classes.

    Args:
        pair: the shapes of student and teacher, whose logits must be as many.
        alpha: weight of the divergence of the probabilities beside the two relations.
        temperature: all logits are divided by it.
        width: what the linear layers of the branches and the gate see; null = the wider of the student's deepest map
            and the teacher's embedding.
        gate_width: width inside the gate; null = four for each class.

    Note:
        Chosen as one of two methods for unlike architectures later than OFA-KD, since its authors' code is complete and
        of the teacher it reads nothing but logits, so that any teacher will do. PAT, FBT and ScaleKD put modules into
        the teacher or run its stages; for LFCC, HCD and VRM no code was at hand.

        Source: Ethan-Yang02/MLDR-KD@0db65bc, mldr_kd/dfra.py, msdf.py, distiller.py and the configurations. From that
        code: all of the losses, branches, gate, weights and widths. Of the paper only the abstract was at hand; it
        names the same parts: relations by class and by sample at the logits and at the features, and the fusion. So
        where code and paper differ is not known. Both relations are scaled by the number of classes, also that between
        images, and the divergence has no factor for the temperature, as in the code.

        Decided here: students other than the ResNets of the authors' release, transformers among them, have the same
        branches on their maps, folded to their grid where they are tokens; a network of more than four stages has the
        branch of a first stage for each of the shallow ones; it is computed in float32 under mixed precision.

        Products of logits depend on the level of a row of logits, which no probability does. The relations between
        classes take B x K x K numbers for each branch: 256 MB a tensor with 1,000 classes and 64 images.

    References:
        Yang, Ye, Lin, Li, Wen, Hao, Chen, "Multi-Level Decoupled Relational Distillation for Heterogeneous
        Architectures", 2025.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> teacher = dropkd.models.build_network("cct_2_3x2", num_classes=10, image_size=(32, 32))
        >>> losses = dropkd.Distiller(student, teacher, "mldrkd")(torch.rand(4, 3, 32, 32), torch.arange(4))
        >>> sorted(losses.raw)
        ['cross_entropy', 'fusion', 'logit', 'stages']
    """

    student_reads = frozenset({"logits", "maps"})
    teacher_reads = frozenset({"logits"})
    terms: ClassVar[Mapping[str, float]] = {"logit": 1.0, "stages": 1.0, "fusion": 1.0}
    label_space_terms: ClassVar[frozenset[str]] = frozenset(terms)
    least_batch = 2

    def __init__(
        self,
        pair: Pair,
        *,
        alpha: Annotated[float, Ge(0)] = 2.0,
        temperature: Temperature = 1.0,
        width: Annotated[int, Ge(1)] | None = None,
        gate_width: Annotated[int, Ge(1)] | None = None,
    ) -> None:
        super().__init__(pair)
        self.alpha, self.temperature = alpha, temperature
        maps, classes = pair.student.maps, pair.num_classes
        if not maps:
            raise ModelError(
                "the student gives no feature maps. Name the layers by student.map_modules, "
                "or choose a method of logits such as kd."
            )
        width = width or max(maps[-1][0], pair.teacher.embedding if pair.teacher else 0)
        left = range(len(maps) - 1, -1, -1)
        self.branches = nn.ModuleList(
            _make_branch(c, width, classes, n) for (c, _, _), n in zip(maps, left, strict=True)
        )
        self.gate = _make_gate(width, gate_width or _GATE_EXPANSION * classes, classes)

    def restrict_terms(self, names: Collection[str]) -> None:
        """Compute these terms only from now on, and freeze branches and gate where they are not among them."""
        super().restrict_terms(names)
        self.branches.requires_grad_(bool(self.active & {"stages", "fusion"}))
        self.gate.requires_grad_("fusion" in self.active)

    @full_precision
    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the active terms."""
        goal = self.require_teacher(teacher).logits
        check_batch(student.logits, self.least_batch, "MLDR-KD, which relates the images of a batch,")
        terms = {}
        if "logit" in self.active:
            terms["logit"] = self._compare(student.logits, goal)
        if self.active & {"stages", "fusion"}:
            vectors, logits = self._branch_off(student.maps)
            if "stages" in self.active:
                terms["stages"] = torch.stack([self._compare(of_stage, goal) for of_stage in logits]).sum()
            if "fusion" in self.active:
                terms["fusion"] = self._compare(self._fuse(vectors, logits), goal)
        return terms

    def _compare(self, logits: Tensor, goal: Tensor) -> Tensor:
        return dfra_loss(logits, goal, self.alpha, self.temperature)

    def _branch_off(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the vectors (S, B, D) and the logits (S, B, K) of the branches."""
        branches = [branch for branch in self.branches if isinstance(branch, nn.Sequential)]
        vectors = [branch[:-1](feature_map) for branch, feature_map in zip(branches, maps, strict=True)]
        logits = [branch[-1](vector) for branch, vector in zip(branches, vectors, strict=True)]
        return torch.stack(vectors), torch.stack(logits)

    def _fuse(self, vectors: Tensor, logits: Tensor) -> Tensor:
        """Return the mixture (B, K) of the branches' logits."""
        shares = torch.softmax(self.gate(vectors), dim=0)
        return (shares * logits).sum(dim=0)


def _make_branch(channels: int, width: int, num_classes: int, stages_left: int) -> nn.Sequential:
    """Return the branch of a map; the deepest's convolution has no bias here, unlike that of OFA-KD."""
    branch = make_convolution_exit(channels, width, num_classes, stages_left)
    if isinstance(branch[0], nn.Conv2d):
        branch[0].bias = None
    return branch


def _make_gate(width: int, hidden: int, num_classes: int) -> nn.Sequential:
    gate = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, num_classes))
    for layer in gate:
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
    return gate
