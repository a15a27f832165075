"""Runs and distillers with teachers of other kinds."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import dropkd
from dropkd import Distiller, api
from dropkd.config import Config, load_config
from dropkd.engine.observer import Observer
from dropkd.engine.setup import prepare_job
from dropkd.errors import ModelError
from dropkd.methods.registry import load_methods
from dropkd.metrics import count_macs
from dropkd.metrics.network_cost import count_bytes
from dropkd.models import build_network, create_model, open_network, save_network
from dropkd.models.teachers.ensemble import EnsembleTeacher


class Listener(Observer):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_message(self, text: str) -> None:
        self.heard.append(text)


def colours(images: Tensor) -> Tensor:
    return images.mean((2, 3)) * 10


@pytest.fixture
def script(tmp_path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(create_model("cifar_resnet8", num_classes=3).eval(), torch.rand(1, 3, 28, 28))
        traced.save(str(tmp_path / "teacher.pt"))
    return tmp_path / "teacher.pt"


@pytest.fixture
def second(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    network = build_network("cifar_resnet14", num_classes=3, image_size=20, classes=("ankle_boot", "sandal", "trouser"))
    save_network(network, tmp_path / "second.safetensors")
    return tmp_path / "second.safetensors"


def test_an_ensemble_teaches_a_whole_run_that_says_whose_maps_are_read(
    configure: Callable[..., Config], teacher_file: Path, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(second.parent)
    config = configure(teacher__source=f"ensemble:timm/vit_tiny_patch16_224:{teacher_file}+second.safetensors")
    listener = Listener()
    run = api.run(config, observer=listener)
    assert any("reads maps and embedding of its first member, vit_tiny_patch16_224." in text for text in listener.heard)
    # It is to be resumed from any folder.
    source = run.config.teacher.source if run.config.teacher else ""
    assert source == f"ensemble:timm/vit_tiny_patch16_224:{teacher_file}+{second}"
    teacher = run.metrics["teacher"]
    assert teacher["source"] == source
    parts = [open_network(teacher_file), open_network(second)]
    assert teacher["parameters"] == sum(sum(p.numel() for p in part.model.parameters()) for part in parts)
    assert teacher["macs"] == sum(count_macs(part) for part in parts)
    assert teacher["bytes"] == sum(count_bytes(part.model) for part in parts)
    student = run.metrics["student"]
    assert student["macs"] == count_macs(student["name"], tuple(student["image_size"]), len(run.metrics["classes"]))
    # The weights and little else are what the file holds.
    assert 0 < (run.folder / "student.safetensors").stat().st_size - student["bytes"] < 20_000
    assert run.metrics["splits"]["test"]["agreement"] is not None


def test_logit_methods_learn_from_an_ensemble_without_a_word_on_maps(
    configure: Callable[..., Config], teacher_file: Path, second: Path
) -> None:
    listener = Listener()
    job = prepare_job(configure("kd", teacher__source=f"ensemble:{teacher_file}+{second}"), listener)
    assert isinstance(job.distiller.teacher, EnsembleTeacher)
    assert not any("ensemble" in text for text in listener.heard)


def test_a_label_map_is_applied_to_each_member(
    configure: Callable[..., Config], teacher_file: Path, tmp_path: Path
) -> None:
    other = build_network(
        "cifar_resnet8", num_classes=4, image_size=16, classes=("sandal", "hat", "ankle_boot", "trouser")
    )
    save_network(other, tmp_path / "other.safetensors")
    rows = "\n".join(f"{name},{name}" for name in ("ankle_boot", "sandal", "trouser"))
    (tmp_path / "map.csv").write_text(f"teacher,own\n{rows}\n")
    listener = Listener()
    config = configure(
        "kd",
        teacher__source=f"ensemble:{teacher_file}+{tmp_path / 'other.safetensors'}",
        teacher__label_map=str(tmp_path / "map.csv"),
    )
    teacher = prepare_job(config, listener).distiller.teacher
    assert teacher is not None
    assert teacher.spec.classes == ("ankle_boot", "sandal", "trouser")
    assert [text for text in listener.heard if text.startswith("Label map")] == [
        "Label map: 3 of the teacher's 3 classes stand for your 3; none is left out.",
        "Label map: 3 of the teacher's 4 classes stand for your 3; 1 leads nowhere and is left out (number 1).",
    ]


def test_a_torchscript_file_teaches_a_run_by_its_logits(configure: Callable[..., Config], script: Path) -> None:
    run = api.run(configure("kd", teacher__source=str(script)))
    assert run.is_finished
    assert run.metrics["teacher"]["name"] == str(script)
    assert np.isfinite(run.metrics["splits"]["test"]["loss"])


def test_a_function_teaches_a_run_by_its_logits(clothes: Path, tmp_path: Path) -> None:
    run = dropkd.distill(
        clothes, teacher=colours, student="cifar_resnet8", method="kd", epochs=1, batch_size=16,
        output=tmp_path / "run", teacher_check="off",
    )  # fmt: skip
    assert run.metrics["teacher"]["source"] == "colours"
    assert (run.metrics["teacher"]["parameters"], run.metrics["teacher"]["macs"]) == (0, None)


def test_a_distiller_takes_a_function_and_a_script_as_they_are(script: Path) -> None:
    images, target = torch.rand(4, 3, 28, 28), torch.tensor([0, 1, 2, 0])
    student = build_network("cifar_resnet8", num_classes=3, image_size=28)
    losses = Distiller(student, colours, "kd")(images, target)
    assert losses.teacher_logits is not None
    torch.testing.assert_close(losses.teacher_logits, colours(images))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = torch.jit.load(str(script))
    answer = Distiller(student, loaded, "kd")(images, target).teacher_logits
    assert answer is not None
    torch.testing.assert_close(answer, loaded(images))


@pytest.mark.parametrize("name", [name for name, cls in load_methods()[0].items() if cls.teacher_reads - {"logits"}])
def test_a_method_that_reads_more_than_logits_refuses_such_a_teacher(name: str) -> None:
    student = build_network("cifar_resnet8", num_classes=3, image_size=28)
    with pytest.raises(
        ModelError, match=r"reads .* of the teacher, but 'colours' gives logits alone\. Choose a method"
    ):
        Distiller(student, colours, name, targets=torch.arange(9) % 3)


@pytest.mark.parametrize("name", [name for name, cls in load_methods()[0].items() if cls.teacher_reads == {"logits"}])
def test_a_method_that_reads_logits_alone_takes_it(name: str) -> None:
    student = build_network("cifar_resnet8", num_classes=3, image_size=28)
    distiller = Distiller(student, colours, name, targets=torch.arange(9) % 3)
    views = len(distiller.method.views)
    target = torch.tensor([0, 1, 2, 0]).repeat(views)
    losses = distiller(torch.rand(4 * views, 3, 28, 28), target, torch.arange(4).repeat(views))
    losses.loss.backward()
    assert losses.loss.isfinite()


def test_the_command_line_refuses_it_before_training(
    configure: Callable[..., Config], script: Path, tmp_path: Path
) -> None:
    config = load_config(flags={**configure().model_dump(), "teacher": {"source": str(script)}})
    with pytest.raises(ModelError, match="gives logits alone"):
        api.run(config)
    assert not (tmp_path / "run").exists()
