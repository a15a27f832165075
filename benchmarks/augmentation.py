"""What each augmentation recipe costs: views a second of one thread, as ratios to crop-flip.

    python benchmarks/augmentation.py [--images 64] [--rounds 7] [--json]

The images are cut-outs of two photographs that are in memory already, decoded: 32 px ones shown at 32 px, and 256 px
ones shown at 224 px. In each round every recipe makes one view of every image in turn, so that a machine that is busy
with other things slows all alike; the ratio is that of the medians, in the process's own time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from dropkd.data import AUGMENTATIONS, recipe
from dropkd.data.augment import Augmentation
from dropkd.data.geometry import Pixels

# (height and width of the images, of the views)
SIZES = (((32, 32), (32, 32)), ((256, 256), (224, 224)))
REFERENCE = "crop-flip"
NAMES = (REFERENCE, *(name for name in AUGMENTATIONS if name not in ("auto", REFERENCE)))


def cut_images(count: int, side: int) -> list[Pixels]:
    """Return so many different parts of two photographs, (side, side, 3)."""
    photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    boxes = [(3 * i % 200, 5 * i % 100, 3 * i % 200 + 320, 5 * i % 100 + 320) for i in range(count)]
    return [np.asarray(photos[i % 2].crop(box).resize((side, side))) for i, box in enumerate(boxes)]


def time_recipes(native: tuple[int, int], size: tuple[int, int], count: int, rounds: int) -> dict[str, float]:
    """Return the median seconds of a view of each recipe."""
    images, index = cut_images(count, native[0]), np.arange(count)
    makers = {
        name: Augmentation(recipe(name, view_size=size, native_size=native), size, 0, ("standard",)) for name in NAMES
    }
    seconds: dict[str, list[float]] = {name: [] for name in NAMES}
    for epoch in range(rounds + 1):
        for name, maker in makers.items():
            started = time.process_time()
            maker.render(images, index, epoch)
            # The first round fills caches.
            if epoch:
                seconds[name].append((time.process_time() - started) / count)
    return {name: statistics.median(times) for name, times in seconds.items()}


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {size[0]: time_recipes(native, size, options.images, options.rounds) for native, size in SIZES}
    rows = {
        name: {
            side: {"views_per_second": round(1 / times[name]), "time_to_crop_flip": times[name] / times[REFERENCE]}
            for side, times in found.items()
        }
        for name in NAMES
    }
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print("| recipe |" + "".join(f" {side} px: time | views/s |" for side in found))
    print("|---|" + "---|" * (2 * len(found)))
    for name, sides in rows.items():
        cells = (f" {cell['time_to_crop_flip']:.2f} | {cell['views_per_second']:,} |" for cell in sides.values())
        print(f"| {name} |" + "".join(cells))


if __name__ == "__main__":
    main()
