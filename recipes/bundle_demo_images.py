"""Chooses the demo images from the original files of Fashion-MNIST and packs them for the package.

    python recipes/bundle_demo_images.py IDX_FOLDER [OUTPUT.npz]

600 training images a class out of 60,000 and 200 test images a class out of 10,000, drawn by seed. The same
files give the same bundle. The original files: the Debian package dataset-fashion-mnist
(usr/share/datasets/fashion-mnist), or https://github.com/zalandoresearch/fashion-mnist.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropkd.data.counters import permutation, stream_key
from dropkd.demo.idx import read_fashion_mnist
from dropkd.demo.images import CLASSES

SEED = 2024
PER_CLASS = {"train": 600, "test": 200}
OUTPUT = Path(__file__).parents[1] / "src" / "dropkd" / "demo" / "fashion_mnist.npz"


def choose(labels: NDArray[np.uint8], per_class: int, stream: int) -> NDArray[np.int64]:
    """Return the numbers of the chosen images, ascending, equally many of each class."""
    chosen = []
    for label in range(len(CLASSES)):
        members = np.flatnonzero(labels == label)
        chosen.append(members[permutation(stream_key(SEED, stream, label), len(members))[:per_class]])
    return np.sort(np.concatenate(chosen))


def bundle(source: Path, output: Path, per_class: dict[str, int]) -> None:
    """Write the bundle of a folder of original files."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for stream, (split, count) in enumerate(per_class.items()):
        images, labels = read_fashion_mnist(source, split)
        index = choose(labels, count, stream)
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images[index], labels[index]
        arrays[f"{split}_index"] = index.astype(np.uint16)
    np.savez_compressed(output, allow_pickle=False, **arrays)


def main() -> None:
    """Read the command line and write the bundle."""
    parser = argparse.ArgumentParser(description="Pack the demo images from the original files of Fashion-MNIST.")
    parser.add_argument("idx_folder", type=Path, help="folder of the four original files (.gz or not)")
    parser.add_argument("output", type=Path, nargs="?", default=OUTPUT, help="the bundle (%(default)s)")
    arguments = parser.parse_args()
    bundle(arguments.idx_folder, arguments.output, PER_CLASS)
    print(f"{arguments.output}: {arguments.output.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
