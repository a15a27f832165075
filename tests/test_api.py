"""What a notebook calls: distil, evaluate, predict."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import dropkd
from dropkd import api
from dropkd.errors import ConfigError, DataError, ModelError, RunError
from dropkd.models import build_network


@pytest.fixture(scope="module")
def run(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> dropkd.Run:
    """A distilled student whose teacher is given as a module."""
    torch.manual_seed(0)
    return dropkd.distill(
        clothes,
        teacher=build_network("cct_2_3x2", num_classes=3, image_size=(28, 28)),
        student="cifar_resnet8",
        method="kd",
        output=tmp_path_factory.mktemp("api") / "run",
        epochs=2,
        batch_size=16,
        teacher_check="off",
    )


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_accuracy_does_not_depend_on_the_batch(run: dropkd.Run, batch_size: int) -> None:
    scores = dropkd.evaluate(run, batch_size=batch_size)
    for split in ("val", "test"):
        assert scores[split]["accuracy"] == run.metrics["splits"][split]["accuracy"]
        assert scores[split]["loss"] == pytest.approx(run.metrics["splits"][split]["loss"], rel=1e-5)


def test_predictions_are_those_that_the_run_kept(run: dropkd.Run, clothes: Path) -> None:
    kept = [row for row in pq.read_table(run.folder / "predictions.parquet").to_pylist() if row["split"] == "test"]
    found = run.predict([clothes / row["path"] for row in kept], top=3)
    assert [run.classes.index(answer.label) for answer in found] == [row["prediction"] for row in kept]
    for answer, row in zip(found, kept, strict=True):
        assert answer.probability == pytest.approx(max(row["probabilities"]), rel=1e-4)
        assert sum(share for _, share in answer.top) == pytest.approx(1, abs=1e-4)


def test_a_run_is_evaluated_on_another_folder_of_the_same_classes(run: dropkd.Run, clothes: Path) -> None:
    assert set(dropkd.evaluate(run, clothes, split="train")) == {"train"}
    with pytest.raises(DataError, match="no split 'tset'"):
        dropkd.evaluate(run, split="tset")


def test_a_folder_of_other_classes_is_refused_by_name(run: dropkd.Run, clothes: Path, tmp_path: Path) -> None:
    for name in ("sandal", "trouser", "glove"):
        source = clothes / "train" / ("ankle_boot" if name == "glove" else name)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(source)
    with pytest.raises(DataError, match=r"absent \['ankle_boot'\], unknown \['glove'\]"):
        dropkd.evaluate(run, tmp_path)


def test_a_module_of_ones_own_is_trained_and_opened_with_it(clothes: Path, tmp_path: Path) -> None:
    def make() -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))

    run = dropkd.train(clothes, model=make(), output=tmp_path / "run", epochs=1)
    assert run.is_finished
    network = run.network(make())
    trained = load_file(run.folder / "student.safetensors")
    assert torch.equal(network.model[4].weight, trained["4.weight"])
    with pytest.raises(ModelError, match="Build the module yourself"):
        run.network()


def test_settings_are_checked_like_the_command_lines(clothes: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'epochs'"):
        dropkd.train(clothes, model="cifar_resnet8", settings={"training.epoch": 1})
    with pytest.raises(ConfigError, match="lr"):
        dropkd.train(clothes, model="cifar_resnet8", lr=-1.0)


def test_what_is_no_run_folder_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no config\.yaml"):
        dropkd.Run.open(tmp_path)
    with pytest.raises(RunError, match="There is no run folder"):
        api.evaluate(tmp_path / "missing")
