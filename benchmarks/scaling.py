"""How time and memory grow with images, classes and views, and what the start of a run costs beside its first epoch.

    python benchmarks/scaling.py [--quick] [--json]

Images are PNG files of 32 px, each a part of a photograph that no other file shows: a folder of them, and the same
files as a table. Each measurement is a process of its own, forked off one that has all libraries; time is the
processor's, on one thread, so that a busy machine matters little; memory is the process's peak over what Python and
the libraries take. The exponent of a stage says how it grows from the last but one size to the last: 1 is linear, 2
quadratic. Stages of less than a twentieth of a second at the last size have none: they are lost in the noise.

A later run finds what the first one has read, as long as the files are the same. Both are those of the smallest network
that there is, alone: with any other student, and with any teacher, the first epoch takes longer and the start is a
smaller part of it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from scaling_points import measure

BOUND, START_BOUND = 1.1, 0.1
SIDE = 32
# Shorter stages have no exponent.
LEAST_SECONDS = 0.05
RESULT = Path(__file__).parent / "results" / "scaling.json"


@dataclass(frozen=True)
class Sizes:
    """What is measured.

    Args:
        images: of the folders and tables.
        trained: images of the runs.
        classes: of the losses, of answers to ``judged`` images, and of tables of ``of_classes`` images.
        views: of the caches, of ``kept`` rows in ``shards`` shards each.
    """

    images: Sequence[int] = (1_000, 10_000, 100_000)
    trained: Sequence[int] = (1_000, 10_000, 100_000)
    classes: Sequence[int] = (10, 100, 1_000, 10_000)
    judged: int = 5_000
    of_classes: int = 30_000
    views: Sequence[int] = (1, 4, 16, 32)
    kept: int = 10_000
    shards: int = 40


QUICK = Sizes((40, 80), (40, 80), (5, 20), 50, 80, (1, 2), 200, 4)


def write_images(place: Path, count: int) -> list[Path]:
    """Write so many files; each is another part of one of two photographs."""
    photos = [np.ascontiguousarray(pixels) for pixels in load_sample_images().images]
    files = []
    for number in range(count):
        top, left = divmod(number // 2 * 3, 600)
        path = place / f"{number:06d}.png"
        Image.fromarray(photos[number % 2][top : top + SIDE, left : left + SIDE]).save(path, compress_level=1)
        files.append(path)
    return files


def make_folder(place: Path, files: Sequence[Path], classes: int = 10) -> Path:
    """Make a folder of some of the files, and of a few of them as a test split; they are links, which take no space."""
    for split, own in (("train", files), ("test", files[: 2 * classes])):
        for number, file in enumerate(own):
            path = place / split / f"{number % classes:05d}" / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.hardlink_to(file)
    return place


def make_table(file: Path, files: Sequence[Path], classes: int = 10) -> Path:
    """Make a table of some of the files; it lies beside them."""
    rows = [f"{path.name},{number % classes:05d}" for number, path in enumerate(files)]
    file.write_text("path,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return file


def time_imports() -> float:
    """Return the seconds of a process that does nothing but load the library."""
    program = "import dropkd.api, time; print(time.process_time())"
    return float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)


def measure_all(sizes: Sizes, place: Path, show: Callable[[str], None]) -> dict[str, list[dict[str, Any]]]:
    """Return the measurements of each kind, a row for each size."""
    pool = place / "files"
    pool.mkdir()
    files = write_images(pool, max(*sizes.images, *sizes.trained, sizes.of_classes))
    found: dict[str, list[dict[str, Any]]] = {}

    def note(kind: str, size: int, point: str, **arguments: Any) -> None:
        # What one measurement has read would be remembered in the next one.
        own = f"{point}{size}" if point == "train" else f"{kind}{size}"
        os.environ["DROPKD_CACHE"] = str(place / "kept" / own)
        found.setdefault(kind, []).append({"size": size, **measure(point, arguments)})
        show(f"{kind}, {size:,}: " + say_row(found[kind][-1]))

    folders = {n: make_folder(place / f"folder{n}", files[:n]) for n in sorted({*sizes.images, *sizes.trained})}
    for number in sizes.images:
        note("images in a folder", number, "open", path=str(folders[number]))
    for number in sizes.images:
        note("images in a table", number, "open", path=str(make_table(pool / f"{number}.csv", files[:number])))
    for number in sizes.trained:
        note("images of a run", number, "train", path=str(folders[number]), output=str(place / f"run{number}"))
    for number in sizes.trained:
        output = str(place / f"again{number}")
        note("images of a later run", number, "train", path=str(folders[number]), output=output)
    for classes in sizes.classes:
        table = make_table(pool / "classes.csv", files[: sizes.of_classes], min(classes, sizes.of_classes // 3))
        note("classes of a table", classes, "open", path=str(table))
    for classes in sizes.classes:
        note("classes of losses", classes, "losses", classes=classes)
    for classes in sizes.classes:
        output = str(place / "predictions.parquet")
        note("classes of answers", classes, "judge", classes=classes, images=sizes.judged, output=output)
    for views in sizes.views:
        root = str(place / f"cache{views}")
        note("views of a cache", views, "cache", root=root, rows=sizes.kept, views=views, shards=sizes.shards)
    return found


def find_exponents(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return how each stage, and memory, grow from the last but one size to the last."""
    before, last = rows[-2:]
    ratio = math.log(last["size"] / before["size"])
    exponents = {
        stage: math.log(seconds / before["seconds"][stage]) / ratio
        for stage, seconds in last["seconds"].items()
        if seconds >= LEAST_SECONDS and before["seconds"].get(stage, 0) > 0
    }
    total = {"all": sum(last["seconds"].values()) / sum(before["seconds"].values())}
    if before["mebibytes"] > 1:
        total["memory"] = last["mebibytes"] / before["mebibytes"]
    return {**exponents, **{name: math.log(max(value, 1e-9)) / ratio for name, value in total.items()}}


