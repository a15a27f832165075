"""The models that dropkd brings itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from dropkd.errors import ModelError, did_you_mean
from dropkd.models.cct import CCT, CCTS
from dropkd.models.cifar_imagenet_resnet import CIFAR_IMAGENET_RESNETS, CifarImageNetResNet
from dropkd.models.cifar_mobilenetv2 import CIFAR_MOBILENETS, CifarMobileNetV2
from dropkd.models.cifar_resnet import CIFAR_RESNETS, CifarResNet
from dropkd.models.cifar_shufflenet import CIFAR_SHUFFLENETS
from dropkd.models.cifar_vgg import CIFAR_VGGS, CifarVGG
from dropkd.models.cifar_wrn import CIFAR_WRNS, CifarWideResNet
from dropkd.models.library import Defaults

__all__ = ["OwnLibrary"]

# The channel statistics of CIFAR-100's training images, which the published archives of teachers expect.
_CIFAR_MEAN = (0.5071, 0.4867, 0.4408)
_CIFAR_STD = (0.2675, 0.2565, 0.2761)
# What builds a network of the CIFAR benchmarks with a given number of classes.
_CIFAR_MODELS: dict[str, Callable[[int], nn.Module]] = {
    **{name: partial(CifarResNet, *settings) for name, settings in CIFAR_RESNETS.items()},
    **{name: partial(CifarImageNetResNet, *settings) for name, settings in CIFAR_IMAGENET_RESNETS.items()},
    **{name: partial(CifarWideResNet, *settings) for name, settings in CIFAR_WRNS.items()},
    **{name: partial(CifarVGG, convolutions) for name, convolutions in CIFAR_VGGS.items()},
    **{name: partial(CifarMobileNetV2, width) for name, width in CIFAR_MOBILENETS.items()},
    **CIFAR_SHUFFLENETS,
}
_CCT_OPTIONS = ("attention_dropout", "drop_path")


class OwnLibrary:
    """The networks of the CIFAR benchmarks, and compact transformers."""

    source = "dropkd"

    def names(self) -> tuple[str, ...]:
        """Return the names of all models."""
        return (*_CIFAR_MODELS, *CCTS)

    def has(self, name: str) -> bool:
        """Return whether ``name`` is a model of dropkd's own."""
        return name in _CIFAR_MODELS or name in CCTS

    def defaults(self, name: str) -> Defaults:
        """Return what the model was made for: images of 32x32 pixels."""
        return Defaults((32, 32), num_classes=100, mean=_CIFAR_MEAN, std=_CIFAR_STD)

    def build(
        self,
        name: str,
        *,
        num_classes: int,
        image_size: tuple[int, int],
        options: dict[str, Any],
        pretrained: bool,
    ) -> tuple[nn.Module, dict[str, Any]]:
        """Return the model and its options; see :class:`~dropkd.models.library.Library`."""
        if pretrained:
            raise ModelError(
                f"{name!r} has no published weights. Start from random ones (--no-pretrained), "
                f"or give a file of weights as '{name}:CHECKPOINT'."
            )
        if name in _CIFAR_MODELS:
            _check_options(name, options, ())
            return _CIFAR_MODELS[name](num_classes), {}
        _check_options(name, options, _CCT_OPTIONS)
        return CCT(*CCTS[name], num_classes=num_classes, image_size=image_size, **options), options


def _check_options(name: str, options: dict[str, Any], known: tuple[str, ...]) -> None:
    for option in options:
        if option not in known:
            listed = ", ".join(known) or "none"
            raise ModelError(f"{name!r} has no option {option!r}. Its options: {listed}.{did_you_mean(option, known)}")
