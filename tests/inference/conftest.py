"""Runs and photographs that the tests of exported files share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

import dropkd
from dropkd.cli import run_command_line
from dropkd.models.checkpoint import save_network


@pytest.fixture(scope="package")
def run(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose student sees the inner 28 x 36 of 31 x 40 pixels, with its export. Read only."""
    folder = tmp_path_factory.mktemp("inference") / "run"
    arguments = ["--model", "cifar_resnet8", "--epochs", "3", "--batch-size", "16", "--lr", "0.01", "--workers", "0"]
    assert run_command_line(["train", str(clothes), *arguments, "--output", str(folder)]) == 0
    network = dropkd.Run.open(folder).network()
    network.spec = replace(network.spec, image_size=(28, 36), crop_fraction=0.9)
    save_network(network, folder / "student.safetensors")
    dropkd.export_run(folder)
    return folder


@pytest.fixture(scope="package")
def labels_run(outfits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose student gives several labels, with its export. Read only."""
    folder = tmp_path_factory.mktemp("inference") / "labels"
    arguments = ["--model", "cifar_resnet8", "--epochs", "3", "--batch-size", "16", "--lr", "0.01", "--workers", "0"]
    assert run_command_line(["train", str(outfits), *arguments, "--output", str(folder)]) == 0
    dropkd.export_run(folder)
    return folder


@pytest.fixture(scope="package")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two photographs as files of every kind that people have. Read only."""
    folder = tmp_path_factory.mktemp("photos with 'quotes' and ümläute 🌼")
    for number, pixels in enumerate(load_sample_images().images):
        for name, image, options in _vary(Image.fromarray(pixels)):
            image.save(folder / f"{number}-{name}", **options)
    return sorted(folder.iterdir())


def _vary(photo: Image.Image) -> Iterator[tuple[str, Image.Image, dict[str, object]]]:
    yield "large.jpg", photo.resize((1600, 1067)), {"quality": 90}
    yield "tall.jpeg", photo.resize((211, 900)), {}
    yield "small.png", photo.resize((7, 5)), {}
    yield "wide.webp", photo.resize((300, 31)), {"lossless": True}
    yield "one pixel.bmp", photo.resize((1, 1)), {}
    yield "grey.jpg", photo.convert("L"), {}
    yield "cmyk.jpg", photo.convert("CMYK"), {}
    yield "palette.gif", photo.convert("P"), {}
    yield "bilevel.png", photo.convert("1"), {}
    yield "16-bit.png", Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257), {}
    yield "float.tif", Image.fromarray(np.asarray(photo.convert("L")).astype(np.float32) / 255), {}
    faded = photo.copy()
    faded.putalpha(photo.convert("L"))
    yield "transparent.png", faded, {}
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"turned-{orientation}.jpg", photo.resize((130 + orientation, 480)), {"exif": exif}
