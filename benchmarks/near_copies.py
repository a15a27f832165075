"""How many changed copies of images the data check finds, and how many distinct images it takes for copies.

    python benchmarks/near_copies.py [FOLDER] [--images 2000] [--copies 200] [--near 24]

Without a folder, the bundled images of Fashion-MNIST (28 x 28). Of each change, so many images get a copy; it is found
if its hash is near and the pictures agree, as in the check itself. The last line counts the images that the check pairs
with another one of the set: look at them, they may be copies.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from dropkd.data.check.hashing import MARGINS
from dropkd.data.check.likeness import agree
from dropkd.data.check.looking import Look, look_at_pixels
from dropkd.data.check.neighbours import find_neighbours
from dropkd.data.images import IMAGE_SUFFIXES, load_image
from dropkd.demo.images import load_demo_split

Picture = Image.Image


def recompress(image: Picture, quality: int) -> Picture:
    """Return an image as JPEG leaves it."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def resize(image: Picture, factor: float) -> Picture:
    """Return an image at another size."""
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)


def trim(image: Picture, left: float, right: float) -> Picture:
    """Return an image without these shares of its sides."""
    width, height = image.size
    return image.crop(
        (round(width * left), round(height * left), width - round(width * right), height - round(height * right))
    )


CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "JPEG, quality 85": lambda image: recompress(image, 85),
    "JPEG, quality 50": lambda image: recompress(image, 50),
    "2/3 of the size": lambda image: resize(image, 2 / 3),
    "twice the size": lambda image: resize(image, 2),
    "3/4 of the size, JPEG 75": lambda image: recompress(resize(image, 0.75), 75),
    "brighter by 20 %": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "darker by 20 %": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "contrast + 20 %": lambda image: ImageEnhance.Contrast(image).enhance(1.2),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "4 % cut off each side": lambda image: trim(image, 0.04, 0.04),
    "8 % cut off one side": lambda image: trim(image, 0.08, 0),
}


def main() -> None:
    """Print the share of copies that are found, change by change, and the images that are paired with others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--copies", type=int, default=200)
    parser.add_argument("--near", type=int, default=24)
    options = parser.parse_args()
    pictures = read_pictures(options.folder, options.images)
    looks = [look(picture) for picture in pictures]
    chosen = np.random.default_rng(1).permutation(len(pictures))[: options.copies].tolist()
    print(f"| change | found of {len(chosen)} |\n|---|---|")
    for name, change in CHANGES.items():
        found = sum(is_found(looks[i], look(change(pictures[i])), options.near) for i in chosen)
        print(f"| {name} | {100 * found / len(chosen):.1f} % |", flush=True)
    print(f"\n{count_paired(looks, options.near)} of {len(looks)} distinct images are paired with another one.")


def read_pictures(folder: Path | None, count: int) -> list[Picture]:
    """Return so many images, picked by a fixed seed."""
    rng = np.random.default_rng(0)
    if folder is None:
        images = load_demo_split("train").images
        return [Image.fromarray(images[i]).convert("RGB") for i in rng.permutation(len(images))[:count]]
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    return [load_image(files[i]) for i in rng.permutation(len(files))[:count]]


def look(picture: Picture) -> Look:
    """Return what the check keeps of a picture."""
    return look_at_pixels(np.asarray(picture), hashing=True)


def is_found(original: Look, copy: Look, near: int) -> bool:
    """Tell whether the check pairs an image and its copy."""
    thumbs, colours = np.stack([original.thumb, copy.thumb]), np.stack([original.colour, copy.colour])
    return any(
        np.bitwise_count(first.hashes[margin] ^ second.hashes[0]).sum() <= near
        and agree(np.array([place]), np.array([1 - place]), margin, thumbs, colours)[0]
        for margin in range(len(MARGINS))
        for place, (first, second) in enumerate(((original, copy), (copy, original)))
    )


def count_paired(looks: list[Look], near: int) -> int:
    """Return how many of distinct images the check would pair with another one."""
    hashes, thumbs, colours = (
        np.stack([getattr(one, name) for one in looks]) for name in ("hashes", "thumb", "colour")
    )
    paired = np.zeros(len(looks), bool)
    for margin in range(len(MARGINS)):
        for left, right, _ in find_neighbours(hashes[:, margin], hashes[:, 0], near):
            alike = (left != right) & agree(left, right, margin, thumbs, colours)
            paired[left[alike]] = paired[right[alike]] = True
    return int(paired.sum())


if __name__ == "__main__":
    main()
