"""A run's student as an int8 ONNX file, judged on real images before it is there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dropkd.costing.latency import Latency, time_side_by_side
from dropkd.errors import ConfigError, ModelError
from dropkd.export.drafts import draft_folder, write_draft
from dropkd.export.formats import FORMATS, FormatOptions
from dropkd.export.formats.format import texts_of
from dropkd.export.onnx_answers import open_file
from dropkd.export.preparing import prepare_student
from dropkd.export.quantizing import find_ranges, quantize_model, simplify_file
from dropkd.export.quantizing_answers import open_model, open_network
from dropkd.export.quantizing_graph import choose_layers, list_layers, name_ranges
from dropkd.export.quantizing_images import choose_judges, feed, list_calibration
from dropkd.export.quantizing_judging import LayerNoise, Loss, find_noisy_layers, judge_both
from dropkd.export.quantizing_settings import Int8
from dropkd.export.standalone import write_script
from dropkd.files import writable_folder, write_text
from dropkd.run import Run

__all__ = ["Int8Export", "export_int8"]

# Time for the latency of each file.
_SECONDS = 2.0
# Images that layers are looked at one at a time with, and how many of the worst are named.
_LOOKED_AT, _NAMED = 32, 5
_SAYS = {"accuracy": "accuracy", "exact_match": "share of images with all labels right"}


@dataclass(frozen=True)
class Int8Export:
    """What was written.

    Args:
        path: the model's file.
        description: the JSON file beside it.
        float_bytes: size of the file of floating-point numbers that it was made from.
        layers: how many layers were rounded.
        kept: names of the layers that were not.
        ranges: how the ranges were found.
        learned: the rounded network of a student that has learned to be rounded (``qat``), against the file; None for
            one that has not.
        loss: the accuracy before and after. Before is the student as it was before
            it learned to be rounded, where it did.
        latency: of one image, by ``float`` and ``int8``.
        threads: that this was measured with.
    """

    path: Path
    description: Path
    float_bytes: int
    layers: int
    kept: tuple[str, ...]
    ranges: str
    learned: Loss | None
    loss: Loss
    latency: dict[str, Latency]
    threads: int


def export_int8(
    run: Run | str | Path,
    settings: Int8 | None = None,
    *,
    output: str | Path | None = None,
    preprocessing: bool = False,
    fuse: bool = True,
    model: nn.Module | None = None,
    licence: str | None = None,
    unfinished: bool = False,
    opset: int | None = None,
) -> Int8Export:
    """Write a run's selected student as an ONNX file of 8-bit whole numbers, with a description beside it.

    The accuracy before and after is measured on the validation split. Where too much is lost nothing is written.

    Args:
        run: a run or its folder.
        settings: how it is made, and how good it has to be.
        output: the file; by default ``student.int8.onnx`` in the run folder.
        preprocessing: the file takes RGB bytes (B, 3, H, W) in 0..255 and normalises them itself.
        fuse: fuse re-parameterisable blocks.
        model: a module of the student's class, where the run was started with one.
        licence: of the exported model, as it is to stand in its metadata.
        unfinished: export the best student so far of a run that is not at its end.
        opset: version of ONNX's operators; None: the exporter's own.

    Raises:
        ConfigError: a setting is wrong, or a library is not installed.
        RunError: the run has no student yet or is not finished, or the file can't be written.
        DataError: there are no images to find ranges by.
        ModelError: the student can't be exported, or the file loses more than ``settings.max_drop``.
    """
    settings = settings or Int8()
    kind, options = FORMATS["onnx"], FormatOptions(opset)
    kind.check(options)
    opened = run if isinstance(run, Run) else Run.open(run)
    path = Path(output) if output is not None else opened.folder / "student.int8.onnx"
    if path.suffix != kind.suffix:
        raise ConfigError(f"An int8 file ends in {kind.suffix}, got {str(path)!r}.")
    prepared = prepare_student(
        opened, preprocessing=preprocessing, fuse=fuse, model=model, licence=licence, unfinished=unfinished
    )
    data = opened.open_data()
    calibration, judges = list_calibration(data, settings.folder, settings.images), choose_judges(data)
    network = opened.network(model)
    writable_folder(path.parent)
    # Written and judged elsewhere, so that a file that fails is never in its place.
    with draft_folder(path.parent) as folder:
        whole, simple, draft = folder / "float" / "float.onnx", folder / "simple.onnx", folder / path.name
        write_draft(kind, prepared, whole, options)
        simplified = simplify_file(whole, simple)
        layers = list_layers(simplified)
        kept = choose_layers(layers, settings.keep_float)
        rounded = [layer for layer in layers if layer not in kept]
        if not rounded:
            raise ModelError(f"{prepared.spec.name!r} has no layer to round: all stay as they are.")
        batches = (inputs for inputs, _ in feed(network, prepared.module, calibration))
        ranges = find_ranges(simple, batches, settings.method)
        bits = settings.weight_bits or 8
        if (learned := network.roundings) is not None:
            ranges |= name_ranges(layers, learned.ranges())
            bits = settings.weight_bits or learned.weight_bits
        made = quantize_model(simplified, ranges, weight_bits=bits, layers=rounded)
        threads = settings.threads or torch.get_num_threads()
        before, after = open_file(whole.read_bytes(), threads), open_file(made.SerializeToString(), threads)
        # A student that has learned to be rounded may no longer be what it was: it is compared with that.
        original = opened.float_network(model)
        reference = before if original is None else open_network(original, prepared.module)
        loss = judge_both(judges.name, feed(network, prepared.module, judges), reference, after)
        kept_learned = None
        if learned is not None:
            rounded_network = open_network(network, prepared.module)
            kept_learned = judge_both(judges.name, feed(network, prepared.module, judges), rounded_network, after)
        if settings.max_drop is not None and loss.drop > settings.max_drop:
            some = prepared.inputs[:_LOOKED_AT].numpy()
            noisy = find_noisy_layers(simplified, ranges, some, open_model, weight_bits=bits)
            raise ModelError(_say_too_much(loss, settings.max_drop, noisy, opened))
        one = prepared.inputs[:1].numpy()
        latency = time_side_by_side({"float": lambda: before(one), "int8": lambda: after(one)}, seconds=_SECONDS)
        record = {
            "weight_bits": bits,
            "learned": learned is not None,
            "calibration": {"split": calibration.name, "images": len(calibration), "method": settings.method},
            "kept_float": [layer.name for layer in kept],
            "loss": asdict(loss),
            "rounded_network": None if kept_learned is None else asdict(kept_learned),
            "latency_seconds": {name: asdict(taken) for name, taken in latency.items()},
            "threads": threads,
        }
        facts = {**prepared.facts, "int8": record}
        draft.write_bytes(_with_facts(made, facts).SerializeToString())
        float_bytes = whole.stat().st_size
        draft.replace(path)
    write_script(path.parent)
    description = path.with_name(path.name + ".json")
    write_text(description, json.dumps({**facts, "format": "onnx", "file": path.name}, indent=2) + "\n")
    return Int8Export(
        path, description, float_bytes, len(rounded), tuple(layer.name for layer in kept),
        f"by {len(calibration):,} images of {calibration.name} ({settings.method})", kept_learned, loss, latency,
        threads,
    )  # fmt: skip


def _with_facts(model: Any, facts: dict[str, Any]) -> Any:
    """Return the model with what is known of it in its metadata, and nothing of the tools in between."""
    del model.metadata_props[:]
    for key, value in texts_of(facts).items():
        model.metadata_props.add(key=key, value=value)
    return model


def _say_too_much(loss: Loss, max_drop: float, noisy: Sequence[LayerNoise], run: Run) -> str:
    low, high = (100 * end for end in loss.paired.interval)
    worst = ", ".join(noise.layer for noise in noisy[:_NAMED])
    first = noisy[0].layer if noisy else "LAYER"
    return (
        f"int8 costs {loss.drop:.2f} points of {_SAYS[loss.figure]} on {loss.split} ({loss.images:,} images: "
        f"{loss.before:.2%} before, {loss.after:.2%} after; 95 % interval of the change {low:+.2f} to {high:+.2f}), "
        f"and --max-drop allows {max_drop:g}. Nothing was written.\n"
        f"Rounding these layers changes the answers most: {worst}. Leave some as they are with --keep-float {first}; "
        "try --calibration-method percentile or entropy; or let the student learn to be rounded from its teacher: "
        f"dropkd distill {run.config.data.path} --qat --student {run.folder} --teacher TEACHER"
    )
