"""Quantisation-aware training: the student computes as its int8 file will, and learns from the teacher to bear it."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dropkd.config import QatConfig
from dropkd.engine.observer import Observer
from dropkd.errors import ModelError
from dropkd.models import Network, count_parameters, save_network
from dropkd.models.rounding import Roundings, round_network
from dropkd.models.rounding_places import LAYERS, find_places
from dropkd.models.tapped import TappedNetwork

__all__ = ["FLOAT_FILE", "Qat", "prepare_qat"]

# The student as it was before the first rounded step, in the run folder.
FLOAT_FILE = "float.safetensors"


class Qat:
    """Decides what is rounded in an epoch, as a pure function of its number, so that a resumed run can't get it wrong.

    From ``first`` on the student's values and weights are rounded, and its batch norms keep their statistics, as they
    will in the file. The ends of the ranges follow the batches in the first half of these epochs, then stay.

    Args:
        first: epoch, counted from 0.
        epochs: of the run.
    """

    def __init__(self, first: int, epochs: int) -> None:
        self.first = first
        self._settled = first + max(1, (epochs - first) // 2)

    def is_on(self, epoch: int) -> bool:
        """Whether the student is rounded in an epoch."""
        return epoch >= self.first

    def start_epoch(self, student: Network, networks: Iterable[Network], epoch: int) -> None:
        """Put the student, and all that are judged in its place, into the state of an epoch.

        Args:
            student: what is trained, in training mode.
            networks: it, and its running average.
            epoch: counted from 0.
        """
        self.switch(networks, epoch)
        if self.is_on(epoch):
            for module in student.model.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()

    def switch(self, networks: Iterable[Network], epoch: int) -> None:
        """Turn rounding on or off."""
        for network in networks:
            network.roundings.switch(network.model, is_on=self.is_on(epoch), is_watching=epoch < self._settled)

    def keep_float(self, judged: Network, folder: Path) -> None:
        """Keep the student as it is before the first rounded step: what the int8 file will be compared with."""
        target = folder / FLOAT_FILE
        if self.first:
            shutil.copyfile(folder / "student.safetensors", target)
        else:
            save_network(judged, target)

    @torch.no_grad()
    def share_ends(self, student: Network, average: Network) -> None:
        """Give the running average of the weights the ranges of the student: they are averages themselves."""
        ends: tuple[list[Tensor], list[Tensor]] = tuple(list(n.roundings.buffers()) for n in (average, student))  # type: ignore[assignment]
        torch._foreach_copy_(*ends)


def prepare_qat(settings: QatConfig, epochs: int, student: Network, observer: Observer) -> Qat | None:
    """Find what of the student is rounded, make it so and say so; return None where no rounding is asked for.

    Raises:
        ModelError: the student has no layers that can be rounded, or blocks that are fused at its export.
    """
    if not settings.enabled:
        return None
    name = student.spec.name
    if not isinstance(student, TappedNetwork):
        raise ModelError(f"{name!r} can't learn to be rounded: its inside is not known.")
    if _is_fused_later(student.model):
        raise ModelError(
            f"{name!r} has blocks of several branches, which become one convolution at its export. What it learned "
            "about rounding the branches would not hold for that. Choose another student for --qat."
        )
    mean = student.preprocessing.mean
    was_training = student.training
    student.eval()
    plan = find_places(student.model, torch.rand(1, 3, *student.spec.image_size, device=mean.device, dtype=mean.dtype))
    student.train(was_training)
    if not plan.layers:
        raise ModelError(f"{name!r} has no convolution or linear layer that is called as a module: nothing to round.")
    round_network(student, Roundings(plan, settings.weight_bits))
    qat = Qat(settings.start_epoch or 0, epochs)
    when = f"from epoch {qat.first + 1} of {epochs} on" if qat.first else "from the first step on"
    observer.on_message(f"{name} is rounded {when}: {len(plan.layers)} layers, weights of {settings.weight_bits} bits.")
    names = {layer.name for layer in plan.layers}
    left = [
        other for other, module in student.model.named_modules() if isinstance(module, LAYERS) and other not in names
    ]
    if left:
        shown = ", ".join(left[:5]) + (", ..." if len(left) > 5 else "")
        observer.on_warning(
            f"{len(left)} layers of {name} are not called as modules that use their weight as it is, so they are not "
            f"rounded in training: {shown}. In an int8 file they are, by the images that it is made with."
        )
    return qat


def _is_fused_later(model: nn.Module) -> bool:
    from timm.utils.model import reparameterize_model

    return count_parameters(reparameterize_model(copy.deepcopy(model))) != count_parameters(model)
