"""timm's own preprocessing, as a repository's description asks for it, shows a student what it was judged on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image

from dropkd.answering import frame_loader, gather_images
from dropkd.demo.images import load_demo_split
from dropkd.models import build_network, save_network
from dropkd.sharing.licence import choose_licence
from dropkd.sharing.repository_config import describe_repository


@pytest.fixture(scope="module")
def large_photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Real images, sixteen in one, of odd sizes."""
    folder = tmp_path_factory.mktemp("large")
    split = load_demo_split("test")
    files = []
    for number, size in enumerate([(112, 112), (150, 97), (97, 150), (301, 200), (64, 200)]):
        rows = split.images[16 * number : 16 * number + 16]
        sheet = rows.reshape(4, 4, 28, 28, *rows.shape[3:]).swapaxes(1, 2).reshape(112, 112, *rows.shape[3:])
        files.append(folder / f"{number}.png")
        Image.fromarray(sheet).convert("RGB").resize(size, Image.Resampling.BICUBIC).save(files[-1])
    return files


@pytest.mark.parametrize("crop", [1.0, 0.875])
def test_timm_shows_square_inputs_as_dropkd_does_but_for_half_a_pixel(
    crop: float, large_photos: list[Path], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    # A student that started from bicubic weights is judged on bilinear frames all the same.
    network = build_network("test_vit", num_classes=4, image_size=64, crop_fraction=crop).eval()
    assert network.spec.interpolation == "bicubic"
    described = describe_repository(network.spec, network.model, choose_licence("mit", None, ()))
    (tmp_path / "config.json").write_text(json.dumps(described))
    save_network(network, tmp_path / "model.safetensors")
    model = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (network.spec.mean, network.spec.std))
    frames = next(iter(frame_loader(network, gather_images(large_photos)))).images
    for file, own in zip(large_photos, network.preprocessing.show(frames, crop=True) * 255, strict=True):
        difference = ((transform(Image.open(file)) * std + mean) * 255 - own).abs()
        # Equal for a square image; timm cuts others at whole pixels of the resized image, dropkd at the very centre.
        assert float(difference.mean()) < (0.01 if file.stem == "0" else 10)
        assert float(difference.median()) < 2