def judge(found: Mapping[str, Sequence[Mapping[str, Any]]], imports: float) -> dict[str, Any]:
    """Return the exponents, and whether the bounds are kept."""
    exponents = {kind: find_exponents(rows) for kind, rows in found.items()}
    opening = max(exponents[kind]["all"] for kind in ("images in a folder", "images in a table"))
    starts = {
        name: {"start": own["start"] / own["epoch"], "start and imports": (imports + own["start"]) / own["epoch"]}
        for name in ("images of a run", "images of a later run")
        for own in [found[name][-1]["seconds"]]
    }
    return {
        "exponents": exponents,
        "opening": {"exponent": opening, "bound": BOUND, "kept": opening <= BOUND},
        "of_the_first_epoch": starts,
        "start": {"bound": START_BOUND, "kept": {
            name: {what: share < START_BOUND for what, share in shares.items()} for name, shares in starts.items()
        }},
    }  # fmt: skip


def say_row(row: Mapping[str, Any]) -> str:
    """Return a measurement as a line."""
    parts = ", ".join(f"{stage} {seconds:.3g} s" for stage, seconds in row["seconds"].items())
    return f"{parts}; {row['mebibytes']:,.0f} MiB"


def format_results(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield tables of all measurements, and what became of the bounds."""
    for kind, rows in document["measured"].items():
        exponents = document["exponents"][kind]
        yield ""
        yield f"| {kind} | " + " | ".join(f"{row['size']:,}" for row in rows) + " | exponent |"
        yield "|---" * (len(rows) + 2) + "|"
        for stage in rows[-1]["seconds"]:
            cells = " | ".join(f"{row['seconds'].get(stage, 0):.3g} s" for row in rows)
            yield f"| {stage} | {cells} | {f'{exponents[stage]:.2f}' if stage in exponents else ''} |"
        memory, grows = " | ".join(f"{row['mebibytes']:,.0f} MiB" for row in rows), exponents.get("memory")
        yield f"| peak of memory | {memory} | {'' if grows is None else f'{grows:.2f}'} |"
    yield ""
    yield f"Python and the libraries are loaded in {document['imports']:.1f} s"
    opening, start = document["opening"], document["start"]
    yield f"opening grows with an exponent of {opening['exponent']:.2f}, <= {BOUND:g}: {say_kept(opening['kept'])}"
    for name, shares in document["of_the_first_epoch"].items():
        for what, share in shares.items():
            kept = say_kept(start["kept"][name][what])
            yield f"{name}: {what} take {share:.3f} of the first epoch, < {START_BOUND:g}: {kept}"


def say_kept(kept: bool) -> str:
    """Return whether a bound is kept."""
    return "yes" if kept else "no"


def main() -> None:
    """Measure, and print tables or one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few images and classes, to see that it runs")
    parser.add_argument("--json", action="store_true", help=f"also write results/{RESULT.name}, and print it")
    args = parser.parse_args()
    sizes, began = QUICK if args.quick else Sizes(), time.monotonic()
    torch.set_num_threads(1)
    imports = time_imports()
    with tempfile.TemporaryDirectory() as place:
        found = measure_all(sizes, Path(place), lambda line: print(line, file=sys.stderr, flush=True))
    document = {
        "machine": platform.processor() or platform.machine(), "python": platform.python_version(),
        "torch": torch.__version__, "threads": 1, "commit": find_commit(), "time": "seconds of the processor",
        "wall_seconds": time.monotonic() - began, "sizes": asdict(sizes), "imports": imports, "measured": found,
        **judge(found, imports),
    }  # fmt: skip
    if args.json:
        text = json.dumps(document, indent=2)
        if not args.quick:
            RESULT.write_text(text + "\n", encoding="utf-8")
        print(text)
        return
    for line in format_results(document):
        print(line)


def find_commit() -> str:
    """Return the commit that is measured, empty outside of a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    main()
