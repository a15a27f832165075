"""Writes all images of Fashion-MNIST as an image folder, with the class folders of the demo images.

    python recipes/fashion_mnist_folder.py IDX_FOLDER OUTPUT [--limit N]

OUTPUT/train/CLASS/NUMBER.png (60,000 images) and OUTPUT/test/CLASS/NUMBER.png (10,000), where NUMBER is the
image's number in the original file. The original files: the Debian package dataset-fashion-mnist
(usr/share/datasets/fashion-mnist), or https://github.com/zalandoresearch/fashion-mnist.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from dropkd.demo.idx import read_fashion_mnist
from dropkd.demo.images import DemoSplit, write_images


def write_folder(source: Path, output: Path, limit: int | None = None) -> int:
    """Write both splits, the first ``limit`` images of each; return the number of images."""
    written = 0
    for split in ("train", "test"):
        images, labels = (part[:limit] for part in read_fashion_mnist(source, split))
        write_images(output / split, DemoSplit(images, labels, np.arange(len(images))))
        written += len(images)
    return written


def main() -> None:
    """Read the command line and write the folder."""
    parser = argparse.ArgumentParser(description="Write all images of Fashion-MNIST as an image folder.")
    parser.add_argument("idx_folder", type=Path, help="folder of the four original files (.gz or not)")
    parser.add_argument("output", type=Path, help="the image folder to write")
    parser.add_argument("--limit", type=int, help="write the first N images of each split only")
    arguments = parser.parse_args()
    count = write_folder(arguments.idx_folder, arguments.output, arguments.limit)
    print(f"{arguments.output}: {count} images")


if __name__ == "__main__":
    main()
