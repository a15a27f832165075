"""A run's student as one file, checked on the run's own images before it is there."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import dropkd
from dropkd.engine.plan import evaluation_frame
from dropkd.errors import ConfigError, DropKDError, ModelError, did_you_mean
from dropkd.export.deployed import DeployedModel, describe_input
from dropkd.export.formats import FORMATS, Format
from dropkd.export.fusing import fuse_blocks
from dropkd.export.parity import Parity, check_parity
from dropkd.files import writable_folder, write_text
from dropkd.models.tapped import TappedNetwork
from dropkd.run import Run, frame_loader

__all__ = ["FORMATS", "Export", "export_run"]

# Images that the file is compared with the network on.
_IMAGES = 64


@dataclass(frozen=True)
class Export:
    """What was written.

    Args:
        path: the model's file.
        description: the JSON file beside it: input, preprocessing, classes.
        parameters: of the exported model.
        fused: parameters that fusing took away.
        parity: how near its answers are to the network's.
    """

    path: Path
    description: Path
    parameters: int
    fused: int
    parity: Parity


def export_run(
    run: Run | str | Path,
    *,
    to: str = "onnx",
    output: str | Path | None = None,
    preprocessing: bool = False,
    fuse: bool = True,
    model: nn.Module | None = None,
) -> Export:
    """Write a run's selected student as a file that needs no dropkd, with a description beside it.

    The batch size is free, re-parameterisable blocks are fused, and nothing of the distillation is left. The file
    is compared with the network on images of the run's data; where it answers otherwise nothing is written.

    Args:
        run: a run or its folder.
        to: ``onnx``, or ``pt2`` for PyTorch's own exported program.
        output: the file; by default ``student.onnx`` or ``student.pt2`` in the run folder.
        preprocessing: the file takes RGB bytes (B, 3, H, W) in 0..255 and normalises them itself.
        fuse: fuse re-parameterisable blocks.
        model: a module of the student's class, where the run was started with one.

    Raises:
        ConfigError: an unknown format, or a library that it needs is not installed.
        RunError: the run has no student yet, or the file can't be written.
        ModelError: the student can't be exported, or the file answers otherwise than the network.
    """
    if to not in FORMATS:
        raise ConfigError(f"unknown format {to!r}. There are: {', '.join(FORMATS)}.{did_you_mean(to, FORMATS)}")
    kind = FORMATS[to]
    opened = run if isinstance(run, Run) else Run.open(run)
    network = opened.network(model)
    path = Path(output) if output is not None else opened.folder / f"student{kind.suffix}"
    if path.suffix != kind.suffix:
        raise ConfigError(f"A file of the format {to!r} ends in {kind.suffix}, got {str(path)!r}.")
    frames = _load_frames(opened, network)
    pixels, expected = _ask(network, frames)
    student = network.model
    before = _count(student)
    if fuse:
        student = fuse_blocks(student, DeployedModel(student, network.spec, takes_pixels=True).normalize(pixels[:4]))
    deployed = DeployedModel(student, network.spec, takes_pixels=preprocessing).eval()
    inputs = pixels if preprocessing else deployed.normalize(pixels)
    frame = evaluation_frame(network.spec.image_size, network.spec.crop_fraction)
    facts = {
        "model": network.spec.name,
        "classes": list(network.spec.classes or ()),
        "multi_label": network.spec.multi_label,
        "input": describe_input(network.spec, frame, takes_pixels=preprocessing),
        "made_with": f"dropkd {dropkd.__version__}",
    }
    writable_folder(path.parent)
    # Written and checked elsewhere, so that a file that fails is never in its place.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        draft = Path(folder) / path.name
        _write(kind, deployed, inputs[:2], draft, facts, to)
        parity = check_parity(expected, kind.open(draft), inputs)
        draft.replace(path)
    description = path.with_name(path.name + ".json")
    write_text(description, json.dumps({**facts, "file": path.name, "parity": asdict(parity)}, indent=2) + "\n")
    return Export(path, description, _count(student), before - _count(student), parity)


def _write(
    kind: Format, module: nn.Module, example: Tensor, path: Path, facts: Mapping[str, object], name: str
) -> None:
    try:
        kind.write(module, example, path, facts)
    except DropKDError:
        raise
    except OSError as error:
        raise ModelError(f"Can't write {str(path)!r}: {error.strerror or error}.") from error
    except Exception as error:
        # Exporters raise many kinds of error; the first line says what the model does that they don't know.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        raise ModelError(
            f"{facts['model']!r} can't be written as {name} ({type(error).__name__}: {reason})."
        ) from error


def _load_frames(opened: Run, network: TappedNetwork) -> Tensor:
    """Return some frames (N, 3, h, w) of the run's data, those that it has not learned from where there are any."""
    data = opened.open_data()
    split = (data.test or data.val or data.train).sample(_IMAGES)
    return torch.cat([batch.images for batch in frame_loader(network, split)])


@torch.no_grad()
def _ask(network: TappedNetwork, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pixels that the network sees of the frames, as bytes, and its logits for them."""
    seen = network.preprocessing.show(frames, crop=True)
    pixels = (seen * 255).round().to(torch.uint8)
    logits = torch.cat([network(part, maps=False, crop=False).logits for part in torch.split(pixels, 16)])
    return pixels, logits


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
