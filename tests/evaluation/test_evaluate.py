"""``dropkd.evaluate``: the same figures by the network and by what was kept, beside a teacher, mirrored, spoilt."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import dropkd
from dropkd.cli.app import app
from dropkd.data.corruptions import corrupt
from dropkd.errors import ConfigError, DataError, RunError
from dropkd.models import build_network, save_network

Corrupt = Callable[[NDArray[np.uint8], int, str], NDArray[np.uint8]]


@pytest.fixture(scope="module")
def run(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> dropkd.Run:
    """A distilled student whose teacher is a file."""
    folder = tmp_path_factory.mktemp("evaluate")
    save_network(
        build_network("cct_2_3x2", num_classes=3, image_size=(28, 28), classes=("ankle_boot", "sandal", "trouser")),
        folder / "teacher.safetensors",
    )
    return dropkd.distill(
        clothes,
        teacher=folder / "teacher.safetensors",
        student="cifar_resnet8",
        method="kd",
        output=folder / "run",
        epochs=1,
        batch_size=16,
        teacher_check="off",
    )


def test_the_run_the_network_and_the_kept_answers_give_the_same_figures(run: dropkd.Run) -> None:
    kept = dropkd.evaluate(run, kept=True)
    asked = dropkd.evaluate(run, batch_size=64)
    assert json.loads(json.dumps(kept)) == run.metrics["splits"]
    assert set(kept) == set(asked) == {"val", "test"}
    for name, figures in kept.items():
        assert asked[name]["beside_teacher"] == figures["beside_teacher"]
        assert asked[name]["by_class"] == figures["by_class"]
        for key, (low, high) in figures["intervals"].items():
            assert low <= figures[key] <= high
            assert asked[name]["intervals"][key] == pytest.approx((low, high), rel=1e-4, abs=1e-6)


def test_the_teacher_asked_again_says_what_the_run_kept_of_it(run: dropkd.Run) -> None:
    kept = dropkd.evaluate(run, split="test")["test"]
    asked = dropkd.evaluate(run, split="test", teacher=True)["test"]
    assert asked["kl_to_teacher"] == pytest.approx(kept["kl_to_teacher"], rel=1e-4)
    assert asked["beside_teacher"] == kept["beside_teacher"]


def test_other_images_have_no_teacher_unless_it_is_asked(run: dropkd.Run) -> None:
    assert dropkd.evaluate(run, split="train")["train"]["agreement"] is None
    asked = dropkd.evaluate(run, split="train", teacher=True)["train"]
    assert sum(asked["beside_teacher"][key] for key in ("both_right", "both_wrong")) <= asked["images"]
    assert 0 <= asked["agreement"] <= 1


def test_a_mirrored_image_has_the_same_answer_as_the_image(run: dropkd.Run, clothes: Path, tmp_path: Path) -> None:
    from PIL import Image, ImageOps

    for file in (clothes / "test").rglob("*.png"):
        target = tmp_path / file.relative_to(clothes)
        target.parent.mkdir(parents=True, exist_ok=True)
        ImageOps.mirror(Image.open(file)).save(target)
    (tmp_path / "train").symlink_to(clothes / "train")
    plain, there, back = (
        dropkd.evaluate(run, split="test")["test"],
        dropkd.evaluate(run, split="test", mirrored=True)["test"],
        dropkd.evaluate(run, tmp_path, split="test", mirrored=True)["test"],
    )
    assert there["loss"] == pytest.approx(back["loss"], rel=1e-5)
    assert there["loss"] != pytest.approx(plain["loss"], rel=1e-5)


def library(change: Corrupt) -> ModuleType:
    """Return a module with the two functions of ``imagecorruptions``."""
    module = ModuleType("imagecorruptions")
    module.get_corruption_names = lambda: ["noise", "dark"]  # type: ignore[attr-defined]
    module.corrupt = lambda image, severity, corruption_name: change(image, severity, corruption_name)  # type: ignore[attr-defined]
    return module


def spoil(image: NDArray[np.uint8], severity: int, kind: str) -> NDArray[np.uint8]:
    """Spoil as the library does: with numpy's global generator."""
    if kind == "dark":
        return (image * (1 - severity / 5)).astype(np.uint8)
    return np.clip(image + np.random.normal(0, 20 * severity, image.shape), 0, 255).astype(np.uint8)


def test_spoilt_images_are_a_function_of_kind_strength_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecorruptions", library(spoil))
    image = np.full((8, 8, 3), 128, np.uint8)
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    first = corrupt("noise", 2, image, 7)
    assert np.array_equal(np.random.get_state()[1], before)
    np.random.seed(4)
    assert np.array_equal(corrupt("noise", 2, image, 7), first)
    assert not np.array_equal(corrupt("noise", 2, image, 8), first)
    assert not np.array_equal(corrupt("noise", 3, image, 7), first)


def test_an_image_below_the_librarys_least_size_keeps_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def look(image: NDArray[np.uint8], severity: int, kind: str) -> NDArray[np.uint8]:
        seen.append(image.shape)
        return image

    monkeypatch.setitem(sys.modules, "imagecorruptions", library(look))
    image = np.random.default_rng(0).integers(0, 256, (9, 40, 3), dtype=np.uint8)
    assert np.array_equal(corrupt("noise", 1, image, 0), image)
    assert seen == [(32, 40, 3)]


def test_the_student_is_judged_on_spoilt_images_by_kind_and_strength(
    run: dropkd.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imagecorruptions", library(spoil))
    found = dropkd.evaluate(run, split="test", corruptions=True)["test"]["corruptions"]
    assert {kind: len(values) for kind, values in found["kinds"].items()} == {"noise": 5, "dark": 5}
    # Five fifths darker is black: all images get one answer.
    assert found["kinds"]["dark"][4] == pytest.approx(1 / 3, abs=0.02)
    assert found["mean"] == pytest.approx(np.mean([value for values in found["kinds"].values() for value in values]))


def test_spoilt_images_without_the_library_name_what_to_install(
    run: dropkd.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    with pytest.raises(ConfigError, match=r"dropkd\[corruptions\]"):
        dropkd.evaluate(run, split="test", corruptions=True)


def test_what_was_kept_answers_nothing_else(run: dropkd.Run, clothes: Path) -> None:
    for wish in ({"data": clothes}, {"mirrored": True}, {"teacher": True}, {"task": "compound"}):
        with pytest.raises(ConfigError, match="kept"):
            dropkd.evaluate(run, kept=True, **wish)
    with pytest.raises(DataError, match="no split 'train'"):
        dropkd.evaluate(run, kept=True, split="train")


def test_a_run_without_predictions_says_when_they_are_written(run: dropkd.Run, tmp_path: Path) -> None:
    for name in ("config.yaml", "student.safetensors"):
        (tmp_path / name).write_bytes((run.folder / name).read_bytes())
    with pytest.raises(RunError, match="when it ends"):
        dropkd.evaluate(tmp_path, kept=True)
    (tmp_path / "predictions.parquet").write_bytes(b"PAR1 not a table")
    with pytest.raises(RunError, match="not a table of predictions"):
        dropkd.evaluate(tmp_path, kept=True)


def test_the_command_prints_intervals_the_teacher_and_the_weakest_classes(run: dropkd.Run) -> None:
    result = CliRunner().invoke(app, ["evaluate", str(run.folder), "--kept"], env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    for part in ("calibration error", "same answer as the teacher", "weakest classes", "sandal", " to "):
        assert part in result.output
