"""What users get wrong: each mistake is exit code 2, a text that says how to mend it, and nothing left behind."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from dropkd.models import create_model

Cli = Callable[..., tuple[int, str, str]]
BRIEF = ["--epochs", 1, "--batch-size", 16, "--lr", 0.005]


@pytest.fixture
def refuse(cli: Cli, photos: Path) -> Callable[..., str]:
    """Run a command that must fail as a user's mistake and leave the folder as it was; return what it says."""

    def run(*arguments: object) -> str:
        before = sorted(Path().rglob("*"))
        code, _, said = cli(*arguments)
        assert code == 2, said
        assert sorted(Path().rglob("*")) == before
        assert said.startswith("error: ")
        return said

    return run


@pytest.fixture
def refuse_data(refuse: Callable[..., str]) -> Callable[..., str]:
    """Run a training on a data folder that must be refused."""
    return lambda data, *more: refuse("train", data, "--model", "cifar_resnet8", *BRIEF, "--output", "run", *more)


def spoil(photos: Path, content: bytes) -> Path:
    path = min((photos / "train" / "sandal").iterdir())
    path.write_bytes(content)
    return path


# Folders


def test_a_folder_that_is_not_there(refuse_data: Callable[..., str]) -> None:
    assert "fotos' does not exist. Did you mean 'photos'?" in refuse_data("fotos")


def test_a_file_in_place_of_a_folder(refuse_data: Callable[..., str]) -> None:
    Path("fotos").write_text("")
    assert re.search(r"must be a folder of images, got the file '\S*fotos'", refuse_data("fotos"))


def test_an_empty_folder(refuse_data: Callable[..., str]) -> None:
    Path("empty").mkdir()
    said = refuse_data("empty")
    assert "empty' holds no images" in said
    assert "train/CLASS/*" in said


def test_one_class(refuse_data: Callable[..., str], photos: Path) -> None:
    for name in ("trouser", "ankle_boot"):
        shutil.rmtree(photos / "train" / name)
        shutil.rmtree(photos / "test" / name)
    assert "has one class with images, 'sandal'; a classifier needs two at least" in refuse_data(photos)


def test_a_class_with_one_image(refuse_data: Callable[..., str], photos: Path) -> None:
    for path in sorted((photos / "train" / "sandal").iterdir())[1:]:
        path.unlink()
    assert "each class needs 2 images at least" in (said := refuse_data(photos))
    assert "'sandal' has 1" in said


def test_a_folder_nested_by_mistake(refuse_data: Callable[..., str], photos: Path) -> None:
    Path("outer").mkdir()
    photos.rename("outer/photos")
    assert re.search(r"Perhaps you mean the folder '\S*outer/photos'", refuse_data("outer"))


def test_class_lists_of_train_and_test_that_differ(refuse_data: Callable[..., str], photos: Path) -> None:
    (photos / "test" / "sandal").rename(photos / "test" / "sandals")
    said = refuse_data(photos)
    assert "test/ lacks 'sandal'. test/ has 'sandals', which train/ lacks. Did you mean 'sandal'?" in said


# Images


@pytest.mark.parametrize(
    "content",
    [b"", b"no image at all", b"cut short"],
    ids=["zero-byte", "unreadable", "truncated"],
)
def test_an_image_that_can_not_be_read_stops_the_run_unless_skipped(
    content: bytes, refuse_data: Callable[..., str], cli: Cli, photos: Path
) -> None:
    if content == b"cut short":
        content = next((photos / "train" / "trouser").iterdir()).read_bytes()[:120]
    path = spoil(photos, content)
    said = refuse_data(photos)
    assert path.name in said
    assert "--skip-unreadable" in said
    code, out, err = cli("train", photos, "--model", "cifar_resnet8", *BRIEF, "--output", "run", "--skip-unreadable")
    assert code == 0, err
    assert path.name in out


