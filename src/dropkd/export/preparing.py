"""A run's student made ready to be written in any format: fused, alone, with real images and its answers to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dropkd.data import Split
from dropkd.errors import RunError
from dropkd.export.deployed import DeployedModel
from dropkd.export.facts import describe_student
from dropkd.export.fusing import fuse_blocks
from dropkd.models import ModelSpec, count_parameters
from dropkd.models.rounding import unround_network
from dropkd.models.tapped import TappedNetwork
from dropkd.run import Run, frame_loader

__all__ = ["BATCH", "INPUT", "OUTPUT", "Prepared", "prepare_student", "show_images"]

# The names of what goes in, of what comes out and of the free size, in every format that has names.
INPUT, OUTPUT, BATCH = "images", "logits", "batch"

# Images that the file is compared with the network on.
_IMAGES = 64


@dataclass(frozen=True)
class Prepared:
    """A student that can be written down.

    Args:
        run: where it comes from.
        module: gives logits; in evaluation mode, its blocks fused; the trained network is not touched by it.
        spec: of the student: its size, normalisation and classes.
        pixels: (N, 3, H, W) uint8, real images as the network sees them before they are normalised.
        inputs: (N, 3, H, W), the same as the module is fed: ``pixels`` or normalised numbers.
        expected: (N, K) float32, the logits of the network as it was trained, not fused.
        split: which images they are: ``test``, ``val`` or ``train``.
        facts: what is known of the model, as JSON values; see :func:`dropkd.export.facts.describe_student`.
        parameters: of the trained network.
    """

    run: Run
    module: DeployedModel
    spec: ModelSpec
    pixels: Tensor
    inputs: Tensor
    expected: Tensor
    split: str
    facts: Mapping[str, Any]
    parameters: int

    @property
    def example(self) -> Tensor:
        """Two images, as an exporter wants them: from one it would take the batch size to be always 1."""
        return self.inputs[:2] if len(self.inputs) > 1 else self.inputs.repeat(2, 1, 1, 1)

    @property
    def fused(self) -> int:
        """Parameters that fusing took away."""
        return self.parameters - count_parameters(self.module)


def prepare_student(
    run: Run | str | Path,
    *,
    preprocessing: bool = False,
    fuse: bool = True,
    model: nn.Module | None = None,
    licence: str | None = None,
    unfinished: bool = False,
) -> Prepared:
    """Open a run's selected student and make it ready to be exported.

    Args:
        run: a run or its folder.
        preprocessing: the module takes RGB bytes in 0..255 and normalises them itself.
        fuse: fuse re-parameterisable blocks.
        model: a module of the student's class, where the run was started with one.
        licence: of the exported model, in the user's words; None: not stated.
        unfinished: take the best student so far of a run that is not at its end.

    Raises:
        RunError: the run has no student yet, or is not at its end.
        DataError: the run's images are not there any more.
        ModelError: the fused student answers otherwise.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    network = opened.network(model)
    unround_network(network)
    if not (opened.is_finished or unfinished):
        raise RunError(
            f"The run {str(opened.folder)!r} is not finished. Go on with: dropkd resume {opened.folder}\n"
            "Or export the best student so far with --unfinished."
        )
    data = opened.open_data()
    split = data.test or data.val or data.train
    pixels = show_images(network, split.sample(_IMAGES))
    with torch.no_grad():
        expected = torch.cat([network(part, maps=False, crop=False).logits for part in torch.split(pixels, 16)])
    student = network.model
    parameters = count_parameters(student)
    if fuse:
        student = fuse_blocks(student, DeployedModel(student, network.spec, takes_pixels=True).normalize(pixels[:4]))
    deployed = DeployedModel(student, network.spec, takes_pixels=preprocessing).eval()
    inputs = pixels if preprocessing else deployed.normalize(pixels)
    facts = describe_student(opened, network.spec, takes_pixels=preprocessing, licence=licence)
    return Prepared(opened, deployed, network.spec, pixels, inputs, expected, split.name, facts, parameters)


def show_images(network: TappedNetwork, split: Split) -> Tensor:
    """Return the pixels (N, 3, H, W), uint8, that the network sees of a split's images in evaluation."""
    frames = torch.cat([batch.images for batch in frame_loader(network, split)])
    # In memory as the shape says: loaders give images with the channels last, and exporters would write that down.
    return (network.preprocessing.show(frames, crop=True) * 255).round().to(torch.uint8).contiguous()
