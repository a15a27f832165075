"""One of two processes that train together; ``test_two_processes.py`` starts both and reads what they write.

Run as ``python two_processes.py FOLDER RANK``. The processes meet at files in the folder, so no port has to be free.
"""

from __future__ import annotations

import hashlib
import json
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from small_training import build_distiller, draw_views, list_trained
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from dropkd.contracts import Batch, Outputs, Pair, Shapes
from dropkd.methods import method_names
from dropkd.methods.crd import CRD

STEPS = 2
MEMORY = "the memory of CRD"
# Samples of each process: of unequal number, one of them in both, one twice.
SAMPLES = ([5, 0, 31], [7, 0, 12, 12, 3])
_PATIENCE = timedelta(seconds=60)


def main(folder: Path, rank: int) -> None:
    """Train with every method, a process group for each, and write the reports."""
    torch.set_num_threads(1)
    reports = {name: attempt(lambda name=name: train(name, rank), folder, name, rank) for name in method_names()}
    reports[MEMORY] = attempt(lambda: remember(rank, folder), folder, "memory", rank)
    (folder / f"{rank}.json").write_text(json.dumps(reports))


def attempt(work: Callable[[], dict[str, Any]], folder: Path, name: str, rank: int) -> dict[str, Any]:
    """Return what the work reports, or how it failed, so that the other methods are tried all the same."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / name}.meeting", rank=rank, world_size=2, timeout=_PATIENCE
    )
    try:
        return work()
    except Exception:
        return {"error": traceback.format_exc()}
    finally:
        dist.destroy_process_group()


def train(name: str, rank: int) -> dict[str, Any]:
    """Train for two steps; the processes start from weights, and draw random numbers, of their own."""
    distiller = build_distiller(name, seed=rank)
    wrapped = DistributedDataParallel(distiller, find_unused_parameters=False)
    trained = list_trained(distiller)
    before = {key: parameter.detach().clone() for key, parameter in trained.items()}
    # Without decay, so that nothing but gradients moves a parameter.
    optimizer = torch.optim.AdamW(trained.values(), lr=0.01, weight_decay=0.0)
    without_gradient = set()
    for step in range(STEPS):
        images, target, index = draw_views(distiller, step, rank)
        wrapped(images, target, index, step).loss.backward()
        without_gradient |= {key for key, parameter in trained.items() if parameter.grad is None}
        optimizer.step()
        optimizer.zero_grad()
    return {
        "digests": {key: digest(parameter) for key, parameter in trained.items()},
        "without gradient": sorted(without_gradient),
        "unchanged": sorted(key for key, parameter in trained.items() if torch.equal(parameter, before[key])),
        "of the method": sorted(key for key in trained if key.startswith("method.")),
    }


def remember(rank: int, folder: Path) -> dict[str, Any]:
    """Let CRD remember other samples in each process, from other starts; save what it holds then."""
    method = build_crd(seed=rank)
    method.projectors.load_state_dict(build_crd(seed=0).projectors.state_dict())
    for seed in range(STEPS):
        call_crd(method, SAMPLES[rank], seed, rank)
    buffers = dict(method.named_buffers())
    torch.save(buffers, folder / f"memory{rank}.pt")
    return {"digests": {name: digest(buffer) for name, buffer in buffers.items()}}


def build_crd(seed: int) -> CRD:
    torch.manual_seed(seed)
    return CRD(Pair(Shapes(4, (), 6), Shapes(4, (), 9), 4, torch.arange(40) % 4), width=8)


def call_crd(method: CRD, samples: list[int], seed: int, rank: int) -> None:
    embeddings = (draw_embedding(samples, width, seed, rank) for width in (6, 9))
    student, teacher = (Outputs(e[:, :1], (), e) for e in embeddings)
    index = torch.tensor(samples)
    method(student, teacher, Batch(index % 4, index))


def draw_embedding(samples: list[int], width: int, seed: int, rank: int) -> Tensor:
    return torch.randn(len(samples), width, generator=torch.Generator().manual_seed(10 * seed + rank))


def digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.detach().contiguous().numpy().tobytes()).hexdigest()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
