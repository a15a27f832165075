from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import yaml

from dropkd.errors import RunError
from dropkd.report.event_log import read_event_log
from dropkd.report.run_record import read_run

from .run_folders import Recipe, build_run, change_json


def _write_log(path: Path, *events: dict[str, object], tail: str = "") -> Path:
    path.write_text("".join(json.dumps(e) + "\n" for e in events) + tail)
    return path


def test_a_cut_off_last_line_is_left_out_and_said(tmp_path: Path) -> None:
    log = read_event_log(
        _write_log(tmp_path / "m", {"event": "epoch", "epoch": 0, "val": {"accuracy": 0.5}}, tail='{"event": "ep')
    )
    assert log.by_epoch("val", "accuracy") == [(1.0, 0.5)]
    assert log.gaps == ("metrics.jsonl: left out unreadable lines (1).",)


def test_of_an_epoch_that_was_repeated_after_a_resume_the_later_counts(tmp_path: Path) -> None:
    events = [{"event": "epoch", "epoch": e, "val": {"accuracy": a}} for e, a in ((0, 0.1), (1, 0.2), (1, 0.3))]
    log = read_event_log(_write_log(tmp_path / "m", *events))
    assert log.by_epoch("val", "accuracy") == [(1.0, 0.1), (2.0, 0.3)]


def test_values_that_are_not_numbers_are_no_points(tmp_path: Path) -> None:
    events = [{"event": "epoch", "epoch": e, "val": v} for e, v in enumerate(({"accuracy": None}, None, {}))]
    path = _write_log(tmp_path / "m", *events)
    path.write_text(path.read_text() + '{"event": "epoch", "epoch": 3, "val": {"accuracy": NaN}}\n')
    assert read_event_log(path).by_epoch("val", "accuracy") == []


def test_a_finished_run_has_no_gaps(run: Path) -> None:
    record = read_run(run)
    assert record.gaps == ()
    assert (record.method, record.seed, record.status, record.split) == ("dropkd", 0, "finished", "test")
    assert record.baseline is not None
    assert record.baseline.method == "plain"
    assert record.class_name(6) == "shirt"
    assert record.class_name(99) == "class 99"


def test_a_running_run_names_what_is_missing(tmp_path: Path, images: Path) -> None:
    record = read_run(build_run(tmp_path / "run", images, Recipe(done=3)))
    assert record.status == "unfinished"
    assert len(record.log.epochs) == 3
    assert [gap.split()[0] for gap in record.gaps] == ["metrics.json", "predictions.parquet"]


def test_broken_files_become_gaps(run: Path) -> None:
    for name in ("config.yaml", "metrics.json", "environment.json", "predictions.parquet"):
        (run / name).write_text("{: broken")
    gaps = " ".join(read_run(run).gaps)
    assert all(name in gaps for name in ("config.yaml", "metrics.json", "environment.json", "predictions.parquet"))


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="There is no run folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"is not a run folder: it holds no config\.yaml"):
        read_run(tmp_path)


def test_classes_come_from_the_student_file_where_the_figures_do_not_name_them(run: Path) -> None:
    change_json(run / "metrics.json", classes=None)
    assert read_run(run).class_name(0) == "T-shirt"
    names = [f"kind {k}" for k in range(10)]
    header = json.dumps({"__metadata__": {"dropkd": json.dumps({"classes": names})}}).encode()
    (run / "student.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert read_run(run).class_name(3) == "kind 3"
    (run / "student.safetensors").write_bytes(b"torn")
    assert read_run(run).class_name(0) == "T-shirt"


def test_a_named_baseline_that_is_gone_is_said(tmp_path: Path, images: Path) -> None:
    run = build_run(tmp_path / "run", images)
    change_json(run / "metrics.json", baseline="gone")
    assert "The plain run that this one names, 'gone', was not found." in read_run(run).gaps


def test_relative_data_are_found_from_another_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = tmp_path / "work"
    (start / "images").mkdir(parents=True)
    run = build_run(start / "runs" / "first", Path("images"))
    config = yaml.safe_load((run / "config.yaml").read_text()) | {"output": "runs/first"}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    assert read_run(Path("work/runs/first")).data_root == start / "images"


def test_while_a_run_goes_on_its_best_epoch_so_far_is_the_selected_one(tmp_path: Path) -> None:
    events = [{"event": "epoch", "epoch": e, "best": best} for e, best in enumerate((True, True, False))]
    assert read_event_log(_write_log(tmp_path / "m", *events)).selected == 1
    assert read_event_log(_write_log(tmp_path / "m")).selected is None
