"""Photographs of different sizes, read by worker processes, for two networks that want different inputs."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from dropkd import api
from dropkd.config import Config, load_config
from dropkd.engine.checkpoint import load_checkpoint
from dropkd.engine.observer import Observer
from dropkd.engine.setup import prepare_job
from dropkd.engine.signals import Interrupted
from dropkd.models import build_network, save_network


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, cut-outs of two photographs as JPEG files of many sizes."""
    folder = tmp_path_factory.mktemp("photos")
    for name, pixels in zip(("temple", "flower"), load_sample_images().images, strict=True):
        (folder / name).mkdir()
        photo = Image.fromarray(pixels)
        for number in range(20):
            left, top, side = 11 * number, 7 * number, 100 + 3 * number
            box = (left, top, left + side + 20, top + side)
            photo.crop(box).save(folder / name / f"{number}.jpg", quality=90)
    return folder


@pytest.fixture
def config(photos: Path, tmp_path: Path) -> Config:
    torch.manual_seed(3)
    options = {"patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 2}
    teacher = build_network("timm/vit_tiny_patch16_224", num_classes=2, image_size=(96, 96), options=options)
    save_network(teacher, tmp_path / "teacher.safetensors")
    return load_config(
        flags={
            "data.path": str(photos), "data.workers": 1, "data.image_size": 64, "data.color_jitter": 0.2,
            "student.name": "mobilenetv3_small_050", "student.pretrained": False,
            "teacher.source": f"timm/vit_tiny_patch16_224:{tmp_path / 'teacher.safetensors'}", "teacher_check": "off",
            "method.name": "dropkd", "training.epochs": 2, "training.batch_size": 8, "output": str(tmp_path / "run"),
        }
    )  # fmt: skip


def test_both_networks_see_the_same_crop_at_their_own_size_and_normalisation(config: Config) -> None:
    job = prepare_job(config, Observer())
    student, teacher = job.distiller.student, job.distiller.teacher
    assert teacher is not None
    assert job.view_size == (96, 96)
    assert student.spec.image_size == (64, 64)
    assert student.spec.mean != teacher.spec.mean
    seen: dict[str, torch.Tensor] = {}
    student.model.conv_stem.register_forward_pre_hook(lambda _, inputs: seen.update(student=inputs[0]))
    teacher.model.patch_embed.register_forward_pre_hook(lambda _, inputs: seen.update(teacher=inputs[0]))
    batch = next(job.train_loader().epoch(0))
    job.distiller.train()(batch.images, batch.target)
    assert seen["student"].shape[2:] == (64, 64)
    assert seen["teacher"].shape[2:] == (96, 96)
    pixels = [
        seen[name] * torch.tensor(net.spec.std).view(1, 3, 1, 1) + torch.tensor(net.spec.mean).view(1, 3, 1, 1)
        for name, net in (("student", student), ("teacher", teacher))
    ]
    small = torch.nn.functional.interpolate(pixels[1], (64, 64), mode="bilinear", antialias=True, align_corners=False)
    assert (small - pixels[0]).abs().mean() < 0.02


class StopInEpochTwo(Observer):
    def on_step(self, *, epoch: int, step: int, **_: Any) -> None:
        if epoch == 1:
            signal.raise_signal(signal.SIGTERM)


def test_a_run_with_workers_resumes_bit_for_bit(config: Config, tmp_path: Path) -> None:
    whole = api.run(config)
    other = config.model_copy(update={"output": tmp_path / "halved"})
    with pytest.raises(Interrupted, match="in epoch 2 of 2 after 1 of its 4 steps"):
        api.run(other, observer=StopInEpochTwo())
    resumed = api.resume(tmp_path / "halved")
    one, two = (load_checkpoint(folder / "last.ckpt") for folder in (whole.folder, resumed.folder))
    assert all(torch.equal(one["distiller"][name], tensor) for name, tensor in two["distiller"].items())
    assert torch.equal(one["random"]["torch"], two["random"]["torch"])
