from __future__ import annotations

from pathlib import Path

from dropkd.report.run_record import read_run
from dropkd.report.settings import differing_settings, list_settings, repeat_command

from .run_folders import change_json


def test_only_values_that_depart_from_a_fixed_default_are_marked() -> None:
    config = {
        "data": {
            "path": "images",
            "image_size": 28,
            "augmentation": "crop-flip",
            "flip": False,
            "sampling": "balanced",
        },
        "method": {"name": "kd", "temperature": 2.0},
        "training": {"momentum": 0.9, "milestones": [3, 5]},
        "seed": 0,
    }
    rows = {row.key: (row.value, row.default) for row in list_settings(config)}
    assert rows["data.sampling"] == ("balanced", "shuffle")
    assert rows["method.name"] == ("kd", "plain")
    assert rows["training.milestones"] == ("3, 5", "none")
    # Chosen by the data, by another key, without a default, or an option whose default the report does not know.
    for key in ("data.path", "data.image_size", "data.augmentation", "data.flip", "method.temperature", "seed"):
        assert rows[key][1] == ""


def test_what_a_run_was_asked_for_counts_where_it_says_so() -> None:
    config = {"method": {"name": "kd", "temperature": 3.0}, "training": {"epochs": 8, "lr": 0.1, "momentum": 0.9}}
    asked = {"method.name": "plain", "method.temperature": 4.0, "training.epochs": None}
    rows = {row.key: (row.value, row.default) for row in list_settings(config, asked)}
    assert rows == {
        "method.name": ("kd", "plain"),
        "method.temperature": ("3", "4"),
        "training.epochs": ("8", "what dropkd would have chosen"),
        "training.lr": ("0.1", ""),
        "training.momentum": ("0.9", ""),
    }


def test_differences_leave_out_what_is_the_same_everywhere() -> None:
    configs = [{"method": {"name": "kd", "t": 2}, "seed": 0, "output": "a"}, {"method": {"name": "plain"}, "seed": 0}]
    assert differing_settings(configs) == [("method.name", ("kd", "plain")), ("method.t", ("2", "\u2013"))]


def test_the_command_can_be_pasted_into_a_shell(run: Path) -> None:
    change_json(run / "environment.json", command=["/opt/bin/dropkd", "train", "my images", "--seed", "1"])
    assert repeat_command(read_run(run)) == "dropkd train 'my images' --seed 1"
    change_json(run / "environment.json", command=[])
    assert repeat_command(read_run(run)) is None
