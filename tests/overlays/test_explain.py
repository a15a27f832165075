"""``dropkd explain``: from a run to pictures, for runs of every kind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import dropkd
from dropkd.cli import run_command_line
from dropkd.cli.app import app
from dropkd.errors import ConfigError, DataError, RunError
from dropkd.models import build_network
from dropkd.overlays import explain


@pytest.fixture
def run(taught: dropkd.Run, tmp_path: Path) -> dropkd.Run:
    """A copy that can be written to."""
    shutil.copytree(taught.folder, tmp_path / "run")
    return dropkd.Run.open(tmp_path / "run")


def list_looks(folder: Path) -> list[dict[str, object]]:
    record = json.loads((folder / "overlays.json").read_text(encoding="utf-8"))
    return [look for group in record["groups"] for image in group["images"] for look in image["looks"]]


def test_a_runs_networks_are_shown_side_by_side_and_the_report_shows_it(run: dropkd.Run) -> None:
    told = CliRunner().invoke(app, ["explain", str(run.folder), "--images", "6", "--compared", "4"])
    assert told.exit_code == 0, told.output
    assert "Where they look, by occlusion" in told.output
    assert "rank correlation" in told.output
    folder = run.folder / "overlays"
    record = json.loads((folder / "overlays.json").read_text(encoding="utf-8"))
    assert (record["way"], record["asked"], record["split"]) == ("occlusion", "true", "test")
    assert sum(len(group["images"]) for group in record["groups"]) == 6
    assert record["agreement"]["images"] + record["agreement"]["without"] == 4
    assert record["faithfulness"].keys() <= {"student", "teacher"}
    pictures = [str(look["picture"]) for look in list_looks(folder) if look["picture"]]
    assert pictures
    for name in pictures:
        with Image.open(folder / name) as picture:
            assert picture.size == (140, 140)
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert page.count('<li class="look">') == 6
    assert (folder / "index.html").is_file()


def test_networks_are_asked_about_the_true_class_and_say_what_predictions_say(run: dropkd.Run) -> None:
    import pyarrow.parquet as pq

    found = explain(run, images=24, compared=0, way="gradcam")
    kept = {row["path"]: row for row in pq.read_table(run.folder / "predictions.parquet").to_pylist()}
    classes = run.classes
    images = [image for group in found.groups for image in group.images]
    assert len(images) == 24 == len({image.path for image in images})
    for image in images:
        row = kept[image.path]
        assert image.asked == image.true == classes[row["target"]]
        for look, prefix in ((look, "" if look.who == "student" else "teacher_") for look in image.looks):
            assert look.answer == classes[row[f"{prefix}prediction"]]
            assert look.asked_probability == pytest.approx(row[f"{prefix}probabilities"][row["target"]], abs=1e-4)
            assert look.right == (look.answer == image.true)
    kinds = {group.title: group for group in found.groups}
    assert sum(group.total for group in kinds.values()) == 24
    for image in kinds["Teacher right, student wrong"].images if "Teacher right, student wrong" in kinds else ():
        assert [look.right for look in image.looks] == [True, False]


def test_the_same_question_gets_the_same_answer_and_random_states_stay(run: dropkd.Run) -> None:
    state = torch.get_rng_state()
    first = explain(run, images=4, compared=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert explain(run, images=4, compared=3) == first


def test_a_run_without_a_teacher_shows_its_student_alone_by_grad_cam(plain: dropkd.Run, tmp_path: Path) -> None:
    found = explain(plain, images=3, compared=3, output=tmp_path / "out")
    assert (found.way, list(found.networks), found.agreement) == ("gradcam", ["student"], None)
    assert found.networks["student"]["read_at"] == "what comes out of layer3, 7 x 7"
    assert found.faithfulness["student"].images > 0
    assert not (plain.folder / "overlays").exists()


def test_any_other_network_can_stand_in_the_teachers_place(plain: dropkd.Run, tmp_path: Path) -> None:
    found = explain(plain, teacher=plain.folder, images=2, compared=4, output=tmp_path / "out")
    # Two convolutional networks, and in fact the same.
    assert found.way == "gradcam"
    assert found.agreement is not None
    assert found.agreement.rank_correlation == found.agreement.overlap == pytest.approx(1)
    both = explain(
        plain, teacher=f"ensemble:{plain.folder}+{plain.folder}", images=2, compared=4, output=tmp_path / "e"
    )
    assert both.networks["teacher"]["read_at"] == "the mean over 2 networks"
    assert both.agreement is not None
    assert both.agreement.rank_correlation > 0.9


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_a_teacher_that_shows_nothing_of_its_inside_is_asked_by_covering(plain: dropkd.Run, tmp_path: Path) -> None:
    network = build_network("cifar_resnet8", num_classes=3, image_size=(28, 28)).eval()
    torch.jit.trace(network.model, torch.rand(1, 3, 28, 28)).save(str(tmp_path / "teacher.pt"))
    found = explain(plain, teacher=tmp_path / "teacher.pt", images=2, compared=2, output=tmp_path / "out")
    assert (found.way, set(found.networks)) == ("occlusion", {"student", "teacher"})
    found = explain(
        plain, teacher=tmp_path / "teacher.pt", way="gradcam", images=2, compared=2, output=tmp_path / "out"
    )
    assert set(found.networks) == {"student"}
    assert any("The teacher is left out" in note and "shows no map" in note for note in found.notes)


def test_a_teacher_that_is_gone_or_knows_other_classes_is_left_out_in_words(run: dropkd.Run, tmp_path: Path) -> None:
    config = run.folder / "config.yaml"
    source = run.config.teacher.source if run.config.teacher is not None else ""
    config.write_text(config.read_text().replace(source, str(tmp_path / "gone.safetensors")))
    found = explain(run.folder, images=2, compared=0)
    assert set(found.networks) == {"student"}
    assert any("can't be opened any more" in note for note in found.notes)
    found = explain(run.folder, teacher="cifar_resnet8:" + str(_save_other(tmp_path)), images=2, compared=0)
    assert any("it knows 5 classes and the student 3" in note for note in found.notes)


def _save_other(folder: Path) -> Path:
    network = build_network("cifar_resnet8", num_classes=5, image_size=(28, 28))
    torch.save(network.model.state_dict(), folder / "five.pth")
    return folder / "five.pth"


def test_attention_is_shown_for_those_that_have_it(run: dropkd.Run) -> None:
    found = explain(run, way="attention", images=2, compared=2)
    assert set(found.networks) == {"teacher"}
    assert any("The student is left out" in note for note in found.notes)
    assert found.agreement is None


def test_files_of_ones_own_are_asked_about_the_students_answer(run: dropkd.Run, tmp_path: Path) -> None:
    image = tmp_path / "a 'cat' & <b>\U0001f431.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 200, 3), dtype=np.uint8)).save(image)
    told = CliRunner().invoke(app, ["explain", str(run.folder), "--image", str(image), "--by", "gradcam", "--json"])
    assert told.exit_code == 0, told.output
    folder = run.folder / "overlays-files"
    (student, *_) = [look for look in list_looks(folder) if look["who"] == "student"]
    record = json.loads((folder / "overlays.json").read_text(encoding="utf-8"))
    assert record["groups"][0]["images"][0]["asked"] == student["answer"]
    assert student["right"] is None
    # Only the middle square of a wide image is shown to the network: what lies beside it stays dark.
    with Image.open(folder / str(student["picture"])) as picture:
        painted = np.asarray(picture.convert("RGB")).astype(int)
    assert painted.shape == (72, 160, 3)
    assert np.ptp(painted[:, :36], axis=2).mean() < 5 < np.ptp(painted[:, 52:108], axis=2).mean()
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "<b>\U0001f431" not in page
    assert "&lt;b&gt;" in page


def test_a_class_can_be_named(run: dropkd.Run) -> None:
    found = explain(run, asked="sandal", images=3, compared=0, way="gradcam")
    assert {image.asked for group in found.groups for image in group.images} == {"sandal"}
    answered = explain(run, asked="answer", images=24, compared=0, way="gradcam")
    for image in (image for group in answered.groups for image in group.images):
        assert image.asked == next(look.answer for look in image.looks if look.who == "student")


def test_images_with_several_labels_are_asked_about_the_one_that_is_found_least(outfits: Path, tmp_path: Path) -> None:
    run = dropkd.train(outfits, model="cifar_resnet8", epochs=1, batch_size=16, output=tmp_path / "run")
    found = explain(run, images=32, compared=4)
    assert found.multi_label
    assert found.way == "gradcam"
    images = [image for group in found.groups for image in group.images]
    assert any("," in image.true for image in images)
    for image in images:
        assert image.asked in image.true.split(", ") or image.true == "no label"


def test_other_images_of_the_same_classes_are_chosen_among_those_asked_about(
    run: dropkd.Run, clothes: Path, tmp_path: Path
) -> None:
    shutil.copytree(clothes, tmp_path / "moved")
    for path in (tmp_path / "moved/test").rglob("*.png"):
        path.rename(path.with_name(f"new-{path.name}"))
    found = explain(run, data=tmp_path / "moved", images=4, compared=0, way="gradcam", output=tmp_path / "out")
    assert all("new-" in image.path for group in found.groups for image in group.images)
    assert sum(group.total for group in found.groups) == 24


@pytest.mark.parametrize(
    ("asked", "error", "text"),
    [
        ({"way": "gradcm"}, ConfigError, "unknown way 'gradcm'.*Did you mean 'gradcam'"),
        ({"asked": "sandle"}, ConfigError, "no class 'sandle'.*Did you mean 'sandal'"),
        ({"split": "tset"}, DataError, "no split 'tset'"),
        ({"files": ["nowhere.png"]}, DataError, "No such image: 'nowhere.png'"),
        ({"files": ["x.png"], "split": "test"}, ConfigError, "not both"),
        ({"images": -1}, ConfigError, "images must be 0 or more"),
        ({"images": 0, "compared": 0}, ConfigError, "nothing to ask about"),
        ({"device": "gpu"}, ConfigError, "unknown device 'gpu'"),
    ],
)
def test_what_cannot_be_done_is_said(
    run: dropkd.Run, asked: dict[str, object], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        explain(run, **asked)  # type: ignore[arg-type]
    assert not (run.folder / "overlays").exists()


def test_a_file_that_is_no_image_is_a_mistake_in_words(
    run: dropkd.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "note.png").write_text("no image")
    assert run_command_line(["explain", str(run.folder), "--image", str(tmp_path / "note.png")]) == 2
    assert "not an image that can be recognised" in capsys.readouterr().err
    assert not (run.folder / "overlays-files").exists()


def test_no_image_shown_leaves_the_figures(run: dropkd.Run) -> None:
    found = explain(run, images=0, compared=6)
    assert found.groups == ()
    assert found.agreement is not None
    page = (run.folder / "overlays/overlays.json").read_text(encoding="utf-8")
    assert '"groups": []' in page


def test_a_folder_of_something_else_is_not_replaced(run: dropkd.Run, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/holiday.jpg").write_bytes(b"x")
    with pytest.raises(RunError, match="not a folder of overlays"):
        explain(run, output=tmp_path / "photos")
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["holiday.jpg"]


def test_a_run_without_a_student_and_a_folder_that_is_no_run_are_mistakes_in_words(
    run: dropkd.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run.folder / "student.safetensors").unlink()
    assert run_command_line(["explain", str(run.folder)]) == 2
    assert "dropkd resume" in capsys.readouterr().err
    assert run_command_line(["explain", str(tmp_path)]) == 2
    assert "no run folder" in capsys.readouterr().err


def test_what_was_there_stays_where_writing_fails(run: dropkd.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    explain(run, images=2, compared=0, way="gradcam")
    before = sorted(path.name for path in (run.folder / "overlays").iterdir())

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dropkd.overlays.result.write_text", fail)
    with pytest.raises(RunError, match="no space is left"):
        explain(run, images=4, compared=0, way="gradcam")
    assert sorted(path.name for path in (run.folder / "overlays").iterdir()) == before
    assert [path.name for path in run.folder.iterdir() if path.name.endswith(".part")] == []
