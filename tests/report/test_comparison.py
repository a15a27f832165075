from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from dropkd.errors import RunError
from dropkd.report import write_comparison, write_run_report

from .pages import Page
from .run_folders import Recipe, build_run, change_json

METHODS = (("plain", 1.5), ("kd", 1.55), ("dropkd", 3.0))


@pytest.fixture
def three(tmp_path: Path, images: Path) -> list[Path]:
    return [build_run(tmp_path / name, images, Recipe(method=name, skill=skill)) for name, skill in METHODS]


def _change_config(run: Path, section: str, **values: object) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config[section] |= values
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def _show(runs: list[Path], output: Path) -> str:
    return Page(write_comparison(runs, output)).text


def test_the_first_words_say_who_is_ahead_and_what_that_is_worth(three: list[Path], tmp_path: Path) -> None:
    text = _show(three, tmp_path / "c.html")
    assert re.search(r"Of the 160 test images dropkd answers the largest share right: \d+\.\d %", text)
    assert re.search(r"dropkd helped: \d+\.\d points above the same student trained alone \(95 % interval \+", text)
    assert re.search(r"kd (shows no clear gain|did not help): ", text)
    assert "This is one seed" in text
    assert "The page makes 2 comparisons" in text


def test_several_seeds_give_mean_and_spread(tmp_path: Path, images: Path) -> None:
    runs = [
        build_run(tmp_path / f"{name}-{seed}", images, Recipe(method=name, skill=skill, seed=seed))
        for name, skill in METHODS
        for seed in range(3)
    ]
    text = _show(runs, tmp_path / "c.html")
    assert re.search(r"on average over 3 runs \(standard deviation \d+\.\d points\)", text)
    assert re.search(r"dropkd helped: .* \(mean over 3 seeds; 95 % interval \+\d+\.\d to \+\d+\.\d\)\.", text)
    assert "3 (seeds 0, 1, 2)" in text
    assert "This is one seed" not in text


def test_runs_tested_on_other_images_are_refused(three: list[Path], tmp_path: Path) -> None:
    change_json(three[2] / "metrics.json", test_sha256="f" * 64)
    with pytest.raises(RunError, match="tested on different images") as caught:
        write_comparison(three, tmp_path / "c.html")
    assert "ffffffffffff" in str(caught.value)
    assert str(three[2]) in str(caught.value)
    assert not (tmp_path / "c.html").exists()


@pytest.mark.parametrize("count", [0, 1])
def test_one_run_is_no_comparison(three: list[Path], tmp_path: Path, count: int) -> None:
    with pytest.raises(RunError, match="two or more different run folders"):
        write_comparison(three[:count] * 2, tmp_path / "c.html")


def test_a_folder_that_is_no_run_is_refused(three: list[Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="There is no run folder"):
        write_comparison([*three, tmp_path / "nowhere"], tmp_path / "c.html")


def test_unfinished_runs_take_part_with_their_curves(three: list[Path], tmp_path: Path, images: Path) -> None:
    going = build_run(tmp_path / "going", images, Recipe(method="kd", seed=1, done=3))
    text = _show([*three, going], tmp_path / "c.html")
    assert "going: has not finished, so it has no final figures." in text
    only = _show([going, build_run(tmp_path / "other", images, Recipe(done=2))], tmp_path / "d.html")
    assert "None of these runs has finished" in only


def test_the_same_method_with_other_settings_is_another_row(tmp_path: Path, images: Path) -> None:
    runs = [build_run(tmp_path / f"kd-{t}", images, Recipe(method="kd")) for t in (1, 2)]
    for run, temperature in zip(runs, (1.0, 2.0), strict=True):
        _change_config(run, "method", temperature=temperature)
    text = _show(runs, tmp_path / "c.html")
    assert "kd, temperature 1 and kd, temperature 2 compared" in text
    assert "the page can\u2019t show whether it helped" in text


def test_budgets_that_differ_are_pointed_out(three: list[Path], tmp_path: Path) -> None:
    assert "not trained alike" not in _show(three, tmp_path / "c.html")
    _change_config(three[2], "training", epochs=99)
    assert "not trained alike, which may explain differences: see training.epochs below" in _show(
        three, tmp_path / "c.html"
    )


def test_a_plain_run_in_the_folder_of_each_serves_where_none_is_given(tmp_path: Path, images: Path) -> None:
    runs = [
        build_run(tmp_path / name, images, Recipe(method=name, skill=3.0), baseline=True) for name in ("kd", "dropkd")
    ]
    text = _show(runs, tmp_path / "c.html")
    assert len(re.findall(r"(?:above|below|level with) the same student trained alone \(95 % interval", text)) == 2


def test_images_on_which_they_differ_carry_every_answer(three: list[Path], tmp_path: Path) -> None:
    page = Page(write_comparison(three, tmp_path / "c.html"))
    assert "dropkd right, plain wrong" in page.text
    assert sum(link.startswith("data:image/png") for link in page.links) > 8
    assert re.search(r"true [\w -]+ plain ✗ ?wrong: [\w -]+ \d+ % kd .* teacher", page.text)


def test_runs_with_a_page_of_their_own_are_linked(three: list[Path], tmp_path: Path) -> None:
    spaced = three[0].rename(tmp_path / "plain & simple")
    write_run_report(spaced)
    page = Page(write_comparison([spaced, *three[1:]], tmp_path / "pages" / "c.html"))
    assert [link for link in page.links if link.endswith("report.html")] == ["../plain%20%26%20simple/report.html"]


def test_the_page_is_the_same_every_time(three: list[Path], tmp_path: Path) -> None:
    first = write_comparison(three, tmp_path / "c.html").read_bytes()
    assert write_comparison(three, tmp_path / "c.html").read_bytes() == first
    assert len(first) < 500_000


def test_runs_of_one_seed_trained_on_other_images_are_pointed_out(three: list[Path], tmp_path: Path) -> None:
    for run, images in zip(three, "aab", strict=True):
        change_json(run / "metrics.json", train_sha256=images)
    assert "The runs of seed 0 were trained on different images." in _show(three, tmp_path / "c.html")


def test_a_plain_run_of_another_student_is_no_reference(three: list[Path], tmp_path: Path, images: Path) -> None:
    other = build_run(tmp_path / "other", images, Recipe(method="plain", skill=0.3))
    _change_config(other, "student", name="resnet18")
    change_json(other / "metrics.json", student={"name": "resnet18", "parameters": 11_000_000})
    text = _show([other, *three], tmp_path / "c.html")
    assert "dropkd right, plain, cifar_resnet8 wrong" in text
    assert "plain, resnet18 compared" not in text


def test_runs_on_uneven_classes_show_the_mean_recall_beside_the_accuracy(three: list[Path], tmp_path: Path) -> None:
    assert "UAR" not in _show(three, tmp_path / "even.html")
    for run in three:
        change_json(run / "metrics.json", imbalanced=True)
    assert len(re.findall(r"UAR \d+\.\d %", _show(three, tmp_path / "uneven.html"))) == 3


def test_the_plain_run_of_one_run_serves_the_others_of_its_seed_and_student(tmp_path: Path, images: Path) -> None:
    with_plain = build_run(tmp_path / "kd", images, Recipe(method="kd"), baseline=True)
    other = build_run(tmp_path / "dropkd", images, Recipe())
    text = Page(write_comparison([with_plain, other], tmp_path / "page.html")).text
    assert "No finished run here trained the student" not in text
    for method in ("kd", "dropkd"):
        assert re.search(rf"{method} (helped|did harm|shows no clear gain|did not help):", text)
