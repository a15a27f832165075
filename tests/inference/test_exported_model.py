"""An exported student answers as its run does, with onnxruntime alone."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import dropkd
from dropkd.cli import run_command_line
from dropkd.errors import ConfigError, DataError, ModelError
from dropkd.extras import EXTRA_OF
from dropkd.inference import ExportedModel
from dropkd.prediction import Prediction

Without = Callable[..., subprocess.CompletedProcess[str]]

# The deviation of a class's probability that float32 arithmetic in another order may bring.
NEAR = 1e-4


def expect_same(exported: list[Prediction], of_run: list[Prediction]) -> None:
    assert [answer.path for answer in exported] == [answer.path for answer in of_run]
    for ours, theirs in zip(exported, of_run, strict=True):
        assert (ours.label, ours.labels) == (theirs.label, theirs.labels), ours.path
        np.testing.assert_allclose(
            [p for _, p in sorted(ours.top)], [p for _, p in sorted(theirs.top)], atol=NEAR, err_msg=str(ours.path)
        )


def test_files_of_every_kind_are_named_as_the_run_names_them(run: Path, photos: list[Path]) -> None:
    answers = ExportedModel.open(run / "student.onnx").predict(photos)
    expect_same(answers, dropkd.Run.open(run).predict(photos))
    # The photographs are told apart at all: else any preprocessing would do.
    assert np.ptp([answer.probability for answer in answers]) > 100 * NEAR


def test_a_file_that_normalises_by_itself_gives_the_same_answers(run: Path, photos: list[Path], tmp_path: Path) -> None:
    dropkd.export_run(run, preprocessing=True, output=tmp_path / "bytes.onnx")
    expect_same(
        ExportedModel.open(tmp_path / "bytes.onnx").predict(photos),
        ExportedModel.open(run / "student.onnx").predict(photos),
    )


def test_several_labels_are_named_as_the_run_names_them(labels_run: Path, outfits: Path) -> None:
    images = sorted((outfits.parent / "test").iterdir())
    answers = ExportedModel.open(labels_run / "student.onnx").predict(images)
    expect_same(answers, dropkd.Run.open(labels_run).predict(images))
    assert {len(answer.labels or ()) for answer in answers} > {1}


def test_the_batch_size_and_the_threads_change_no_label(run: Path, photos: list[Path]) -> None:
    expected = ExportedModel.open(run / "student.onnx").predict(photos)
    for batch_size in (1, 7, len(photos)):
        expect_same(
            ExportedModel.open(run / "student.onnx", threads=2).predict(photos, batch_size=batch_size), expected
        )


def test_the_command_line_writes_the_same_table_with_onnxruntime_alone(
    run: Path, photos: list[Path], tmp_path: Path, without: Without
) -> None:
    absent = [module for module, extra in EXTRA_OF.items() if extra != "inference"]
    shutil.copy(run / "student.onnx", tmp_path)
    answers = tmp_path / "answers.csv"
    done = without(absent, "predict", tmp_path / "student.onnx", photos[0].parent, "-o", answers, "--threads", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert run_command_line(["predict", str(run), str(photos[0].parent), "-o", str(tmp_path / "run.csv")]) == 0
    ours, theirs = (
        list(csv.DictReader(file.read_text(encoding="utf-8").splitlines())) for file in (answers, tmp_path / "run.csv")
    )
    assert [(row["path"], row["label"]) for row in ours] == [(row["path"], row["label"]) for row in theirs]
    assert len(ours) == len(photos)
    as_json = tmp_path / "answers.json"
    assert without(absent, "predict", tmp_path / "student.onnx", photos[0], "-o", as_json).returncode == 0
    assert json.loads(as_json.read_text(encoding="utf-8"))[0]["path"] == str(photos[0])
    done = without(absent, "predict", tmp_path / "student.onnx", photos[0], "-o", tmp_path / "answers.parquet")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: Reports, comparisons and tables as parquet need pyarrow, which is not installed: "
        "pip install 'dropkd[report]'"
    ]


def test_without_onnxruntime_the_extra_is_named(run: Path, photos: list[Path], without: Without) -> None:
    done = without(EXTRA_OF, "predict", run / "student.onnx", photos[0])
    assert done.returncode == 2
    assert "need onnxruntime, which is not installed: pip install 'dropkd[inference]'" in done.stderr


def test_a_description_beside_the_file_serves_where_the_file_has_none(
    run: Path, photos: list[Path], tmp_path: Path
) -> None:
    bare = onnx.load(run / "student.onnx")
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    with pytest.raises(ModelError, match=r"does not say how an image comes to it.*no 'bare\.onnx\.json' lies beside"):
        ExportedModel.open(tmp_path / "bare.onnx")
    shutil.copy(run / "student.onnx.json", tmp_path / "bare.onnx.json")
    expect_same(ExportedModel.open(tmp_path / "bare.onnx").predict(photos), dropkd.Run.open(run).predict(photos))


@pytest.mark.parametrize(
    ("spoil", "mistake"),
    [
        (lambda facts: facts.pop("classes"), "KeyError: 'classes'"),
        (lambda facts: facts["input"].update(frame=[0, 32]), r"a size of \[0, 32\]"),
        (lambda facts: facts["input"].update(mean=[0.5]), "not enough values"),
        (lambda facts: facts.update(input="RGB"), "TypeError"),
    ],
)
def test_a_description_that_is_not_as_dropkd_writes_it_is_a_mistake(
    run: Path, tmp_path: Path, spoil: Callable[[dict[str, object]], object], mistake: str
) -> None:
    bare = onnx.load(run / "student.onnx")
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    facts = json.loads((run / "student.onnx.json").read_text(encoding="utf-8"))
    spoil(facts)
    (tmp_path / "bare.onnx.json").write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(ModelError, match=f"not as `dropkd export` writes it.*{mistake}"):
        ExportedModel.open(tmp_path / "bare.onnx")


def test_other_classes_than_logits_are_a_mistake(run: Path, photos: list[Path]) -> None:
    model = ExportedModel.open(run / "student.onnx")
    model.description = replace(model.description, classes=("cat", "dog"))
    with pytest.raises(ModelError, match="names 2 classes, but gives 3 logits"):
        model.predict(photos[:1])
    model.description = replace(model.description, classes=())
    assert {label for label, _ in model.predict(photos[:1])[0].top} == {"0", "1", "2"}


def test_a_model_of_another_size_than_it_says_is_a_mistake(run: Path, photos: list[Path]) -> None:
    model = ExportedModel.open(run / "student.onnx")
    model.description = replace(model.description, frame=(8, 8), crop=(8, 8))
    with pytest.raises(ModelError, match=r"does not answer to images of shape \(1, 3, 8, 8\)"):
        model.predict(photos[:1])


def test_what_can_not_be_opened_is_explained(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"There is no exported file '.*gone\.onnx'"):
        ExportedModel.open(tmp_path / "gone.onnx")
    (tmp_path / "student.pt2").write_bytes(b"PK")
    with pytest.raises(ModelError, match=r"only \.onnx files can: dropkd export RUN --to onnx"):
        ExportedModel.open(tmp_path / "student.pt2")
    for content in (b"", b"no model", (run / "student.onnx").read_bytes()[:5000]):
        (tmp_path / "broken.onnx").write_bytes(content)
        with pytest.raises(ModelError, match=r"onnxruntime \S+ can't open '.*broken\.onnx'"):
            ExportedModel.open(tmp_path / "broken.onnx")


def test_a_device_that_is_not_there_is_a_mistake(run: Path) -> None:
    with pytest.raises(ConfigError, match="can't compute on 'cuda:1'; pip install onnxruntime-gpu"):
        ExportedModel.open(run / "student.onnx", device="cuda:1")
    with pytest.raises(ConfigError, match="unknown device 'tpu'"):
        ExportedModel.open(run / "student.onnx", device="tpu")


def test_images_that_are_missing_or_none_are_named(run: Path, tmp_path: Path) -> None:
    model = ExportedModel.open(run / "student.onnx")
    with pytest.raises(DataError, match=r"No such image: '.*gone\.jpg'"):
        model.predict([tmp_path / "gone.jpg"])
    with pytest.raises(DataError, match="No images were given"):
        model.predict([])
    (tmp_path / "text.jpg").write_text("not an image")
    with pytest.raises(DataError, match=r"can't read the image '.*text\.jpg'"):
        model.predict([tmp_path / "text.jpg"])


def test_a_run_folder_without_torch_says_what_to_install(run: Path, photos: list[Path], without: Without) -> None:
    done = without([m for m in EXTRA_OF if m != "onnxruntime"], "predict", run, photos[0])
    assert done.returncode == 2
    assert "pip install 'dropkd[train]'" in done.stderr
