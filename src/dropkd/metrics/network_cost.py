"""What a student or a teacher costs, whatever it is made of, as values for a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from dropkd.errors import ModelError
from dropkd.metrics.cost import measure_cost
from dropkd.models import Network, count_parameters
from dropkd.models.teachers.ensemble import EnsembleTeacher
from dropkd.models.teachers.mapped import MappedTeacher

__all__ = ["StaticCost", "count_bytes", "measure_network"]


@dataclass(frozen=True)
class StaticCost:
    """What is known of a network without running it.

    Args:
        parameters: shared ones once, buffers not.
        macs: multiply-adds of one image; None where they can't be seen, as in a file of another framework.
        bytes: of its parameters and buffers as they are held.
    """

    parameters: int
    macs: int | None
    bytes: int


def measure_network(network: Network) -> StaticCost:
    """Return what one image costs a network; an ensemble costs what its members do, each at its own image size.

    Example:
        >>> from dropkd.models import build_network
        >>> measure_network(build_network("cifar_resnet8", num_classes=10))
        StaticCost(parameters=78042, macs=12501632, bytes=314928)
    """
    counts = [_count_macs(member) for member in _list_members(network)]
    known = [count for count in counts if count is not None]
    macs = sum(known) if len(known) == len(counts) else None
    return StaticCost(count_parameters(network.model), macs, count_bytes(network.model))


def count_bytes(module: nn.Module) -> int:
    """Return the bytes of a module's parameters and buffers, shared ones once."""
    tensors = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _list_members(network: Network) -> Iterator[Network]:
    if isinstance(network, EnsembleTeacher):
        for member in network.list_members():
            yield from _list_members(member)
    elif isinstance(network, MappedTeacher):
        yield from _list_members(network.network)
    else:
        yield network


def _count_macs(network: Network) -> int | None:
    try:
        # What another framework computes goes unseen.
        return measure_cost(network).macs or None
    except ModelError:
        return None
