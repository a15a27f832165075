"""``dropkd cka``: teacher's layers beside the student's, before and after."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import dropkd
from dropkd.cli.app import app
from dropkd.errors import DataError, RunError
from dropkd.layer_similarity import compare_layers
from dropkd.models import build_network, save_network

CLASSES = ("ankle_boot", "sandal", "trouser")


@pytest.fixture(scope="module")
def runs(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dropkd.Run]:
    """A distilled run and a plain one."""
    folder = tmp_path_factory.mktemp("cka")
    teacher = build_network("cct_2_3x2", num_classes=3, image_size=(28, 28), classes=CLASSES)
    save_network(teacher, folder / "teacher.safetensors")
    shared = {"student": "cifar_resnet8", "epochs": 1, "batch_size": 16}
    return {
        "kd": dropkd.distill(
            clothes, teacher=folder / "teacher.safetensors", method="kd", output=folder / "kd", teacher_check="off",
            **shared,
        ),
        "plain": dropkd.train(clothes, model="cifar_resnet8", epochs=1, batch_size=16, output=folder / "plain"),
    }  # fmt: skip


def test_a_runs_layers_are_compared_before_and_after_and_kept(runs: dict[str, dropkd.Run]) -> None:
    state = torch.get_rng_state()
    found = compare_layers(runs["kd"], images=24, batch_size=8)
    assert torch.equal(torch.get_rng_state(), state)
    assert found.before is not None
    assert found.before != found.after
    assert (found.split, found.images, found.batch_size) == ("test", 24, 8)
    shape = (len(found.rows), len(found.columns))
    assert np.array(found.after, float).shape == np.array(found.before, float).shape == shape
    assert json.loads((runs["kd"].folder / "cka.json").read_text())["rows"] == list(found.rows)
    assert compare_layers(runs["kd"], images=24, batch_size=8) == found


def test_a_network_is_alike_to_itself(runs: dict[str, dropkd.Run]) -> None:
    found = compare_layers(runs["kd"], runs["kd"].folder, images=24, batch_size=8)
    assert np.diag(np.array(found.after, float)) == pytest.approx(np.ones(len(found.rows)))
    assert found.before is None


def test_any_two_networks_can_be_compared_on_any_images(clothes: Path, tmp_path: Path) -> None:
    for name in ("cifar_resnet8", "cct_2_3x2"):
        network = build_network(name, num_classes=3, image_size=(28, 28), classes=CLASSES)
        save_network(network, tmp_path / f"{name}.safetensors")
    first, second = (str(tmp_path / f"{name}.safetensors") for name in ("cifar_resnet8", "cct_2_3x2"))
    found = compare_layers(first, second, data=clothes, layers="blocks", images=16, batch_size=8)
    assert found.rows == ("blocks.0", "blocks.1", "logits")
    assert found.columns == ("bn1", "layer1.0", "layer2.0", "layer3.0", "logits")
    with pytest.raises(RunError, match="--data"):
        compare_layers(first, second)


def test_a_run_without_a_teacher_needs_another_network(runs: dict[str, dropkd.Run]) -> None:
    with pytest.raises(RunError, match="names no teacher"):
        compare_layers(runs["plain"])
    found = compare_layers(runs["plain"], runs["kd"].folder, images=16, batch_size=8)
    assert len(found.rows) == len(found.columns)


def test_too_few_images_or_no_such_split_is_refused(runs: dict[str, dropkd.Run]) -> None:
    with pytest.raises(DataError, match="4 images or more"):
        compare_layers(runs["kd"], images=3)
    with pytest.raises(DataError, match="It has: train"):
        compare_layers(runs["kd"], split="tset")


def test_the_command_prints_both_grids_and_the_report_shows_them(runs: dict[str, dropkd.Run], tmp_path: Path) -> None:
    folder = runs["kd"].folder
    arguments = ["cka", str(folder), "--images", "24", "--batch-size", "8"]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "140"})
    assert result.exit_code == 0, result.output
    assert "before the first step" in result.output
    for page in (folder / "cka.html", folder / "report.html"):
        text = page.read_text()
        assert "How alike the layers are" in text
        assert "After training" in text
    again = CliRunner().invoke(app, [*arguments, "--json"])
    assert json.loads(again.stdout)["images"] == 24
    (folder / "cka.json").write_text("{broken")
    from dropkd.report import write_run_report

    assert "How alike the layers are" not in write_run_report(folder).read_text()
    assert CliRunner().invoke(app, [*arguments, "-o", str(tmp_path)]).exit_code != 0
