"""A plain library model with its preprocessing and the taps that read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from dropkd.contracts import Outputs
from dropkd.errors import ModelError
from dropkd.models.activations import find_last_activations
from dropkd.models.classifier import find_classifier, read_classifier
from dropkd.models.finding import find_taps
from dropkd.models.network import Network
from dropkd.models.preprocessing import Preprocessing
from dropkd.models.spec import ModelSpec

__all__ = ["TappedNetwork"]


class TappedNetwork(Network):
    """A model whose maps and embedding are read in the pass that gives its logits.

    Its state dict is the model's, under ``model.``; nothing of the taps or the preprocessing is in it.

    Args:
        model: gives logits for normalised images; it is neither copied nor changed.
        spec: the model's size and preprocessing; 0 classes stand for as many as it has logits.
        map_modules: names of the modules whose outputs are the maps; found where None.
        embedding_module: name of the module whose output is the embedding; where None, what the
            classifier sees.

    Raises:
        ModelError: the model can't take images of that size, or a named module is not there.
    """

    def __init__(
        self,
        model: nn.Module,
        spec: ModelSpec,
        *,
        map_modules: Sequence[str] | None = None,
        embedding_module: str | None = None,
    ) -> None:
        preprocessing = Preprocessing.beside(model, spec)
        mean = preprocessing.mean
        with _undisturbed(model):
            image = torch.rand(1, 3, *spec.image_size, device=mean.device, dtype=mean.dtype)
            try:
                taps, answer = find_taps(model, image, map_modules, embedding_module)
            except ModelError:
                raise
            except Exception as error:
                raise ModelError(_explain_failed_pass(spec, error)) from error
            classifier_name = find_classifier(model, image, answer)
            last_activations = find_last_activations(model, taps, image, answer.shapes.maps)
        shapes = replace(answer.shapes, has_classifier=classifier_name is not None)
        if spec.num_classes not in (0, shapes.logits):
            raise ModelError(f"{spec.name!r} gives {shapes.logits} logits, not {spec.num_classes}.")
        super().__init__(model, replace(spec, num_classes=shapes.logits), shapes)
        self.preprocessing = preprocessing
        self.taps = taps
        self._classifier_name = classifier_name
        self._last_activations = last_activations

    @property
    def classifier_name(self) -> str | None:
        """The name of the layer that turns the embedding into the logits, or None where no single one does."""
        return self._classifier_name

    @property
    def norms(self) -> tuple[tuple[Tensor, Tensor] | None, ...]:
        """For each map the weight and bias (C,) of the batch norm right before its last activation, or None."""
        return self._last_activations.read_norms(self.model)

    def forward(
        self, images: Tensor, *, maps: bool = True, preactivations: bool = False, crop: bool | None = None
    ) -> Outputs:
        """Return the answer to a batch of images; see :meth:`dropkd.models.Network.forward`.

        Activations that are called as functions are not seen: of ``preactivations``, a map that ends in one stands for
        itself.
        """
        pixels = self.preprocessing(images, crop=not self.training if crop is None else crop)
        if preactivations:
            answer = self._last_activations.read(self.taps, self.model, pixels)
        else:
            answer = self.taps.read(self.model, pixels, maps=maps)
        return Outputs(
            answer.logits,
            answer.maps if maps else (),
            answer.embedding,
            read_classifier(self.model, self._classifier_name),
            answer.preactivations,
        )


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Run the model in evaluation mode without gradients, and leave modes and random states as they were."""
    modes = [(module, module.training) for module in model.modules()]
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        for module, training in modes:
            module.training = training


def _explain_failed_pass(spec: ModelSpec, error: Exception) -> str:
    height, width = spec.image_size
    return (
        f"{spec.name!r} can't take images of {height}x{width} pixels ({type(error).__name__}: {error}). "
        "Choose another image size, or options of the model that fit this one (a smaller patch size)."
    )
