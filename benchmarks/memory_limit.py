"""Reads, and trains through, a teacher's cache several times as large as the memory that the process may have.

    python benchmarks/memory_limit.py [--limit 896] [--times 3] [--quick] [--json]

The limit is set by the operating system: a control group of the memory controller where one can be made, which counts
the pages of files that are in memory too; else RLIMIT_DATA, which counts all that is not a file. A process inside of it
reads every answer of the cache in a random order, and then trains for as many epochs as there are views, which reads
all of it once more. A process without a limit does the same, and what was read and each loss must be the same. That the
limit is one is shown by a third process, which takes as much memory as that and must not live.

The teacher's maps are kept in float32 at their own size, so that few images make a large cache; its weights are random.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from memory_limits import Limit, forget_pages, make_limit

NAME, SIDE, BATCH, CLASSES = "cifar_resnet8", 64, 25, 10
# What the third process takes beyond its limit.
TOO_MUCH = 1.25
RESULT = Path(__file__).parent / "results" / "memory_limit.json"


def list_settings(place: Path, views: int) -> dict[str, Any]:
    """Return what the builder of the cache and the runs share."""
    return {
        "data.path": str(place / "images"), "data.image_size": SIDE, "data.workers": 0, "data.distinct_views": views,
        "data.validation_fraction": 0.0, "student.name": NAME, "student.pretrained": False,
        "teacher.source": str(place / "teacher.safetensors"), "teacher_check": "off", "method.name": "vid",
        "training.epochs": views, "training.batch_size": BATCH, "threads": 1, "device": "cpu", "seed": 0,
        "cache.mode": "on", "cache.folder": str(place / "caches"), "cache.number": "float32",
    }  # fmt: skip


def build(place: Path, images: int, size: float) -> tuple[Path, int]:
    """Write images and a teacher, and build a cache of so many bytes; return its folder and its number of views."""
    import torch

    from dropkd.api import build_cache
    from dropkd.config import load_config
    from dropkd.models import build_network, save_network
    from scaling import make_folder, write_images

    (place / "files").mkdir()
    folder = make_folder(place / "images", write_images(place / "files", images), CLASSES)
    names = tuple(path.name for path in sorted((folder / "train").iterdir()))
    torch.manual_seed(0)
    teacher = build_network(NAME, num_classes=CLASSES, image_size=(SIDE, SIDE), classes=names)
    save_network(teacher.eval(), place / "teacher.safetensors")
    # One view tells what each takes; it is not computed again.
    cache = build_cache(load_config(flags=list_settings(place, 1)))
    views = max(2, math.ceil(size / sum(file.stat().st_size for file in cache.rglob("*.arrow"))))
    return build_cache(load_config(flags=list_settings(place, views))), views


def work(place: Path, cache: Path, views: int, output: str) -> dict[str, Any]:
    """Read all of the cache and train through it; return what was read and learned, and the seconds."""
    import numpy as np
    import torch

    from dropkd import api
    from dropkd.config import load_config
    from dropkd.contracts import Outputs
    from dropkd.teacher_cache import CacheFolder, CacheReader

    torch.set_num_threads(1)
    began = time.monotonic()
    folder = CacheFolder(cache)
    nothing = Outputs(torch.empty(1, 0), (), torch.empty(1, 0))
    reader, crc = CacheReader(folder, template=nothing), 0
    for view in range(views):
        order = np.random.default_rng(view).permutation(folder.rows)
        for start in range(0, folder.rows, BATCH):
            for values in reader.read_tensors(order[start : start + BATCH], view).values():
                crc = zlib.crc32(values.contiguous().numpy().data, crc)
    del reader
    read = time.monotonic()
    run = api.run(load_config(flags={**list_settings(place, views), "output": str(place / output)}))
    lines = (run.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    epochs = [record for record in map(json.loads, lines) if record["event"] == "epoch"]
    return {
        "crc32": crc,
        "losses": [epoch["train"]["loss"] for epoch in epochs],
        "read_through_the_cache": run.metrics["teacher_cache"],
        "seconds": {"reading": read - began, "training": time.monotonic() - read},
    }


def run_inside(limit: Limit, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this script under a limit that it can't get out of."""
    command = " ".join([*limit.shell, 'exec "$@"'])
    program = ["sh", "-c", command, "sh", sys.executable, __file__, *arguments]
    return subprocess.run(program, capture_output=True, text=True, check=False)


