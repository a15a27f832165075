"""``dropkd compare``: which runs are better on the same images, and whether that is more than chance."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import dropkd
from dropkd.cli.app import app
from dropkd.comparing import FORMATS, format_comparison
from dropkd.errors import ConfigError, RunError
from dropkd.statistics.pairs import mcnemar_p_value

from .label_runs import build_label_run, write_pairs
from .run_folders import Recipe, build_run, write_images

Build = Callable[..., Path]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), each=1)


@pytest.fixture
def build(tmp_path: Path, data: Path) -> Build:
    """Return a builder of run folders named by method and seed."""

    def build_one(method: str, seed: int = 0, skill: float = 1.9, **more: object) -> Path:
        recipe = Recipe(method=method, seed=seed, skill=skill, **more)  # type: ignore[arg-type]
        return build_run(tmp_path / f"{method}-{seed}", data, recipe)

    return build_one


def test_a_large_difference_over_seeds_and_images_is_seen_and_a_small_one_is_not(build: Build) -> None:
    runs = [build(m, s, k) for m, k in (("plain", 1.0), ("kd", 1.9), ("dropkd", 1.9)) for s in range(4)]
    found = dropkd.compare(runs)
    plain, kd, taught = found.contenders
    assert (found.reference, found.split, found.images, found.figure) == ("plain", "test", 160, "accuracy")
    assert plain.difference is None
    assert kd.difference is not None
    assert taught.difference is not None
    assert kd.difference.verdict == taught.difference.verdict == "better"
    assert kd.difference.by_images[0] > 0
    among = dropkd.compare(runs[4:], reference="kd").contenders[1]
    assert among.difference is not None
    assert among.difference.verdict == "no difference seen"
    assert among.difference.by_images[0] < among.difference.value < among.difference.by_images[1]


def test_the_mean_is_that_of_the_runs_own_figures(build: Build) -> None:
    runs = [build(method, seed) for method in ("plain", "kd") for seed in range(2)]
    own = [json.loads((run / "metrics.json").read_text())["splits"]["test"] for run in runs]
    for figure in ("accuracy", "uar", "loss"):
        found = dropkd.compare(runs, figure=figure)
        means = [np.mean([score[figure] for score in own[k : k + 2]]) for k in (0, 2)]
        assert [c.figure.mean for c in found.contenders] == pytest.approx(means, rel=1e-4)
        assert found.contenders[1].difference is not None
        assert found.contenders[1].difference.value == pytest.approx(means[1] - means[0], abs=1e-5)


def test_two_single_runs_are_judged_by_mcnemars_test(build: Build) -> None:
    first, second = build("plain", 0, 1.0), build("kd", 0, 1.9)
    right = []
    for run in (first, second):
        rows = [row for row in pq.read_table(run / "predictions.parquet").to_pylist() if row["split"] == "test"]
        right.append(np.array([row["prediction"] == row["target"] for row in rows]))
    found = dropkd.compare([first, second]).contenders[1].difference
    assert found is not None
    assert found.p_value == mcnemar_p_value(int((right[1] & ~right[0]).sum()), int((right[0] & ~right[1]).sum()))
    assert found.p_seeds is None
    assert found.by_seeds is None


def test_a_lower_loss_is_better(build: Build) -> None:
    runs = [build(m, s, k) for m, k in (("plain", 1.0), ("kd", 2.2)) for s in range(3)]
    found = dropkd.compare(runs, figure="loss").contenders[1].difference
    assert found is not None
    assert found.value < 0
    assert found.verdict == "better"


def test_runs_without_a_seed_in_common_are_compared_unpaired(build: Build) -> None:
    runs = [build("plain", seed, 1.0) for seed in (0, 1, 2)] + [build("kd", seed, 2.0) for seed in (5, 6, 7)]
    found = dropkd.compare(runs).contenders[1].difference
    assert found is not None
    assert found.seeds == 0
    assert found.by_seeds is not None
    assert found.verdict == "better"


def test_a_baseline_takes_part_where_no_plain_run_is_given(tmp_path: Path, data: Path) -> None:
    run = build_run(tmp_path / "kd", data, Recipe(method="kd"), baseline=True)
    found = dropkd.compare([run])
    assert [c.label for c in found.contenders] == ["plain", "kd"]


def test_answers_in_another_order_are_matched_by_image(build: Build) -> None:
    first, second = build("plain"), build("kd")
    expected = dropkd.compare([first, second])
    file = second / "predictions.parquet"
    table = pq.read_table(file)
    pq.write_table(table.take(np.random.default_rng(0).permutation(len(table))), file)
    assert dropkd.compare([first, second]) == expected


def test_runs_judged_by_other_images_or_other_labels_are_refused(build: Build) -> None:
    first, second = build("plain"), build("kd", each=15)
    with pytest.raises(RunError, match="10 images are in one alone"):
        dropkd.compare([first, second])
    third = build("dropkd")
    file = third / "predictions.parquet"
    table = pq.read_table(file)
    column = table.schema.get_field_index("target")
    pq.write_table(table.set_column(column, "target", [[(t + 1) % 10 for t in table["target"].to_pylist()]]), file)
    with pytest.raises(RunError, match="160 labels differ"):
        dropkd.compare([first, third])


def test_an_unfinished_run_is_named_with_what_to_do(build: Build) -> None:
    with pytest.raises(RunError, match=r"kd-0.*dropkd resume"):
        dropkd.compare([build("plain"), build("kd", done=3)])


def test_seeds_alone_are_nothing_to_compare(build: Build) -> None:
    with pytest.raises(RunError, match="differ in their seed alone"):
        dropkd.compare([build("kd", 0), build("kd", 1)])


def test_an_unknown_figure_or_reference_is_answered_with_the_known_ones(build: Build) -> None:
    runs = [build("plain"), build("kd")]
    with pytest.raises(ConfigError, match="accuracy, uar, macro_f1, loss"):
        dropkd.compare(runs, figure="f1")
    with pytest.raises(ConfigError, match="'plain', 'kd'"):
        dropkd.compare(runs, reference="dkd")
    assert dropkd.compare(runs, reference=str(runs[1])).reference == "kd"


def test_images_with_several_labels_are_compared_by_mean_average_precision(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path)
    runs = [build_label_run(tmp_path / m, pairs, m, skill=k) for m, k in (("plain", 0.0), ("kd", 3.0))]
    found = dropkd.compare(runs)
    assert found.figure == "map"
    assert found.contenders[1].difference is not None
    assert found.contenders[1].difference.verdict == "better"
    assert dropkd.compare(runs, figure="exact_match").contenders[1].difference is not None


def test_each_format_holds_every_contender(build: Build) -> None:
    found = dropkd.compare([build(m) for m in ("plain", "kd", "dropkd")])
    for name in FORMATS:
        text = format_comparison(found, name)
        assert all(label in text for label in ("plain", "kd", "dropkd")), name
    rows = list(csv.DictReader(io.StringIO(format_comparison(found, "csv"))))
    assert [row["label"] for row in rows] == ["plain", "kd", "dropkd"]
    assert float(rows[1]["mean"]) == found.contenders[1].figure.mean
    latex = format_comparison(found, "latex")
    assert latex.count(r"\\") == 4
    assert "%)" not in latex.replace(r"\%)", "")


def test_labels_cannot_break_out_of_a_table(build: Build) -> None:
    from dataclasses import replace

    found = dropkd.compare([build("plain"), build("kd")])
    odd = replace(found, contenders=(found.contenders[0], replace(found.contenders[1], label="=a|b & c_d%")))
    assert "a\\|b" in format_comparison(odd, "markdown")
    assert r"\& c\_d\%" in format_comparison(odd, "latex")
    assert "'=a|b" in format_comparison(odd, "csv")


def test_the_command_prints_a_table_and_writes_files_by_their_suffix(build: Build, tmp_path: Path) -> None:
    runs = [str(build("plain")), str(build("kd"))]
    result = CliRunner().invoke(app, ["compare", *runs], env={"COLUMNS": "180"})
    assert result.exit_code == 0, result.output
    assert "reference" in result.output
    assert "Holm" in result.output
    for suffix, start in ((".md", "|"), (".tex", r"\begin"), (".csv", "label,"), (".json", "{")):
        file = tmp_path / f"table{suffix}"
        assert CliRunner().invoke(app, ["compare", *runs, "-o", str(file)]).exit_code == 0
        assert file.read_text().startswith(start)
    assert CliRunner().invoke(app, ["compare", *runs, "-o", str(tmp_path / "table.doc")]).exit_code != 0
