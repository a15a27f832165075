"""What is ours of a LiteRT file: its converter is too large for this suite; one that keeps the module stands in.

docs/export.md tells what the real one gave.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dropkd
from dropkd.cli import run_command_line
from dropkd.errors import ConfigError, ModelError

Convert = Callable[..., "Written"]


class Written:
    """A converted model: the file holds a number, by which the interpreter finds the module."""

    made: ClassVar[list[nn.Module]] = []

    def __init__(self, module: nn.Module) -> None:
        self.made.append(module)

    def export(self, path: str) -> None:
        sys.stdout.write("[DONE] Write Model\n")
        Path(path).write_bytes(b"TFL3" + bytes([len(self.made) - 1]))


class Interpreter:
    def __init__(self, model_content: bytes, num_threads: int) -> None:
        self.module = Written.made[model_content[4]]

    def allocate_tensors(self) -> None: ...

    def get_signature_runner(self) -> Callable[..., dict[str, Any]]:
        def run(images: Any) -> dict[str, Any]:
            assert len(images) == 1
            with torch.no_grad():
                return {"logits": self.module(torch.from_numpy(images))["logits"].numpy()}

        return run


def convert(module: nn.Module, sample_kwargs: dict[str, Tensor]) -> Written:
    sys.stdout.write("[START] Convert\n")
    os.write(2, b"as compiled code does\n")
    assert sample_kwargs["images"].shape[0] == 1
    torch.export.export(module, (), sample_kwargs)
    return Written(module)


def stand_in(monkeypatch: pytest.MonkeyPatch, converting: Convert = convert) -> None:
    modules = {name: ModuleType(name) for name in ("litert_torch", "ai_edge_litert", "ai_edge_litert.interpreter")}
    for name, module in modules.items():
        module.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    modules["litert_torch"].convert = converting  # type: ignore[attr-defined]
    modules["ai_edge_litert.interpreter"].Interpreter = Interpreter  # type: ignore[attr-defined]


def test_a_file_of_one_image_at_a_time_is_compared_with_all(
    distilled_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch)
    path = tmp_path / "student.tflite"
    assert run_command_line(["export", str(distilled_run), "--to", "tflite", "--output", str(path)]) == 0
    shown = capfd.readouterr()
    assert "Same class as the network on 24 of 24 images" in shown.out
    assert "[START]" not in shown.out
    assert shown.err == ""
    described = json.loads((tmp_path / "student.tflite.json").read_text())
    assert described["input"]["batch"] == "1"
    assert described["parity"]["by"] == "ai-edge-litert"


def test_labels_and_facts_lie_in_a_zip_at_its_end(
    distilled_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch)
    written = dropkd.export_run(distilled_run, to="tflite", output=tmp_path, licence="MIT", preprocessing=True)
    assert written.path.read_bytes().startswith(b"TFL3")
    with zipfile.ZipFile(written.path) as files:
        assert files.read("labels.txt").decode() == "ankle_boot\nsandal\ntrouser\n"
        facts = json.loads(files.read("dropkd.json"))
    assert facts["licence"] == "MIT"
    assert facts["input"]["dtype"] == "uint8"


def test_wrong_answers_leave_nothing_behind(
    distilled_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Off(nn.Module):
        def forward(self, images: Tensor) -> dict[str, Tensor]:
            return {"logits": torch.from_numpy(np.full((len(images), 3), 9.0, np.float32))}

    stand_in(monkeypatch, lambda module, sample_kwargs: Written(Off()))
    with pytest.raises(ModelError, match="tflite file does not answer as the network does"):
        dropkd.export_run(distilled_run, to="tflite", output=tmp_path / "out" / "a.tflite")
    assert not (tmp_path / "out").exists()


def test_without_the_converter_the_extra_is_named(distilled_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    with pytest.raises(ConfigError, match=r"tflite needs 'litert_torch', .*pip install 'dropkd\[litert\]'"):
        dropkd.export_run(distilled_run, to="tflite")
