"""The program beside an exported file gives the labels that dropkd gives, without dropkd."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dropkd
from dropkd.export.standalone import SCRIPT

# Runs the program where nothing but these can be imported beside Python's own modules.
ALONE = """
import runpy, sys
sys.argv = sys.argv[1:]
class Missing:
    def find_spec(self, name, path=None, target=None):
        first = name.partition(".")[0]
        if first not in {"numpy", "PIL", "onnxruntime"} | sys.stdlib_module_names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def ask_script(folder: Path, model: str, images: list[Path]) -> list[list[tuple[str, float]]]:
    """Return what the program in a folder says: classes with probabilities, for each image."""
    command = [sys.executable, "-c", ALONE, str(folder / SCRIPT), model, *map(str, images)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == [str(path) for path in images]
    return [[(name, float(share)) for name, _, share in (cell.rpartition(" ") for cell in row[1:])] for row in rows]


@pytest.mark.parametrize("preprocessing", [False, True], ids=["numbers", "bytes"])
def test_the_script_gives_the_labels_of_the_run(
    run: Path, photos: list[Path], tmp_path: Path, preprocessing: bool
) -> None:
    dropkd.export_run(run, output=tmp_path / "student.onnx", preprocessing=preprocessing)
    # Of images of single numbers of other than 8 and 16 bits Pillow alone makes no colours.
    images = [path for path in photos if path.suffix != ".tif"]
    expected = dropkd.Run.open(run).predict(images)
    for path, found, answer in zip(images, ask_script(tmp_path, "student.onnx", images), expected, strict=True):
        assert found[0][0] == answer.label, path
        theirs = dict(answer.top)
        np.testing.assert_allclose([p for _, p in found], [theirs[name] for name, _ in found], atol=0.002)


def test_the_script_names_several_labels_one_by_one(labels_run: Path, outfits: Path, tmp_path: Path) -> None:
    for name in ("student.onnx", SCRIPT):
        shutil.copy(labels_run / name, tmp_path)
    images = sorted((outfits.parent / "test").iterdir())
    expected = dropkd.Run.open(labels_run).predict(images)
    for found, answer in zip(ask_script(tmp_path, "student.onnx", images), expected, strict=True):
        assert [name for name, _ in found] == [name for name, _ in answer.top]
        np.testing.assert_allclose([p for _, p in found], [p for _, p in answer.top], atol=1e-3)


def test_the_script_is_short() -> None:
    lines = (Path(dropkd.export.standalone.__file__).parent / SCRIPT).read_text(encoding="utf-8").splitlines()
    assert len(lines) < 60
