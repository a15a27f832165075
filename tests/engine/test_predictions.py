"""The table of what both networks answered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from dropkd.engine import predictions
from dropkd.engine.evaluation import Answers
from dropkd.engine.predictions import PredictionsFile

PATHS = [f"class/{number}.png" for number in range(11)]


def answers(seed: int, *, several: bool = False) -> Answers:
    logits = torch.randn(11, 4, generator=torch.Generator().manual_seed(seed))
    target = (logits.roll(1, 0) > 0).float() if several else torch.arange(11) % 4
    return Answers(logits, target)


def write(path: Path, *, several: bool = False) -> pa.Table:
    with PredictionsFile(path, several) as table:
        table.add("val", PATHS, answers(0, several=several), answers(1, several=several))
        table.add("test", PATHS, answers(2, several=several), None)
    return pq.read_table(path)


@pytest.mark.parametrize("several", [False, True])
def test_rows_are_both_networks_answers_in_the_order_of_the_split(tmp_path: Path, several: bool) -> None:
    table = write(tmp_path / "p.parquet", several=several)
    rows = table.to_pylist()
    student, teacher = answers(0, several=several), answers(1, several=several)
    assert [row["path"] for row in rows] == PATHS * 2
    assert [row["split"] for row in rows] == ["val"] * 11 + ["test"] * 11
    assert table["probabilities"].to_pylist()[:11] == student.probabilities.tolist()
    assert table["teacher_probabilities"].to_pylist() == teacher.probabilities.tolist() + [None] * 11
    assert table["teacher_prediction"].to_pylist()[11:] == [None] * 11
    if several:
        named = [[k for k in range(4) if row[k]] for row in student.prediction.tolist()]
        wanted = [[k for k in range(4) if row[k]] for row in student.target.tolist()]
    else:
        named, wanted = student.prediction.tolist(), student.target.tolist()
    assert table["prediction"].to_pylist()[:11] == named
    assert table["target"].to_pylist()[:11] == wanted


@pytest.mark.parametrize("several", [False, True])
def test_the_table_is_the_same_however_few_images_are_written_at_once(
    tmp_path: Path, several: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write(tmp_path / "whole.parquet", several=several)
    monkeypatch.setattr(predictions, "_AT_ONCE", 12)
    parts = write(tmp_path / "parts.parquet", several=several)
    assert pq.ParquetFile(tmp_path / "parts.parquet").num_row_groups > 2
    shares = "probabilities"
    # A sigmoid may round otherwise at the end of a stretch.
    assert np.allclose(parts[shares].to_pylist(), whole[shares].to_pylist(), rtol=1e-6)
    others = [name for name in whole.column_names if not name.endswith(shares)]
    assert parts.select(others).equals(whole.select(others))
