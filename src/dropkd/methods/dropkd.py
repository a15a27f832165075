"""DropKD: the general part of what two networks say, found by dropout."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor, nn

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.errors import ConfigError
from dropkd.functional.dropkd import LogitMode, Normalize, code_distance, logit_dropout_loss, normalize_code
from dropkd.functional.dropout import Masks, Unit, draw_masks, drop
from dropkd.functional.grids import pool_to_common_grid
from dropkd.functional.labels import label_loss
from dropkd.functional.standardization import standardize_logits
from dropkd.methods.method import Method
from dropkd.methods.options import Rate, Temperature
from dropkd.methods.projection import Sides, StageProjection
from dropkd.methods.stages import Stages, pair_stages

__all__ = ["DropKD"]

_SIDES: dict[str, tuple[str, ...]] = {"teacher": ("teacher",), "both": ("teacher", "student")}


class DropKD(Method):
    r"""Feature and logit distillation under dropout, in a space that reconstruction and classification train.

    What a network says is in part general and in part its architecture's own: R_X = G_X + S_X. Dropout takes away what
    is said in one way only, so that the general part is what is matched.

    Equation:
        g_X = \operatorname{drop}(E_X(F_X); \, r^f_X), \quad X \in \{T, S\}
        q_X = \operatorname{softmax}(\operatorname{drop}(z_X; \, r^l_X) / \tau)
        L_{logit} = \tau^2 \, \operatorname{KL}(q_T \,\|\, q_S)
        L_{feature} = \operatorname{mean} \, \| \hat g_S - \operatorname{sg}(\hat g_T) \|^2
        L_{reconstruct} = \operatorname{mean} \, \| D_T(g_T) - \operatorname{sg}(\hat F_T) \|^2
        L_{domain} = \operatorname{CE}(C_T(g_T), y)

        F are the maps, averaged to the smaller grid of both, z the logits, E, D and C an encoder, a decoder and a
        classifier of each network, r the rates of features (f) and logits (l). A hat makes a unit vector of each
        position, sg stops the gradient. The last two sum over both networks where both sides are chosen.

    Terms:
        logit: divergence of the softened student from the softened teacher after dropout of logits; weight 1.
        feature: squared distance of the projected maps after dropout; weight 2.
        reconstruct: how far each decoder is from its network's map, given the code after dropout; weight 1.
        domain: cross-entropy of each classifier on the code after dropout; weight 0.5. All weights are decided here.

    Trains:
        an encoder per network and stage (C x d + d + 2d + d x d + d weights for maps of C channels), and a
        decoder and a classifier for each network of ``reconstruct_sides`` and ``domain_sides``; 88,100 parameters for
        cifar_resnet56 -> cifar_resnet20 at 32 px with 100 classes. The student's maps and logits get gradients, the
        teacher's never. What no active term trains is frozen.

    Args:
        pair: the shapes of student and teacher.
        feature_rate_teacher: share of the teacher's code that is dropped.
        feature_rate_student: share of the student's code that is dropped.
        logit_rate_teacher: share of the teacher's logits that is dropped.
        logit_rate_student: share of the student's logits that is dropped.
        masks: coupled = one uniform draw serves both networks, each with its own rate; independent = a draw
            for each.
        feature_unit: what of a code is dropped as one.
        logit_mode: zero = dropped logits become 0; remove = dropped classes leave both softmaxes.
        center_logits: take each row's mean away before logits are dropped.
        standardize: give each row of logits mean 0 and deviation 1 before logits are dropped, as in LSKD.
        temperature: both networks' logits are divided by it.
        width: channels of the projection space.
        normalize: how codes and reconstructed maps are scaled: unit = unit vectors at each position, layer =
            the same after the mean over channels is taken away, none = as they are, squares averaged over
            channels.
        stop_gradient: treat the teacher's code as a constant in the term feature.
        num_masks: masks drawn in each step, over which the terms are averaged.
        stages: pairs of maps that are compared: deepest, all (paired from the deep end), or how many from the
            deep end.
        reconstruct_sides: networks whose maps are reconstructed.
        domain_sides: networks whose codes are classified.

    Note:
        The paper states encoders, decoders and classifiers of one architecture without shared weights, dropout of
        features and logits, and its four rates with 0.5 as the best. Layers, distances, weights and masks are decided
        here, by the ablation in docs/dropkd.md. So are the rates of the logits, since 0.5 cost accuracy there;
        recipes/dropkd-paper-rates.yaml has the paper's. With all rates 0 and without reconstruct and domain it is
        :class:`KD` plus matching of projected maps. In evaluation mode nothing is dropped.

        Where images have several labels, which the paper has none of, ``logit`` compares the sigmoids of each class, as
        :class:`KD` does there, and ``domain`` is binary cross-entropy; both are means over classes. A dropped logit
        is 0, which means undecided, so ``center_logits`` is without effect and ``standardize`` is refused.

    References:
        Lee, Hong, Shin, Ku, Ko, "Dropout Connects Transformers and CNNs: Transfer General Knowledge for
        Knowledge Distillation", WACV 2025.

    Example:
        >>> import torch, dropkd
        >>> student = dropkd.models.build_network("cifar_resnet8", num_classes=10, image_size=(32, 32))
        >>> teacher = dropkd.models.build_network("cct_2_3x2", num_classes=10, image_size=(32, 32))
        >>> losses = dropkd.Distiller(student, teacher, "dropkd")(torch.rand(4, 3, 32, 32), torch.arange(4))
        >>> sorted(losses.raw)
        ['cross_entropy', 'domain', 'feature', 'logit', 'reconstruct']
    """

    student_reads = frozenset({"logits", "maps"})
    teacher_reads = frozenset({"logits", "maps"})
    terms: ClassVar[Mapping[str, float]] = {"logit": 1.0, "feature": 2.0, "reconstruct": 1.0, "domain": 0.5}
    label_space_terms: ClassVar[frozenset[str]] = frozenset({"logit"})
    single_label_terms: ClassVar[frozenset[str] | None] = frozenset()

    def __init__(
        self,
        pair: Pair,
        *,
        feature_rate_teacher: Rate = 0.5,
        feature_rate_student: Rate = 0.5,
        logit_rate_teacher: Rate = 0.1,
        logit_rate_student: Rate = 0.1,
        masks: Masks = "coupled",
        feature_unit: Unit = "element",
        logit_mode: LogitMode = "zero",
        center_logits: bool = True,
        standardize: bool = False,
        temperature: Temperature = 2.0,
        width: Annotated[int, Ge(1)] = 128,
        normalize: Normalize = "unit",
        stop_gradient: bool = True,
        num_masks: Annotated[int, Ge(1)] = 1,
        stages: Stages = "deepest",
        reconstruct_sides: Sides = "teacher",
        domain_sides: Sides = "teacher",
    ) -> None:
        super().__init__(pair)
        if standardize and pair.multi_label:
            raise ConfigError(
                "method.standardize takes each image's mean logit away, which decides what is there and what isn't "
                "where images have several labels. Leave it out."
            )
        self.feature_rates = {"student": feature_rate_student, "teacher": feature_rate_teacher}
        self.logit_rates = {"student": logit_rate_student, "teacher": logit_rate_teacher}
        self.masks, self.feature_unit = masks, feature_unit
        self.logit_mode, self.center_logits, self.temperature = logit_mode, center_logits, temperature
        self.standardize = standardize
        self.normalize, self.stop_gradient, self.num_masks = normalize, stop_gradient, num_masks
        self.reconstructed, self.classified = _SIDES[reconstruct_sides], _SIDES[domain_sides]
        self.projections = nn.ModuleList(
            StageProjection(
                {"student": stage.student[0], "teacher": stage.teacher[0]},
                width,
                pair.num_classes,
                self.reconstructed,
                self.classified,
            )
            for stage in pair_stages(pair, stages)
        )
        self._freeze_idle_parts()

    def restrict_terms(self, names: Collection[str]) -> None:
        """Compute these terms only from now on, and freeze what none of them trains."""
        super().restrict_terms(names)
        self._freeze_idle_parts()

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return the active terms."""
        teacher = self.require_teacher(teacher)
        values: dict[str, list[Tensor]] = {name: [] for name in self.terms if name in self.active}
        if "logit" in values:
            values["logit"] = [self._compare_logits(student.logits, teacher.logits) for _ in range(self.num_masks)]
        if values.keys() - {"logit"}:
            target = self.targets(batch)
            for number, projection in enumerate(self._list_projections(), start=1):
                maps = _align(student.maps[-number], teacher.maps[-number])
                for terms in self._compare_maps(projection, maps, target):
                    for name, value in terms.items():
                        values[name].append(value)
        return {name: torch.stack(found).mean() for name, found in values.items()}

    def _compare_logits(self, student: Tensor, teacher: Tensor) -> Tensor:
        rate_student, rate_teacher = (self._find_rate(self.logit_rates, side) for side in ("student", "teacher"))
        if self.standardize:
            student, teacher = standardize_logits(student), standardize_logits(teacher)
        return logit_dropout_loss(
            student,
            teacher,
            rate_student,
            rate_teacher,
            self.temperature,
            masks=self.masks,
            mode=self.logit_mode,
            center=self.center_logits,
            form="sigmoid" if self.pair.multi_label else "softmax",
        )

    def _compare_maps(
        self, projection: StageProjection, maps: dict[str, Tensor], target: Tensor
    ) -> Iterator[dict[str, Tensor]]:
        """Yield the active terms of one pair of maps for each mask."""
        maps = {side: maps[side] for side in self._find_coded_sides()}
        codes = {side: projection.encode(side, feature_map) for side, feature_map in maps.items()}
        for _ in range(self.num_masks):
            dropped = self._drop_codes(codes)
            terms = {}
            if "feature" in self.active:
                terms["feature"] = self._match(dropped["student"], dropped["teacher"])
            if "reconstruct" in self.active:
                terms["reconstruct"] = self._measure_rebuilt(projection, dropped, maps)
            if "domain" in self.active:
                multi_label = self.pair.multi_label
                answers = (projection.classify(side, dropped[side]) for side in self.classified)
                terms["domain"] = _add(label_loss(answer, target, multi_label=multi_label) for answer in answers)
            yield terms

    def _drop_codes(self, codes: dict[str, Tensor]) -> dict[str, Tensor]:
        rates = {side: self._find_rate(self.feature_rates, side) for side in ("student", "teacher")}
        keeps = draw_masks(codes["teacher"], rates["student"], rates["teacher"], self.masks, self.feature_unit)
        kept = dict(zip(rates, keeps, strict=True))
        return {side: drop(code, kept[side], rates[side]) for side, code in codes.items()}

    def _match(self, student: Tensor, teacher: Tensor) -> Tensor:
        goal = teacher.detach() if self.stop_gradient else teacher
        return code_distance(normalize_code(student, self.normalize), normalize_code(goal, self.normalize))

    def _measure_rebuilt(
        self, projection: StageProjection, dropped: dict[str, Tensor], maps: dict[str, Tensor]
    ) -> Tensor:
        return _add(
            code_distance(projection.decoders[side](dropped[side]), normalize_code(maps[side].detach(), self.normalize))
            for side in self.reconstructed
        )

    def _find_rate(self, rates: Mapping[str, float], side: str) -> float:
        return rates[side] if self.training else 0.0

    def _find_coded_sides(self) -> tuple[str, ...]:
        decoded = self.reconstructed if "reconstruct" in self.active else ()
        classified = self.classified if "domain" in self.active else ()
        needs_student = "feature" in self.active or "student" in (*decoded, *classified)
        return ("student", "teacher") if needs_student else ("teacher",)

    def _list_projections(self) -> list[StageProjection]:
        return [module for module in self.projections if isinstance(module, StageProjection)]

    def _freeze_idle_parts(self) -> None:
        """Freeze the modules that no active term trains: a parameter that asks for a gradient gets one."""
        decoded = self.reconstructed if "reconstruct" in self.active else ()
        classified = self.classified if "domain" in self.active else ()
        matched = ("student",) if self.stop_gradient else ("student", "teacher")
        encoded = (*decoded, *classified, *(matched if "feature" in self.active else ()))
        for projection in self._list_projections():
            parts = (
                (projection.encoders, encoded),
                (projection.decoders, decoded),
                (projection.classifiers, classified),
            )
            for modules, busy in parts:
                for side, module in modules.items():
                    module.requires_grad_(side in busy)


def _align(student_map: Tensor, teacher_map: Tensor) -> dict[str, Tensor]:
    student, teacher = pool_to_common_grid(student_map, teacher_map)
    return {"student": student, "teacher": teacher.detach()}


def _add(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(tuple(values)).sum()
