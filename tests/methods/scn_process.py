"""One of several processes that train with SCN on samples of their own, as a data-parallel loop does."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dropkd.contracts import Batch, Outputs, Pair, Shapes
from dropkd.methods.scn import SCN

PROCESSES, SAMPLES, STEPS = 2, 8, 2


class Wrapped(nn.Module):
    """A student that gives the embedding as it is, and the method, as the one module that is wrapped."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        targets = torch.zeros(SAMPLES, dtype=torch.int64)
        self.method = SCN(Pair(Shapes(4, (), 4), None, 4, targets), relabel_epoch=1)
        self.head = nn.Linear(4, 4)
        nn.init.eye_(self.head.weight)
        for parameter in (self.head.bias, *self.method.attend.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, images: torch.Tensor, batch: Batch) -> torch.Tensor:
        terms = self.method(Outputs(self.head(images), (), images), None, batch)
        return torch.stack(list(terms.values())).sum()


def train(rank: int, folder: Path) -> None:
    """Train an epoch on every second sample, of which each looks like class ``number % 4``, and save the end."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", world_size=PROCESSES, rank=rank)
    try:
        module = Wrapped().train()
        wrapped = DistributedDataParallel(module)
        for step in range(STEPS):
            index = torch.arange(rank, SAMPLES, PROCESSES).chunk(STEPS)[step]
            images = 20 * nn.functional.one_hot(index % 4, 4).float()
            wrapped(images, Batch(torch.zeros_like(index), index)).backward()
        changes = [(c.index, c.before, c.after) for c in module.method.end_epoch(0)]
        torch.save({"changes": changes, "labels": module.method.labels}, folder / f"{rank}.pt")
    finally:
        dist.destroy_process_group()
