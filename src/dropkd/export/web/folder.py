"""The folder that is written: the page, the model and what runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dropkd.export.web.packing import pack, unpack
from dropkd.export.web.page import render_page
from dropkd.export.web.runtime import read_licences, read_runtime
from dropkd.export.web.samples import Sample

__all__ = ["MODEL_FILE", "read_model", "write_folder"]

MODEL_FILE = "model.js"


def write_folder(folder: Path, model: bytes, facts: Mapping[str, Any], samples: Sequence[Sample]) -> None:
    """Write a page that runs a model in the browser, to a new folder.

    Args:
        folder: is made.
        model: ONNX.
        facts: what is known of it; see :func:`dropkd.export.facts.describe_student`.
        samples: images to try.
    """
    folder.mkdir()
    script = pack("model", model)
    texts = {
        "index.html": render_page(facts, samples, size=len(script)),
        MODEL_FILE: script,
        "onnxruntime.js": read_runtime(),
        "onnxruntime-licences.txt": read_licences(),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def read_model(folder: Path) -> bytes:
    """Return the ONNX model of such a folder."""
    return unpack((folder / MODEL_FILE).read_text(encoding="utf-8"), "model")
