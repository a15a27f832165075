"""Networks measured for real: a run's student and teacher, exports, models by name, and what can go wrong."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import dropkd
from dropkd.costing import measure_costs
from dropkd.costing.memory import measure_peaks
from dropkd.costing.record import CostRecord, read_record
from dropkd.costing.subjects import Origin, open_session
from dropkd.engine.observer import Observer
from dropkd.errors import ConfigError, ModelError, RunError
from dropkd.metrics import count_macs
from dropkd.models import build_network

QUICK: dict[str, Any] = {"batch_sizes": [1], "threads": [1], "seconds": 0.05}


class Listener(Observer):
    def __init__(self) -> None:
        self.warned: list[str] = []

    def on_warning(self, text: str) -> None:
        self.warned.append(text)


@pytest.fixture
def run(finished: dropkd.Run, tmp_path: Path) -> Path:
    """A run folder of one's own."""
    return Path(shutil.copytree(finished.folder, tmp_path / "run"))


def test_a_run_is_measured_beside_its_teacher_and_keeps_what_was_found(run: Path, teacher_file: Path) -> None:
    threads = torch.get_num_threads()
    record = measure_costs([run], batch_sizes=[1, 4], threads=[1, 2], seconds=0.05, memory=False)
    assert torch.get_num_threads() == threads
    student, teacher = record.networks
    metrics = json.loads((run / "metrics.json").read_text())
    for network, known in ((student, metrics["student"]), (teacher, metrics["teacher"])):
        assert (network.parameters, network.macs, network.bytes) == tuple(
            known[key] for key in ("parameters", "macs", "bytes")
        )
        assert (network.deployed_parameters, network.deployed_macs) == (network.parameters, network.macs)
        assert [(t.runtime, t.threads, t.batch) for t in network.timings] == [
            ("torch", threads, batch) for threads in (1, 2) for batch in (1, 4)
        ]
        assert all(0 < t.latency.interval[0] <= t.latency.p50 <= t.latency.p95 for t in network.timings)
        assert network.image_size == (28, 28)
        assert network.notes == ()
    assert (student.role, teacher.role, teacher.name) == ("student", "teacher", "teacher.safetensors")
    assert student.files == {"student.safetensors": (run / "student.safetensors").stat().st_size}
    assert teacher.files == {"teacher.safetensors": teacher_file.stat().st_size}
    assert read_record(run) == record


def test_an_exported_file_is_timed_by_onnxruntime_and_not_kept_unless_it_was_there(run: Path) -> None:
    before = sorted(path.name for path in run.iterdir())
    record = measure_costs([run], onnx=True, teacher=False, **QUICK)
    (student,) = record.networks
    assert [(t.runtime, t.file) for t in student.timings] == [("torch", None), ("onnxruntime", "student.onnx")]
    assert student.notes == ("student.onnx was exported for this measurement and is not kept.",)
    # onnxruntime alone takes far less than a process with PyTorch in it.
    with_torch, alone = student.memory
    assert (with_torch.runtime, alone.runtime) == ("torch", "onnxruntime")
    assert alone.peak < with_torch.peak
    assert all(m.batch == 1 and m.peak > m.libraries > 2**20 for m in student.memory)
    assert sorted(path.name for path in run.iterdir()) == sorted([*before, "cost.json"])


def test_the_onnx_files_of_a_run_are_timed_where_they_lie(run: Path) -> None:
    exported = dropkd.export_run(run).path
    record = measure_costs([run, exported], teacher=False, memory=False, **QUICK)
    student, alone = record.networks
    assert [t.file for t in student.timings] == [None, "student.onnx"]
    assert student.files["student.onnx"] == exported.stat().st_size
    assert (alone.role, alone.parameters, alone.macs, alone.image_size) == ("network", None, None, (28, 28))
    assert [t.runtime for t in alone.timings] == ["onnxruntime"]
    assert measure_costs([run], onnx=False, teacher=False, memory=False, **QUICK).networks[0].timings[0].file is None
    # A measurement that is asked again replaces the first.
    kept = read_record(run)
    assert kept is not None
    assert len(kept.networks[0].timings) == 1


def test_models_by_name_are_measured_side_by_side_at_one_size() -> None:
    names = ["cifar_resnet8", "cifar_resnet110"]
    record = measure_costs(names, image_size=16, num_classes=7, memory=False, **(QUICK | {"seconds": 0.3}))
    small, large = record.networks
    assert (small.macs, small.image_size) == (count_macs("cifar_resnet8", 16, 7), (16, 16))
    # Fourteen times as many layers.
    assert large.timings[0].latency.p50 > 3 * small.timings[0].latency.p50
    assert small.timings[0].images_per_second == pytest.approx(1 / small.timings[0].latency.p50)


def test_a_network_of_several_branches_is_timed_with_them_fused() -> None:
    (network,) = measure_costs(["repvgg_a0"], image_size=32, num_classes=3, memory=False, **QUICK).networks
    assert network.parameters is not None
    assert network.deployed_parameters is not None
    assert network.deployed_parameters < network.parameters
    # A 3 x 3 convolution a block: 48 channels at 16 and 8 pixels a side (3 blocks), 96 at 4 (4), 192 at 2 (14), 1,280.
    stem, first = 256 * 48 * 27, 2 * 64 * 48 * 48 * 9
    second, third = 16 * 9 * (48 + 3 * 96) * 96, 4 * 9 * (96 + 13 * 192) * 192
    fused = stem + first + second + third + 9 * 192 * 1280 + 1280 * 3
    assert (network.macs, network.deployed_macs) == (count_macs("repvgg_a0", 32, 3), fused)