def test_images_of_every_readable_kind_train(cli: Cli, photos: Path) -> None:
    folder = photos / "train" / "sandal"
    grey = Image.fromarray(np.arange(28 * 28, dtype=np.uint8).reshape(28, 28))
    grey.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.arange(28 * 28, dtype=np.uint16).reshape(28, 28) * 80).save(folder / "sixteen.png")
    grey.save(folder / "animated.gif", save_all=True, append_images=[grey.rotate(90)])
    exif = Image.Exif()
    exif[0x0112] = 6
    grey.save(folder / "rotated.jpg", exif=exif)
    grey.convert("P").save(folder / "palette.png", transparency=b"\x00\x80" * 8)
    code, _, err = cli("train", photos, "--model", "cifar_resnet8", *BRIEF, "--output", "run")
    assert code == 0, err


# Names, keys and values


def test_an_unknown_model(refuse: Callable[..., str], photos: Path) -> None:
    assert "Did you mean 'cifar_resnet8'?" in refuse("train", photos, "--model", "cifar_resnet_8")


def test_no_model(refuse: Callable[..., str], photos: Path) -> None:
    assert refuse("train", photos) == "error: --model is missing: the network to train\n"


def test_no_teacher(refuse: Callable[..., str], photos: Path) -> None:
    said = refuse("distill", photos, "--student", "cifar_resnet8")
    assert said.startswith("error: --teacher is missing: the network to learn from.")


def test_an_unknown_method(refuse: Callable[..., str], photos: Path, teacher_run: Path) -> None:
    said = refuse("distill", photos, "-t", teacher_run, "--student", "cifar_resnet8", "--method", "dropdk")
    assert said.startswith("error: --method: unknown method 'dropdk'. Did you mean 'dropkd'?")


def test_an_unknown_key_of_a_file(refuse: Callable[..., str], photos: Path) -> None:
    Path("recipe.yaml").write_text("student: cifar_resnet8\nmethod: {name: kd, temprature: 2}\ntraining: {epoch: 3}\n")
    said = refuse("distill", photos, "-t", "x", "--config", "recipe.yaml").splitlines()
    assert said[0].startswith("error: recipe.yaml: unknown ")
    assert "'method.temprature'" in said[0]
    assert "Did you mean 'temperature'?" in said[0]
    assert said[1] == "error: recipe.yaml: unknown key 'training.epoch'. Did you mean 'epochs'?"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("method.temperature=0", "must be a number, greater than 0, got 0"),
        ("method.temperature=warm", "must be a number, greater than 0, got 'warm'"),
        ("method.feature_rate_teacher=1", "must be a number, at least 0, less than 1, got 1"),
        ("method.logit_rate_student=-0.1", "must be a number, at least 0, less than 1, got -0.1"),
        ("method.masks=paired", "must be one of 'coupled', 'independent', got 'paired'"),
        ("method.weights.logits=1", "unknown key 'method.weights.logits'"),
        ("training.lr=fast", "must be a number, got 'fast'"),
        ("data.flip=1", "must be true or false, got 1"),
    ],
)
def test_a_wrong_value(refuse: Callable[..., str], photos: Path, setting: str, message: str) -> None:
    said = refuse("distill", photos, "-t", "x", "--student", "cifar_resnet8", "--set", setting)
    assert said.startswith(f"error: --set {setting}: ")
    assert message in said


@pytest.mark.parametrize(
    ("method", "setting", "message"),
    [
        ("kd", "method.lr=1", "unknown key 'method.lr' of kd. Did you mean 'training.lr'?"),
        ("kd", "training.temperature=3", "unknown key 'training.temperature'. Did you mean 'method.temperature'?"),
        ("kd", "temprature=3", "unknown key 'temprature'. Did you mean 'method.temperature'?"),
        ("kd+dropkd", "method.temperature=3", "Did you mean 'method.kd.temperature' or 'method.dropkd.temperature'?"),
        ("kd+dropkd", "training.width=3", "unknown key 'training.width'. Did you mean 'method.dropkd.width'?"),
        ("kd+dropkd", "method.weights.kd_logits=3", "Did you mean 'kd_logit'?"),
    ],
)
def test_a_key_in_the_wrong_place(
    refuse: Callable[..., str], photos: Path, method: str, setting: str, message: str
) -> None:
    said = refuse("distill", photos, "-t", "x", "--student", "x", "--method", method, "--set", setting)
    assert said.startswith(f"error: --set {setting}: ")
    assert message in said


