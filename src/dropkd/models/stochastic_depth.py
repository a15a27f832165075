"""Students that leave out whole blocks at random while they are trained (stochastic depth, also known as drop path)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn
from torchvision.ops import StochasticDepth

from dropkd.errors import ConfigError, ModelError
from dropkd.models.building import build_network
from dropkd.models.names import find_library
from dropkd.models.network import Network

__all__ = ["build_dropping_network"]

# How the constructors of each library call the rate.
_OPTIONS = {"timm": "drop_path_rate", "torchvision": "stochastic_depth_prob", "dropkd": "drop_path"}


def build_dropping_network(name: str, rate: float, options: Mapping[str, Any], **arguments: Any) -> Network:
    """Build a network whose blocks are left out at random in training, like :func:`~dropkd.models.build_network`.

    The rate is that of the last block and rises with the depth, or, where a model was published so, of all of them.
    Nothing is said of it in files: in evaluation, and in what is built from them, no block is left out.

    Args:
        name: the model's name.
        rate: in [0, 1).
        options: other arguments of the model's constructor.
        arguments: what else ``build_network`` takes.

    Raises:
        ModelError: the model has no stochastic depth; or as for ``build_network``.
        ConfigError: the options hold the rate as well.

    References:
        Huang, Sun, Liu, Sedra, Weinberger, "Deep Networks with Stochastic Depth", ECCV 2016.
    """
    option = _OPTIONS.get(find_library(name)[0].source, "drop_path_rate")
    if option in options:
        raise ConfigError(f"'student.drop_path' and 'student.options.{option}' are the same rate: give one of them.")
    try:
        network = build_network(name, options={**options, option: rate}, **arguments)
    except ModelError as error:
        if f"multiple values for keyword argument {option!r}" in str(error):
            network = build_network(name, options=options, **arguments)
            _set_rates(network.model, rate)
        elif re.search(rf"(unexpected keyword argument\S* \[?|has no option ){option!r}", str(error)):
            raise ModelError(_explain(name)) from error
        else:
            raise
    if rate and not any(_drops(module) for module in network.model.modules()):
        raise ModelError(_explain(name))
    kept = {key: value for key, value in network.spec.options.items() if key != option}
    network.spec = replace(network.spec, options=kept)
    return network


def _set_rates(model: nn.Module, rate: float) -> None:
    """Set the rates of torchvision's transformers, whose functions give them a fixed one."""
    blocks = [module for module in model.modules() if isinstance(module, StochasticDepth)]
    for number, block in enumerate(blocks):
        block.p = rate * number / max(1, len(blocks) - 1)


def _drops(module: nn.Module) -> bool:
    name = type(module).__name__.lower()
    return "droppath" in name or "stochasticdepth" in name


def _explain(name: str) -> str:
    return (
        f"{name!r} has no blocks that can be left out at random, so 'student.drop_path' can't be used with it. Leave "
        "it out; most transformers, ConvNeXts and EfficientNets have them."
    )