def test_a_module_is_measured_but_for_its_memory() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(12, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(x.flatten(1))
            return logits

    (network,) = measure_costs([Own()], image_size=2, **QUICK).networks
    assert (network.name, network.parameters, network.macs) == ("Own", 65, 60)
    assert network.memory == ()
    assert network.notes == ("Memory was not measured: no other process can open a module of this one.",)


def test_the_teacher_of_several_runs_is_measured_once_and_kept_with_each(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other" / "run"))
    record = measure_costs([run, other, run], memory=False, **QUICK)
    names = [network.name for network in record]
    assert names == ["run", "teacher.safetensors", "run (student)"]
    for folder, name in ((run, "run"), (other, "run (student)")):
        kept = read_record(folder)
        assert kept is not None
        assert [network.name for network in kept] == [name, "teacher.safetensors"]


def test_a_teacher_that_is_gone_is_left_out_with_a_word(run: Path, tmp_path: Path) -> None:
    text = (run / "config.yaml").read_text()
    config = text.replace(str(dropkd.Run.open(run).config.teacher.source), str(tmp_path / "gone.safetensors"))  # type: ignore[union-attr]
    (run / "config.yaml").write_text(config)
    listener = Listener()
    record = measure_costs([run], memory=False, observer=listener, **QUICK)
    assert [network.role for network in record] == ["student"]
    assert len(listener.warned) == 1
    assert listener.warned[0].startswith(f"The teacher of {run} is left out: Unknown model")


def test_memory_grows_with_the_weights_and_the_batch() -> None:
    # 21.3 million parameters of 4 bytes; a batch of 128 images of 64 x 64 leaves maps of 8 MB.
    large = measure_peaks(Origin("model", "timm/resnet34", (64, 64), 3), [1, 128], 1, None)
    assert 85e6 < large.peaks[1] - large.libraries < 250e6
    assert large.peaks[128] - large.peaks[1] > 16e6


def test_a_process_that_ends_without_an_answer_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"Memory was not measured: .*gone\.onnx' is damaged or no ONNX file"):
        measure_peaks(Path("gone.onnx"), [1], 1, (8, 8))
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(ModelError, match=r"Memory was not measured: the process ended by code 1 \(nothing was said\)"):
        measure_peaks(Path("gone.onnx"), [1], 1, (8, 8))


@pytest.mark.parametrize(
    ("sources", "more", "error", "words"),
    [
        ([], {}, ConfigError, "Name what is to be measured"),
        (
            ["cifar_resnet8"],
            {"batch_sizes": [4, 0]},
            ConfigError,
            "batch sizes must be whole numbers of 1 or more, got 0",
        ),
        (["cifar_resnet8"], {"threads": [-1]}, ConfigError, "threads must be whole numbers of 1 or more, got -1"),
        (["cifar_resnet8"], {"seconds": 0}, ConfigError, "seconds must be above 0, got 0"),
        (["cifar_resnet8"], {"device": "cuda:7"}, ConfigError, "cuda:7"),
        (["cifar_resnt8"], {}, ModelError, "Did you mean 'cifar_resnet8'"),
        (["no-such-folder"], {}, ModelError, "Nor is there a run folder or a file 'no-such-folder'"),
        (["no-such-file.onnx"], {}, ModelError, "There is no file 'no-such-file.onnx'"),
        (["vgg16"], {"image_size": 8}, ModelError, "'vgg16' can't take images of 8x8 pixels"),
    ],
)
def test_what_cannot_be_measured_is_told(
    sources: list[str], more: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        measure_costs(sources, **(QUICK | {"memory": False} | more))


def test_a_folder_that_is_no_run_and_a_run_without_a_student_are_told(run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="is no run folder"):
        measure_costs([tmp_path / "empty"], **QUICK)
    (run / "student.safetensors").unlink()
    with pytest.raises(RunError, match="holds no student yet"):
        measure_costs([run], **QUICK)
    with pytest.raises(ConfigError, match="is a run, whose student has its own image size"):
        measure_costs([run], image_size=32, **QUICK)


def test_onnx_files_that_do_not_fit_are_told(tmp_path: Path) -> None:
    (tmp_path / "damaged.onnx").write_bytes(b"no model")
    (network,) = measure_costs([tmp_path / "damaged.onnx"], **QUICK).networks
    assert network.timings == network.memory == ()
    assert "is damaged or no ONNX file" in network.notes[0]
    fixed = tmp_path / "fixed.onnx"
    model = build_network("cifar_resnet8", num_classes=3, image_size=16).eval().model
    torch.onnx.export(model, (torch.rand(2, 3, 16, 16),), fixed, dynamo=True, verbose=False)
    (network,) = measure_costs([fixed], memory=False, **(QUICK | {"batch_sizes": [1, 2]})).networks
    assert [timing.batch for timing in network.timings] == [2]
    assert network.notes == ("fixed.onnx takes batches of 2, so it was not timed with 1.",)
    assert open_session(fixed, 2, 1, None).size == (16, 16)


def test_what_another_version_wrote_or_nobody_can_read_is_told(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    for text in ("", "[]", '{"schema": 1}', '{"schema": 9, "machine": {}, "networks": []}'):
        (tmp_path / "cost.json").write_text(text)
        with pytest.raises(ValueError, match=r"cost\.json can't be read"):
            read_record(tmp_path)
    CostRecord({}, ()).write(tmp_path)
    assert read_record(tmp_path) == CostRecord({}, ())
