"""Runs sent to a hub on this machine, and networks loaded from it, on real images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from hub_server import Hub, Repository
from PIL import Image

import dropkd
from dropkd.cli import run_command_line
from dropkd.errors import ConfigError, ModelError, RunError
from dropkd.sharing import Package, pushing

Push = Callable[..., tuple[int, str, str]]


@pytest.fixture
def push(capsys: pytest.CaptureFixture[str]) -> Push:
    """Run ``dropkd push``; the exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run_command_line(["push", *map(str, arguments)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def ask(model: torch.nn.Module, files: list[Path]) -> torch.Tensor:
    """The probabilities (N, K) of a model of timm's, by timm's own preprocessing."""
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    with torch.no_grad():
        return model(torch.stack([transform(Image.open(file).convert("RGB")) for file in files])).softmax(1)


def test_what_is_pushed_is_loaded_again_by_dropkd_and_by_timm_with_the_same_answers(
    timm_run: Path, hub: Hub, push: Push, photos_of: list[Path]
) -> None:
    code, shown, told = push(timm_run, "me/clothes", "--licence", "Apache 2.0")
    assert (code, told) == (0, "")
    assert sorted(hub.files("me/clothes")) == ["README.md", "config.json", "model.safetensors"]
    assert not hub.repositories["me/clothes"].private
    assert "dropkd.load('hf:me/clothes')" in shown
    assert 'timm.create_model("hf-hub:me/clothes", pretrained=True)' in shown
    expected = dropkd.Run.open(timm_run).predict(photos_of)
    assert dropkd.load("hf:me/clothes").predict(photos_of) == expected
    model = timm.create_model("hf-hub:me/clothes", pretrained=True).eval()
    shares = ask(model, photos_of)
    assert tuple(model.pretrained_cfg["label_names"]) == dropkd.Run.open(timm_run).classes
    for row, answer in zip(shares, expected, strict=True):
        assert model.pretrained_cfg["label_names"][int(row.argmax())] == answer.label
        assert float(row.max()) == pytest.approx(answer.probability, abs=1e-4)


def test_what_was_loaded_once_is_loaded_again_without_a_network(
    distilled_run: Path, hub: Hub, photos_of: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    dropkd.push_run(distilled_run, "me/own")
    first = dropkd.load("hf:me/own")
    hub.asked.clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    again = dropkd.load("hf:me/own")
    assert hub.asked == []
    assert again.predict(photos_of) == first.predict(photos_of) == dropkd.Run.open(distilled_run).predict(photos_of)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        dropkd.load("hf:me/other")


def test_what_is_sent_is_listed_before_anything_is(timm_run: Path, hub: Hub) -> None:
    seen: list[tuple[list[str], list[str]]] = []

    def announce(package: Package) -> None:
        seen.append(([file.name for file in package.files], list(hub.asked)))

    dropkd.push_run(timm_run, "me/clothes", announce=announce)
    assert seen == [(["README.md", "config.json", "model.safetensors"], [])]
    assert hub.asked[0] == "POST /api/repos/create"


def test_nothing_that_is_sent_names_a_place_of_this_machine_or_is_an_image(
    distilled_run: Path, clothes: Path, hub: Hub, push: Push
) -> None:
    assert push(distilled_run, "me/own", "--with-onnx")[0] == 0
    files = hub.files("me/own")
    exported = ["model.onnx", "model.onnx.json", "predict_onnx.py"]
    assert sorted(files) == sorted(["README.md", "config.json", "model.safetensors", *exported])
    config = dropkd.Run.open(distilled_run).config
    assert config.teacher is not None
    for place in (clothes, distilled_run, config.teacher.source, Path.home(), Path(dropkd.__file__).parent):
        assert [name for name, content in files.items() if str(place).encode() in content] == []


def test_a_teacher_that_is_a_file_is_not_told_by_its_place(
    timm_run: Path, clothes: Path, hub: Hub, tmp_path: Path
) -> None:
    teacher = dropkd.export_run(timm_run, output=tmp_path / "secret-project" / "teacher.onnx").path
    run = dropkd.distill(
        clothes, teacher=teacher, student="cifar_resnet8", method="kd", epochs=1, teacher_check="off",
        output=tmp_path / "run",
    )  # fmt: skip
    dropkd.push_run(run, "me/own", with_onnx=True)
    files = hub.files("me/own")
    assert [name for name, content in files.items() if b"secret-project" in content] == []
    assert b"from the teacher onnx file" in files["README.md"]
    assert b"--teacher TEACHER" in files["README.md"]
    assert json.loads(files["model.onnx.json"])["teacher"] == "onnx file"


def test_a_file_that_would_name_a_place_of_this_machine_is_not_sent(
    distilled_run: Path, clothes: Path, hub: Hub, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"README\.md would tell others of a place on this machine"):
        dropkd.push_run(distilled_run, "me/own", data_name=f"from {clothes}", dry_run=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert hub.repositories == {}


def test_a_dry_run_writes_what_would_be_sent_and_asks_nobody(
    timm_run: Path, hub: Hub, push: Push, photos_of: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    folder = tmp_path / "to send"
    code, shown, told = push(timm_run, "me/clothes", "--dry-run", folder)
    assert (code, hub.asked) == (0, [])
    assert "No licence is stated" in told
    assert str(folder) in shown
    assert dropkd.load(folder).predict(photos_of) == dropkd.Run.open(timm_run).predict(photos_of)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert tuple(model.pretrained_cfg["label_names"]) == dropkd.Run.open(timm_run).classes
    code, _, told = push(timm_run, "me/clothes", "--dry-run", folder)
    assert code == 2
    assert "is not an empty folder" in told


def test_a_branch_is_made_and_read_by_its_name(timm_run: Path, distilled_run: Path, hub: Hub, push: Push) -> None:
    assert push(timm_run, "me/clothes")[0] == 0
    code, shown, _ = push(distilled_run, "me/clothes", "--revision", "small")
    assert code == 0
    assert "dropkd.load('hf:me/clothes@small')" in shown
    assert 'dropkd.load("hf:me/clothes@small")' in hub.files("me/clothes", "small")["README.md"].decode()
    assert dropkd.load("hf:me/clothes@small").spec.name == "cifar_resnet8"
    assert dropkd.load("hf:me/clothes?revision=small").spec.name == "cifar_resnet8"
    assert dropkd.load("hf:me/clothes").spec.name == "test_resnet"
    with pytest.raises(ModelError, match="has no revision 'large'"):
        dropkd.load("hf:me/clothes@large")


def test_a_private_repository_is_made_so_and_a_public_one_is_not_written_to(
    timm_run: Path, hub: Hub, push: Push
) -> None:
    assert push(timm_run, "me/secret", "--private")[0] == 0
    assert hub.repositories["me/secret"].private
    hub.repositories["me/open"] = Repository()
    code, _, told = push(timm_run, "me/open", "--private")
    assert code == 2
    assert "everyone can see it" in told
    assert hub.files("me/open") == {}


def test_an_onnx_file_of_earlier_weights_goes_when_new_ones_come(timm_run: Path, hub: Hub) -> None:
    hub.repositories["me/clothes"] = Repository()
    hub.files("me/clothes").update({"model.onnx": b"old", "notes.txt": b"mine", "README.md": b"mine"})
    dropkd.push_run(timm_run, "me/clothes", keep_card=True)
    files = hub.files("me/clothes")
    assert "model.onnx" not in files
    assert (files["notes.txt"], files["README.md"]) == (b"mine", b"mine")
    dropkd.push_run(timm_run, "me/clothes")
    assert files["README.md"] != b"mine"


def test_a_pushed_student_teaches_and_is_trained_further(
    distilled_run: Path, timm_run: Path, clothes: Path, hub: Hub, tmp_path: Path
) -> None:
    dropkd.push_run(distilled_run, "me/own")
    dropkd.push_run(timm_run, "me/clothes")
    teacher = dropkd.models.open_teacher("hf:me/own@main")
    images = torch.randint(0, 256, (2, 3, 28, 28), dtype=torch.uint8)
    assert torch.equal(teacher.logits(images), dropkd.Run.open(distilled_run).network().logits(images))
    for student in ("hf:me/own", "hf:me/clothes"):
        network = dropkd.models.build_network(student, num_classes=3, pretrained=True)
        assert network.spec.classes == dropkd.Run.open(distilled_run).classes
        assert not network.spec.name.startswith("hf:")


@pytest.mark.parametrize(
    ("repository", "reason"),
    [
        ("clothes", "names no owner"),
        ("me/a/b", "can't be a repository"),
        ("../me", "can't be a repository"),
        ("me/..", "can't be a repository"),
        ("/etc/passwd", "can't be a repository"),
        ("me/with space", "can't be a repository"),
        ("me/name@../../up", "can't be a revision"),
        ("me/name@", "can't be a revision"),
        ("", "can't be a repository"),
    ],
)
def test_names_that_none_can_have_are_refused_before_anything_is_done(
    timm_run: Path, hub: Hub, push: Push, repository: str, reason: str
) -> None:
    code, _, told = push(timm_run, repository)
    assert code == 2
    assert reason in told
    assert "Traceback" not in told
    assert hub.asked == []


def test_two_branches_at_once_are_refused(timm_run: Path, hub: Hub) -> None:
    with pytest.raises(ConfigError, match="names the branch 'a', but --revision says 'b'"):
        dropkd.push_run(timm_run, "me/clothes@a", revision="b")


def test_without_a_token_or_with_a_wrong_one_it_is_said_how_to_get_one(
    timm_run: Path, hub: Hub, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    code, _, told = push(timm_run, "me/clothes")
    assert code == 2
    assert "does not know the token (401)" in told
    assert "hf auth login" in told
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    code, _, told = push(timm_run, "me/clothes")
    assert code == 2
    assert "There is no token" in told


def test_the_hubs_refusals_are_told_in_words(timm_run: Path, hub: Hub, push: Push) -> None:
    hub.closed_to = ("them",)
    code, _, told = push(timm_run, "them/clothes")
    assert code == 2
    assert "does not let this token write to 'them/clothes' (403)" in told
    hub.broken = 507
    code, _, told = push(timm_run, "me/clothes")
    assert code == 2
    assert "refused 'me/clothes' (507)" in told
    assert "Storage is full" in told
    assert "Traceback" not in told


def test_without_a_network_nothing_is_computed(
    timm_run: Path, push: Push, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "is_reachable", lambda: False)
    code, _, told = push(timm_run, "me/clothes")
    assert code == 2
    assert "can't be reached" in told
    assert "--dry-run" in told
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in push(timm_run, "me/clothes")[2]


def test_a_hub_that_is_gone_is_told_in_words(
    timm_run: Path, push: Push, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    code, _, told = push(timm_run, "me/clothes")
    assert code == 2
    assert "127.0.0.1:1" in told
    assert "Traceback" not in told


def test_a_run_that_is_not_finished_is_refused(timm_run: Path, hub: Hub, push: Push, tmp_path: Path) -> None:
    run = tmp_path / "half"
    run.mkdir()
    for name in ("config.yaml", "student.safetensors", "metrics.jsonl"):
        (run / name).write_bytes((timm_run / name).read_bytes())
    for metrics in (None, {**json.loads((timm_run / "metrics.json").read_text()), "status": "interrupted"}):
        if metrics is not None:
            (run / "metrics.json").write_text(json.dumps(metrics))
        code, _, told = push(run, "me/clothes")
        assert code == 2
        assert "has not finished" in told
        assert f"dropkd resume {run}" in told
    assert hub.repositories == {}
