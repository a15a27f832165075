"""What of the student is trained when, and at which rate: a probe, frozen parts, rates by depth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from dropkd.config import FinetuneConfig
from dropkd.engine.distiller import Distiller
from dropkd.engine.freezing import BACKBONE, EMBEDDINGS, find_resting, match_patterns
from dropkd.engine.plan import ResolvedTraining
from dropkd.errors import ConfigError
from dropkd.models.depth import find_depths

__all__ = ["FineTuning", "RateGroup", "RateRow"]

_CLASSIFIER, _PROJECTORS = "classifier", "projectors"


@dataclass(frozen=True)
class RateGroup:
    """Parameters that are trained at one rate.

    Args:
        part: ``classifier``, ``projectors``, ``backbone``, or with rates by depth ``embeddings`` and ``layer 7``.
        parameters: by their names in the distiller.
        lr: peak rate.
        probe_lr: peak rate while only the classifier is trained; 0 for what waits.
    """

    part: str
    parameters: tuple[tuple[str, nn.Parameter], ...]
    lr: float
    probe_lr: float


@dataclass(frozen=True)
class RateRow:
    """A line of the table that says what is trained.

    Args:
        part: which parameters.
        parameters: how many numbers they hold.
        lowest: the lowest of their peak rates.
        highest: the highest of them.
        note: when they are trained.
    """

    part: str
    parameters: int
    lowest: float
    highest: float
    note: str


class FineTuning:
    """Decides what is trained in an epoch, as a pure function of its number, so that a resumed run can't get it wrong.

    In the epochs of the probe only the classifier and the method's projectors are trained, the student's other
    modules are in evaluation mode: batch norms keep their statistics, dropout and stochastic depth rest. What is
    frozen later rests likewise: a module whose parameters are all frozen is in evaluation mode, with all in it.

    Args:
        distiller: student and method, as they are before the first step. What its owner froze is never trained.
        settings: which parts, when, and at which rate.
        training: the rates of everything else.

    Raises:
        ConfigError: a pattern of ``finetune.freeze`` matches nothing, or nothing is left to train.
    """

    def __init__(self, distiller: Distiller, settings: FinetuneConfig, training: ResolvedTraining) -> None:
        self.settings, self.training = settings, training
        self.distiller, self.model = distiller, distiller.student.model
        self.depths = find_depths(distiller.student)
        # Positions and the like that never change are no parameters to be let go.
        self._own = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self._check_classifier()
        named = match_patterns(self.model, self.depths, settings.freeze, distiller.student.spec.name)
        self.frozen = named & frozenset(self._own)
        self._check_left()
        self.groups = tuple(self._make_groups())

    def start_epoch(self, epoch: int) -> None:
        """Put the distiller in training mode, but for what rests in this epoch.

        Args:
            epoch: counted from 0.
        """
        self.distiller.train()
        waiting = self._waiting_in(epoch)
        for name, parameter in self._own.items():
            parameter.requires_grad_(name not in waiting)
            if name in waiting:
                parameter.grad = None
        for module in find_resting(self.model, self.depths, set(self._own) - waiting, waiting):
            module.training = False

    def is_trained(self, epoch: int) -> frozenset[str]:
        """Return the names, in the model, of the student's parameters that are trained in an epoch."""
        return frozenset(self._own) - self._waiting_in(epoch)

    @property
    def phases(self) -> list[tuple[int, int]]:
        """The epochs at which what is trained changes, and for how many epochs it then stays so."""
        starts = sorted({0, self.settings.probe_epochs, self.settings.unfreeze_epoch or 0})
        ends = [*starts[1:], self.training.epochs]
        return [(start, end - start) for start, end in zip(starts, ends, strict=True)]

    def tabulate(self) -> tuple[RateRow, ...]:
        """Return the lines of a short table: what is trained when, and at which peak rate."""
        rows: dict[tuple[str, str], list[tuple[int, float]]] = {}
        for group in self.groups:
            layered = group.part.startswith("layer ")
            for name, parameter in group.parameters:
                is_frozen = name.removeprefix("student.model.") in self.frozen
                part = "layers" if layered else group.part
                rows.setdefault((part, self._say_when(group, is_frozen)), []).append((parameter.numel(), group.lr))
        lines = [
            RateRow(
                self._name_layers() if part == "layers" else part,
                sum(count for count, _ in found),
                min(rate for _, rate in found),
                max(rate for _, rate in found),
                note,
            )
            for (part, note), found in rows.items()
        ]
        never = [p.numel() for name, p in self._own.items() if self._is_never_trained(name)]
        fixed = [p.numel() for name, p in self.model.named_parameters() if name not in self._own]
        lines += [RateRow("frozen", sum(never), 0.0, 0.0, "never trained")] if never else []
        lines += [RateRow("fixed by the model", sum(fixed), 0.0, 0.0, "never trained")] if fixed else []
        return tuple(lines)

    def _name_layers(self) -> str:
        numbers = [int(g.part.split()[1]) for g in self.groups if g.part.startswith("layer ")]
        return f"layers {min(numbers)} to {max(numbers)}" if len(set(numbers)) > 1 else f"layer {numbers[0]}"

    def _say_when(self, group: RateGroup, is_frozen: bool) -> str:
        settings = self.settings
        if is_frozen:
            return f"frozen before epoch {(settings.unfreeze_epoch or 0) + 1}"
        if not settings.probe_epochs:
            return "throughout"
        if group.probe_lr:
            return f"throughout; at {group.probe_lr:.3g} in the probe (the first {settings.probe_epochs})"
        return f"from epoch {settings.probe_epochs + 1} on"

    # What waits.

    def _waiting_in(self, epoch: int) -> frozenset[str]:
        settings = self.settings
        ends = settings.unfreeze_epoch
        waiting = self.frozen if ends is None or epoch < ends else frozenset()
        if epoch < settings.probe_epochs:
            waiting |= {name for name in self._own if not self.depths.is_head(name)}
        return waiting

    def _is_never_trained(self, name: str) -> bool:
        return name in self.frozen and self.settings.unfreeze_epoch is None

    def _check_classifier(self) -> None:
        settings = self.settings
        asked = [
            key
            for key, given in (
                ("probe_epochs", settings.probe_epochs),
                ("head_lr", settings.head_lr),
                ("backbone_lr", settings.backbone_lr),
                ("freeze", BACKBONE in settings.freeze),
            )
            if given
        ]
        if asked and not any(self.depths.is_head(name) for name in self._own):
            raise ConfigError(
                f"'finetune.{asked[0]}' needs to know the classifier of {self.distiller.student.spec.name!r}, and no "
                "layer that is trained gives its logits."
            )

    def _check_left(self) -> None:
        for epoch, _ in self.phases:
            if self.settings.freeze and not self.is_trained(epoch):
                when = "in the probe" if epoch < self.settings.probe_epochs else f"in epoch {epoch + 1}"
                raise ConfigError(
                    f"'finetune.freeze' ({', '.join(self.settings.freeze)}) leaves nothing of the student to train "
                    f"{when}. Take a pattern out."
                )

    # At which rate.

    def _make_groups(self) -> Iterator[RateGroup]:
        probed = self.settings.probe_epochs > 0
        probe_lr = (self.settings.probe_lr or 0.0) if probed else 0.0
        parts: dict[tuple[str, float, float], list[tuple[str, nn.Parameter]]] = {}
        for name, parameter in self._own.items():
            if not self._is_never_trained(name):
                is_head = self.depths.is_head(name)
                key = (*self._rate(name), probe_lr if is_head else 0.0)
                parts.setdefault(key, []).append((f"student.model.{name}", parameter))
        student = {id(parameter) for parameter in self.distiller.student.parameters()}
        others = [(n, p) for n, p in self.distiller.named_parameters() if p.requires_grad and id(p) not in student]
        if others:
            parts[_PROJECTORS, self.training.lr, probe_lr] = others
        for (part, lr, probe), parameters in parts.items():
            yield RateGroup(part, tuple(parameters), lr, probe)

    def _rate(self, name: str) -> tuple[str, float]:
        """Return the part that a parameter of the model belongs to, and its peak rate."""
        settings, lr = self.settings, self.training.lr
        if self.depths.is_head(name):
            return _CLASSIFIER, settings.head_lr or lr
        rate = settings.backbone_lr or lr
        if settings.layer_decay == 1:
            return BACKBONE, rate
        layer = self.depths.layers[name]
        return f"layer {layer}" if layer else EMBEDDINGS, rate * settings.layer_decay ** (self.depths.last - layer)
