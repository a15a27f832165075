from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dropkd.errors import RunError
from dropkd.report.predictions import class_names, read_predictions


def _write(file: Path, /, **changes: object) -> Path:
    columns: dict[str, object] = {
        "split": ["test", "test", "val"],
        "path": ["test/cat/0.png", "test/dog/1.png", "train/dog/2.png"],
        "target": [0, 1, 1],
        "prediction": [0, 0, 1],
        "probabilities": pa.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], pa.list_(pa.float32())),
        "teacher_prediction": [1, 1, 1],
        "teacher_probabilities": pa.array([[0.3, 0.7], [0.1, 0.9], [0.5, 0.5]], pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(columns | changes), file)
    return file


def test_each_split_has_its_rows_with_two_probabilities(tmp_path: Path) -> None:
    splits = read_predictions(_write(tmp_path / "p.parquet"))
    assert set(splits) == {"test", "val"}
    test = splits["test"]
    assert test.student_right.tolist() == [True, False]
    assert test.student.confidence == pytest.approx([0.9, 0.6])
    assert test.student.truth == pytest.approx([0.9, 0.4])
    assert test.teacher is not None
    assert test.teacher.confidence == pytest.approx([0.7, 0.9])
    assert test.num_classes == 2


def test_a_run_without_teacher_has_no_teacher_answers(tmp_path: Path) -> None:
    nothing = pa.array([None] * 3, pa.int64())
    no_lists = pa.array([None] * 3, pa.list_(pa.float32()))
    path = _write(tmp_path / "p.parquet", teacher_prediction=nothing, teacher_probabilities=no_lists)
    assert read_predictions(path)["test"].teacher is None


def test_answers_without_probabilities_still_count(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.parquet", probabilities=pa.array([None] * 3, pa.list_(pa.float32())))
    test = read_predictions(path)["test"]
    assert test.student_right.tolist() == [True, False]
    assert np.isnan(test.student.confidence).all()


def test_many_rows_keep_their_order_across_batches(tmp_path: Path) -> None:
    rows = 3000
    target = np.arange(rows) % 5
    probabilities = np.eye(5, dtype=np.float32)[(target + np.arange(rows) // 1500) % 5]
    pq.write_table(
        pa.table({
            "split": ["test"] * rows,
            "path": [f"test/{k}/{n}.png" for n, k in enumerate(target)],
            "target": target,
            "prediction": probabilities.argmax(1),
            "probabilities": list(probabilities),
        }),
        tmp_path / "p.parquet",
    )  # fmt: skip
    test = read_predictions(tmp_path / "p.parquet")["test"]
    assert test.student_right.sum() == 1500
    assert test.paths[2999] == f"test/{2999 % 5}/2999.png"
    assert (test.student.truth == test.student_right).all()


def test_classes_are_named_by_their_folders(tmp_path: Path) -> None:
    assert class_names(read_predictions(_write(tmp_path / "p.parquet"))) == ("cat", "dog")


def test_folders_that_do_not_tell_classes_apart_name_nothing(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.parquet", path=["all/0.png", "all/1.png", "all/2.png"])
    assert class_names(read_predictions(path)) is None


def test_a_file_that_is_no_such_table_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    path.write_bytes(b"not parquet")
    with pytest.raises(RunError, match=r"p\.parquet: not a table of predictions"):
        read_predictions(path)
    pq.write_table(pa.table({"split": ["test"]}), path)
    with pytest.raises(RunError, match="not a table of predictions"):
        read_predictions(path)
