"""A few steps of any registered method: small networks on real images, for tests of what is trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dropkd.demo.images import load_demo_split
from dropkd.engine.distiller import Distiller
from dropkd.methods import method_class
from dropkd.models import build_network

__all__ = ["IMAGES", "SAMPLES", "build_distiller", "draw_views", "list_trained"]

# Enough for every method: groups by certainty, a CKA and classes of several images.
IMAGES = 8
SAMPLES = 64


def build_distiller(name: str, seed: int = 0) -> Distiller:
    """Return student, method and, where the method wants one, a teacher that is the same for every seed."""
    network = {"num_classes": 10, "image_size": (28, 28)}
    torch.manual_seed(0)
    teacher = build_network("cifar_resnet14", **network) if method_class(name).teacher_reads else None
    torch.manual_seed(seed)
    student = build_network("cifar_resnet8", **network)
    targets = torch.from_numpy(load_demo_split("train").labels[:SAMPLES]).long()
    return Distiller(student, teacher, name, targets=targets).train()


def draw_views(distiller: Distiller, step: int, rank: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return images, labels and sample numbers of a step, other samples for each process.

    Where a method asks for a second view it gets mirror images.
    """
    split, views = load_demo_split("train"), len(distiller.method.views)
    index = (torch.arange(IMAGES) + (2 * step + rank) * IMAGES) % SAMPLES
    images = torch.from_numpy(split.images[index.numpy()]).float().div(255)[:, None].expand(-1, 3, -1, -1)
    seen = [images.flip(3) if view else images for view in range(views)]
    return torch.cat(seen), torch.from_numpy(split.labels[index.numpy()]).long().repeat(views), index.repeat(views)


def list_trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that ask for a gradient by their names."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