@contextmanager
def limited(bytes_: int) -> Iterator[Limit]:
    """Give a limit, and take it away afterwards."""
    limit = make_limit(bytes_)
    try:
        yield limit
    finally:
        limit.remove()


def measure(place: Path, limit_bytes: int, times: float, images: int) -> dict[str, Any]:
    """Return what became of the process inside, of the one outside and of the one that took too much."""
    began = time.monotonic()
    cache, views = build(place, images, times * limit_bytes)
    size = sum(file.stat().st_size for file in cache.rglob("*.arrow"))
    built = time.monotonic() - began
    # What lies in memory from its writing would be charged to nobody inside.
    forget_pages(cache)
    told = json.dumps({"place": str(place), "cache": str(cache), "views": views, "output": "inside"})
    with limited(limit_bytes) as limit:
        done = run_inside(limit, "--inside", told)
        if done.returncode:
            raise SystemExit(f"the process inside of the limit ended with {done.returncode}:\n{done.stderr}")
        inside, used = json.loads(done.stdout), limit.read_usage()
    with limited(limit_bytes) as limit:
        greedy = run_inside(limit, "--take", str(int(TOO_MUCH * limit_bytes))).returncode
    outside = work(place, cache, views, "outside")
    same = [inside[name] == outside[name] for name in ("crc32", "losses")]
    return {
        "limit": limit.name, "limit_bytes": limit_bytes, "cache_bytes": size, "cache_over_limit": size / limit_bytes,
        "views": views, "building_seconds": built, "inside": inside, "outside": outside, "usage": used,
        "same_answers": same[0], "same_losses": same[1], "taking_more_ends_with": greedy, "limit_holds": greedy != 0,
        "bound": 3, "kept": all(same) and greedy != 0 and size >= 3 * limit_bytes,
    }  # fmt: skip


def format_results(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of what is printed."""
    mebi = 2**20
    yield f"limit: {found['limit_bytes'] / mebi:,.0f} MiB by {found['limit']}"
    yield f"a process that takes {TOO_MUCH:g} times as much ends with {found['taking_more_ends_with']}"
    yield f"cache: {found['cache_bytes'] / mebi:,.0f} MiB in {found['views']} views"
    yield f"cache over limit: {found['cache_over_limit']:.2f}"
    yield f"counted inside: {found['usage']}"
    for side in ("inside", "outside"):
        seconds = found[side]["seconds"]
        yield f"{side}: read in {seconds['reading']:.1f} s, trained in {seconds['training']:.1f} s"
    yield f"the same answers: {say(found['same_answers'])}, the same losses: {say(found['same_losses'])}"
    yield f"a cache of 3 times the memory is read and trained through: {say(found['kept'])}"


def say(is_so: bool) -> str:
    """Return yes or no."""
    return "yes" if is_so else "no"


def main() -> None:
    """Measure, and print lines or one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--limit",
        type=float,
        default=896,
        help="MiB that the process may have (896); about 650 are Python's and the libraries'",
    )
    parser.add_argument("--times", type=float, default=3.1, help="the cache's size, in limits (3.1)")
    parser.add_argument("--images", type=int, default=500, help="for training (500)")
    parser.add_argument("--quick", action="store_true", help="a small cache, to see that it runs")
    parser.add_argument("--json", action="store_true", help=f"also write results/{RESULT.name}, and print it")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--take", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.take is not None:
        print(len(bytes(args.take).replace(b"\0", b"\1")))
        return
    if args.inside is not None:
        told = json.loads(args.inside)
        print(json.dumps(work(Path(told["place"]), Path(told["cache"]), told["views"], told["output"])))
        return
    times, images = (0.01, 30) if args.quick else (args.times, args.images)
    with tempfile.TemporaryDirectory() as place:
        found = measure(Path(place), int(args.limit * 2**20), times, images)
    document = {"machine": platform.processor() or platform.machine(), "python": platform.python_version(), **found}
    if not args.json:
        print("\n".join(format_results(document)))
        return
    text = json.dumps(document, indent=2)
    if not args.quick:
        RESULT.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