def test_an_option_of_another_method_is_said_to_be_one(refuse: Callable[..., str], photos: Path) -> None:
    said = refuse("distill", photos, "-t", "x", "--student", "x", "--method", "plain", "--set", "method.masks=coupled")
    assert "unknown key 'method.masks' of plain. It has no options. It is an option of dropkd." in said


def test_a_wrong_flag_is_named_as_it_was_written(refuse: Callable[..., str], photos: Path) -> None:
    said = refuse("train", photos, "--model", "x", "--epochs", 0, "--lr", -1, "--image-size", "big", "--device", "gpu")
    assert said.splitlines() == [
        "error: --image-size: must be a whole number of pixels, or [height, width], got 'big'",
        "error: --epochs: must be at least 1, got 0",
        "error: --lr: must be above 0, got -1.0",
        "error: --device: must be auto, cpu, cuda or cuda:N, got 'gpu'",
    ]


def test_a_teacher_for_train(refuse: Callable[..., str], photos: Path) -> None:
    said = refuse("train", photos, "--model", "cifar_resnet8", "--set", "teacher=x")
    assert "learns from no teacher, but one is named: 'x'. Use `dropkd distill`" in said


# Networks and their files


def distil(photos: Path, teacher: object, *more: object) -> tuple[object, ...]:
    return ("distill", photos, "-t", teacher, "--student", "cifar_resnet8", *BRIEF, "--output", "run", *more)


def test_a_teacher_with_another_number_of_classes(refuse: Callable[..., str], photos: Path, teacher_run: Path) -> None:
    for split in ("train", "test"):
        shutil.rmtree(photos / split / "sandal")
    said = refuse(*distil(photos, teacher_run))
    assert "The teacher has 3 classes and the data 2" in said
    assert "dropkd train" in said
    assert "--set method.weights.logit=0" in said


def test_a_teacher_near_chance(refuse: Callable[..., str], photos: Path) -> None:
    save_file(create_model("cifar_resnet8", num_classes=3).state_dict(), "raw.safetensors")
    said = refuse(*distil(photos, "cifar_resnet8:raw.safetensors"))
    assert "It does not know this task" in said
    assert "--teacher-check warn" in said


def test_a_teacher_with_another_class_order(refuse: Callable[..., str], photos: Path, teacher_run: Path) -> None:
    state = load_file(teacher_run / "student.safetensors")
    *_, weight, bias = (name for name in state if state[name].shape[:1] == (3,))
    for name in (weight, bias):
        state[name] = state[name].roll(1, 0).contiguous()
    save_file(state, "rolled.safetensors")
    assert "another order than yours" in refuse(*distil(photos, "cifar_resnet8:rolled.safetensors"))


def test_a_checkpoint_of_another_architecture(refuse: Callable[..., str], photos: Path) -> None:
    save_file(create_model("cifar_resnet14", num_classes=3).state_dict(), "other.safetensors")
    said = refuse(*distil(photos, "cifar_resnet8:other.safetensors"))
    assert "36 in the file, not in the model" in said
    assert "layer3.1.conv2.weight (64, 64, 3, 3)" in said
    save_file(create_model("cifar_resnet8x4", num_classes=3).state_dict(), "wider.safetensors")
    said = refuse(*distil(photos, "cifar_resnet8:wider.safetensors"))
    assert "conv1.weight" in said
    assert "(32, 3, 3, 3)" in said
    assert "(16, 3, 3, 3)" in said


def test_a_checkpoint_that_is_not_there(refuse: Callable[..., str], photos: Path) -> None:
    assert "'none.pth'" in refuse(*distil(photos, "cifar_resnet8:none.pth"))


class Harmful:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return (Path("harm").write_text, ("done",))


def test_a_pickle_that_is_not_plain_tensors(refuse: Callable[..., str], photos: Path) -> None:
    torch.save({"model": Harmful()}, "harmful.pth")
    said = refuse(*distil(photos, "cifar_resnet8:harmful.pth"))
    assert "harmful.pth' is refused: it holds Python objects beside plain tensors" in said
    assert not Path("harm").exists()


