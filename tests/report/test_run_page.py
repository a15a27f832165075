from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dropkd.errors import RunError
from dropkd.report import write_run_report

from .pages import Page
from .run_folders import Recipe, build_run, change_json, write_images


def _show(run: Path) -> str:
    return Page(write_run_report(run)).text


def test_the_first_words_say_how_good_the_student_is(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    accuracy = metrics["splits"]["test"]["accuracy"]
    teacher = metrics["teacher"]["splits"]["test"]["accuracy"]
    kept = f"{100 * accuracy / teacher:.0f} % of its teacher\u2019s accuracy ({100 * teacher:.1f} %)"
    assert (
        f"The student (cifar_resnet8, 78,330 parameters) answers {100 * accuracy:.1f} % of the 160 test images right "
        f"and keeps {kept} with 28 % of its parameters and 1.6 times its multiply-adds (MACs)."
    ) in _show(run)


@pytest.mark.parametrize(
    ("skill", "expected"),
    [(3.2, "dropkd helped:"), (0.9, "dropkd did harm:"), (1.905, "dropkd (shows no clear gain|did not help):")],
)
def test_it_says_plainly_whether_the_method_helped(tmp_path: Path, images: Path, skill: float, expected: str) -> None:
    run = build_run(tmp_path / "run", images, Recipe(skill=skill))
    build_run(run / "baseline", images, Recipe(method="plain", skill=1.9))
    text = _show(run)
    assert re.search(expected, text)
    assert "the same student trained alone (95 % interval" in text
    assert "This is one seed: on this many images differences below about" in text


def test_it_names_the_split_that_picked_the_epoch(run: Path) -> None:
    assert "Epoch 10 of 12 was kept, chosen by val accuracy; the test images played no part in that choice." in _show(
        run
    )


def test_it_says_when_the_teacher_is_no_better_than_the_student_alone(tmp_path: Path, images: Path) -> None:
    run = build_run(tmp_path / "run", images, Recipe(teacher_skill=0.5), baseline=True)
    assert "so there is little to learn from it" in _show(run)


def test_a_baseline_tested_on_other_images_is_not_compared(run: Path) -> None:
    change_json(run / "baseline" / "metrics.json", test_sha256="other")
    text = _show(run)
    assert "The plain run 'run/baseline' was tested on other images, so nothing is compared with it." in text
    assert "trained alone" not in text


def test_without_answers_the_difference_is_still_judged_from_the_figures(run: Path) -> None:
    (run / "predictions.parquet").unlink()
    text = _show(run)
    assert "trained alone (95 % interval" in text
    assert "McNemar p" not in text.partition("How these figures")[0]
    assert "predictions.parquet is not there" in text


def test_selected_and_last_epoch_stand_side_by_side(run: Path) -> None:
    text = _show(run)
    for words in ("Student, epoch 10 (selected)", "Student, epoch 12 (last)", "Same student, alone", "160 images"):
        assert words in text


def test_worst_pairs_are_named_in_words(run: Path) -> None:
    assert re.search(r"\w+ taken for [\w-]+: \d+ of 16 \(\d+\.\d %\), the teacher \d+", _show(run))


def test_the_command_and_the_departures_from_the_defaults_are_shown(run: Path) -> None:
    text = _show(run)
    assert "--student cifar_resnet8 --epochs 12 --output 'my run'" in text
    assert re.search(r"method\.name\s*dropkd\s*departs from: plain", text)
    assert re.search(r"training\.epochs\s*12\s*departs from: what dropkd would have chosen", text)
    assert re.search(r"2 of \d+ keys depart from their default\.", text)
    assert f"dropkd distill --config {run / 'config.yaml'} --output {run}-again" in text


def test_the_page_loads_nothing_and_runs_its_own_script_alone(run: Path) -> None:
    page = Page(write_run_report(run))
    source = page.source
    assert re.findall(r"<script[^>]*>", source) == ["<script>"]
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert " style=" not in source
    assert not re.search(r"\son[a-z]+=", source)
    assert "@import" not in source
    assert "url(" not in source


def test_the_policy_allows_the_page_s_style_and_script_by_their_hashes_and_nothing_else(run: Path) -> None:
    source = write_run_report(run).read_text()
    style, script = (re.search(f"<{tag}>(.*)</{tag}>", source, re.S) for tag in ("style", "script"))
    assert style
    assert script
    digests = [base64.b64encode(hashlib.sha256(part[1].encode()).digest()).decode() for part in (style, script)]
    policy = (
        f"default-src 'none'; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    assert f'content="{policy}"' in source.replace("&#39;", "'")


def test_the_page_is_small_and_the_same_every_time(run: Path) -> None:
    first = write_run_report(run).read_bytes()
    assert write_run_report(run).read_bytes() == first
    assert len(first) < 300_000
    assert sorted(p.name for p in run.iterdir() if p.name.startswith(".")) == []


def test_a_running_run_has_a_page(tmp_path: Path, images: Path) -> None:
    run = build_run(tmp_path / "run", images, Recipe(done=4))
    log = run / "metrics.jsonl"
    log.write_text(log.read_text() + '{"event": "step", "ste')
    text = _show(run)
    assert "This run has not finished: 4 of 12 epochs are logged. The best so far is epoch" in text
    assert "metrics.jsonl: left out unreadable lines (1)." in text
    assert f"dropkd resume {run}" in text


def test_a_run_without_an_epoch_shows_its_steps(tmp_path: Path, images: Path) -> None:
    text = _show(build_run(tmp_path / "run", images, Recipe(done=0)))
    assert "0 of 12 epochs are logged" in text
    assert "at step 0" in write_run_report(tmp_path / "run").read_text()


def test_a_run_with_nothing_but_a_configuration_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 3\n")
    text = _show(tmp_path)
    assert "No step or epoch is logged yet." in text
    assert "Neither its command nor its whole configuration is known." in text
    assert "dropkd train --config" not in text


def test_an_interrupted_run_shows_what_it_reached(tmp_path: Path, images: Path) -> None:
    run = build_run(tmp_path / "run", images, Recipe(done=4))
    val = {"images": 600, "accuracy": 0.5, "loss": 1.2, "uar": 0.5, "agreement": None}
    change = {"schema": 1, "status": "interrupted", "method": "dropkd", "splits": {"val": val}}
    (run / "metrics.json").write_text(json.dumps(change))
    text = _show(run)
    assert "answers 50.0 % of the 600 validation images right; the teacher\u2019s own accuracy is not known." in text
    assert "This run was interrupted: 4 of 12 epochs are logged." in text


def test_a_plain_run_speaks_of_no_teacher(tmp_path: Path, images: Path) -> None:
    text = _show(build_run(tmp_path / "run", images, Recipe(method="plain")))
    assert "cifar_resnet8, trained alone" in text
    assert "teacher" not in text.partition("Configuration")[0].lower()


def test_images_that_moved_are_said_to_be_missing(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", tmp_path / "gone")
    text = _show(run)
    assert re.search(r"\d+ sample images could not be read below '.*gone'; the answers stand without a picture", text)
    assert "image not found" in text


def test_answers_of_another_state_are_pointed_out(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["splits"]["test"]["accuracy"] = 0.123
    (run / "metrics.json").write_text(json.dumps(metrics))
    assert "one of the two is of another state of the run" in _show(run)


def test_names_with_markup_quotes_and_emoji_are_text(tmp_path: Path) -> None:
    classes = ("<script>alert(1)<script>", '"quoted" & co', "\U0001f9e6 socks", "<b>bold", "a'b")
    data = write_images(tmp_path / "data", classes)
    page = Page(write_run_report(build_run(tmp_path / "run", data, Recipe(classes=classes))))
    assert page.source.count("<script") == 1
    assert "alert(1)" in page.text
    assert all(name in page.text for name in classes)
    assert "&lt;b&gt;bold" in page.source
    assert "could not be read" not in page.text


def test_a_folder_that_is_no_run_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run folder"):
        write_run_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_epoch_that_is_both_selected_and_last_has_one_column(run: Path) -> None:
    change_json(run / "metrics.json", selected={"epoch": 11, "by": "val accuracy"})
    text = _show(run)
    assert "Student, epoch 12 (selected, and the last)" in text
    assert "epoch 12 (last)" not in text


def test_the_contents_lead_to_each_section_and_no_other(run: Path) -> None:
    source = write_run_report(run).read_text()
    contents = source.partition('<nav class="contents"')[2].partition("</nav>")[0]
    sections = re.findall(r'<section id="([^"]+)" aria-labelledby="\1-title">', source)
    assert re.findall(r'href="#([^"]+)"', contents) == sections
    assert len(sections) >= 7


def test_labels_that_both_networks_contradict_alike_are_pointed_out(run: Path) -> None:
    rows = [row for row in pq.read_table(run / "predictions.parquet").to_pylist() if row["split"] == "test"]
    doubted = sum(row["target"] != row["prediction"] == row["teacher_prediction"] for row in rows)
    assert doubted > 1
    assert f"for {doubted} images both name the same class, so the label itself may be wrong" in _show(run)
