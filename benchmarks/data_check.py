"""How fast ``dropkd data check`` is, and how much memory it takes, by the number of images.

    python benchmarks/data_check.py [--images 10000 100000] [--near 24]

Pictures made of four of the bundled ones (56 x 56, PNG) are written to a temporary folder in 10 classes, a hundredth of
them a recompressed copy of another. Each check runs in a process of its own, which tells its time, its peak memory, and
the memory that Python and the libraries took before.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from dropkd.demo.images import load_demo_split


def main() -> None:
    """Write the images, check them in a process of its own, print a line for each number of images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--near", type=int, default=24)
    parser.add_argument("--folder", help="check this folder in this process (used by the script itself)")
    options = parser.parse_args()
    if options.folder:
        print(json.dumps(check(options.folder, options.near)))
        return
    print("| images | seconds | CPU seconds | images a CPU second | near pairs | peak memory | of it before |")
    print("|---|---|---|---|---|---|---|")
    for count in options.images:
        with tempfile.TemporaryDirectory() as folder:
            write_images(Path(folder), count)
            command = [sys.executable, __file__, "--folder", folder, "--near", str(options.near)]
            measured = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(
            f"| {count:,} | {measured['seconds']:.0f} | {measured['processor']:.0f} "
            f"| {count / measured['processor']:,.0f} | {measured['pairs']:,} "
            f"| {measured['peak'] / 2**20:.0f} MiB | {measured['before'] / 2**20:.0f} MiB |",
            flush=True,
        )


def write_images(folder: Path, count: int) -> None:
    """Write small pictures; each hundredth is the one before it as JPEG."""
    rng = np.random.default_rng(0)
    for k in range(10):
        (folder / str(k)).mkdir()
    bundled = load_demo_split("train").images
    image = Image.new("L", (56, 56))
    for i in range(count):
        if i % 100 == 99:
            image.save(folder / str((i - 1) % 10) / f"{i:06}.jpg", quality=80)
            continue
        four = bundled[rng.integers(0, len(bundled), 4)]
        image = Image.fromarray(np.vstack([np.hstack(four[:2]), np.hstack(four[2:])]))
        image.save(folder / str(i % 10) / f"{i:06}.png", compress_level=1)


def check(folder: str, near: int) -> dict[str, float]:
    """Check a folder and return what it took."""
    import imagehash  # noqa: F401 - its libraries are no part of what the images take
    import scipy.fftpack  # noqa: F401

    from dropkd.data.check import check_data

    before = peak_memory()
    start, processor = time.perf_counter(), time.process_time()
    found = check_data(folder, near=near)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    pairs = [finding for kind in ("near-across-splits", "near-in-split") if (finding := found.find(kind))]
    total = sum(len(finding.items) for finding in pairs)
    peak = peak_memory()
    return {"seconds": seconds, "processor": processor, "pairs": total, "peak": peak, "before": before}


def peak_memory() -> int:
    """Return the most memory that this process had so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