def test_maps_that_do_not_exist(refuse: Callable[..., str], photos: Path, teacher_run: Path) -> None:
    said = refuse(*distil(photos, teacher_run, "--set", "student.map_modules=[layer9]"))
    assert "has no module 'layer9'. Did you mean 'layer3'?" in said


def test_a_module_whose_output_is_no_map(refuse: Callable[..., str], photos: Path, teacher_run: Path) -> None:
    said = refuse(*distil(photos, teacher_run, "--set", "student.map_modules=[fc]"))
    assert "Module 'fc' gives (1, 3), which is no feature map." in said


# Places


def test_an_existing_run_folder_is_left_alone_unless_overwritten(
    refuse_data: Callable[..., str], cli: Cli, photos: Path, teacher_run: Path
) -> None:
    shutil.copytree(teacher_run, "run")
    said = refuse_data(photos)
    assert "There is a run in 'run' already" in said
    assert "dropkd resume run" in said
    assert "--overwrite" in said
    code, _, err = cli("train", photos, "--model", "cifar_resnet8", *BRIEF, "--output", "run", "--overwrite")
    assert code == 0, err
    assert "epochs: 1\n" in Path("run/config.yaml").read_text()


def test_a_folder_that_is_no_run_is_never_overwritten(refuse_data: Callable[..., str], photos: Path) -> None:
    Path("run").mkdir()
    Path("run/thesis.tex").write_text("years of work")
    refuse_data(photos, "--overwrite")
    assert Path("run/thesis.tex").read_text() == "years of work"


def test_a_file_in_place_of_the_run_folder(refuse_data: Callable[..., str], photos: Path) -> None:
    Path("run").write_text("")
    assert "'run'" in refuse_data(photos)


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.ENOSPC, "no space is left on the disk"), (errno.EROFS, "the file system is read-only")],
)
def test_a_disk_that_can_not_be_written(
    number: int, reason: str, refuse_data: Callable[..., str], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, "disk")

    monkeypatch.setattr("dropkd.files.tempfile.mkstemp", fail)
    assert reason in refuse_data(photos)


def test_cuda_where_there_is_none(
    refuse_data: Callable[..., str], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    said = refuse_data(photos, "--device", "cuda")
    assert "--device cuda was asked for" in said
    assert "--device cpu" in said


def test_no_run_where_one_is_named(refuse: Callable[..., str], photos: Path) -> None:
    for verb in ("resume", "evaluate", "report"):
        assert "'nowhere'" in refuse(verb, "nowhere")
        assert "'photos'" in refuse(verb, photos)
    assert "'nowhere'" in refuse("predict", "nowhere", photos)


# During training


def test_a_loss_that_is_not_finite_names_term_and_step_and_keeps_the_checkpoint(cli: Cli, photos: Path) -> None:
    code, _, said = cli(
        "train", photos, "--model", "cifar_resnet8", "--epochs", 3, "--lr", 1e30, "--output", "run",
        "--set", "training.optimizer=sgd", "--set", "training.warmup_epochs=0",
    )  # fmt: skip
    assert code == 2
    assert re.match(r"error: The term 'cross_entropy' was not finite \(NaN or infinity\) at step \d+", said)
    state = torch.load("run/last.ckpt", weights_only=True)
    assert all(t.isfinite().all() for t in torch.utils._pytree.tree_leaves(state) if isinstance(t, torch.Tensor))


def test_prediction_of_what_is_no_image(refuse: Callable[..., str], teacher_run: Path) -> None:
    assert "'none.png'" in refuse("predict", teacher_run, "none.png")
    assert "must end in one of" in refuse("predict", teacher_run, "photos", "--output", "answers.txt")
    Path("text.png").write_text("text")
    assert "text.png" in refuse("predict", teacher_run, "text.png")


def test_evaluation_on_other_classes(refuse: Callable[..., str], photos: Path, teacher_run: Path) -> None:
    for split in ("train", "test"):
        (photos / split / "sandal").rename(photos / split / "scandal")
    said = refuse("evaluate", teacher_run, photos)
    assert "scandal" in said
