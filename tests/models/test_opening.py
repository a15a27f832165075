from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from dropkd.errors import ModelError
from dropkd.models import build_network, create_model, open_network, open_teacher, save_network


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    network = build_network("cct_2_3x2", num_classes=3, image_size=28, classes=["a", "b", "c"])
    save_network(network, folder / "student.safetensors")
    return folder


def test_run_folder_gives_its_student(run: Path) -> None:
    for source in (run, str(run), run / "student.safetensors"):
        teacher = open_teacher(source)
        assert teacher.spec.name == "cct_2_3x2"
        assert teacher.spec.image_size == (28, 28)
        assert teacher.spec.classes == ("a", "b", "c")
        assert not teacher.training


def test_name_and_checkpoint_take_the_number_of_classes_from_the_file(tmp_path: Path) -> None:
    model = create_model("deit_tiny_distilled_patch16_224", num_classes=4)
    torch.save({"model": model.state_dict()}, tmp_path / "deit.pth")
    teacher = open_teacher(f"deit_tiny_distilled_patch16_224:{tmp_path / 'deit.pth'}", num_classes=9)
    assert teacher.shapes.logits == 4
    assert torch.equal(teacher.model.head_dist.weight, model.head_dist.weight)
    # A file without dropkd's description is taken to want its library's own crop.
    assert teacher.spec.crop_fraction == 0.9


def test_name_and_checkpoint_take_the_options_from_the_file(tmp_path: Path) -> None:
    network = build_network("vit_tiny_patch16_224", num_classes=3, image_size=16, options={"patch_size": 4, "depth": 1})
    save_network(network, tmp_path / "teacher.safetensors")
    teacher = open_teacher(f"vit_tiny_patch16_224:{tmp_path / 'teacher.safetensors'}")
    assert teacher.spec == network.spec


def test_archive_of_cifar_teachers_is_opened_with_its_normalisation(tmp_path: Path) -> None:
    torch.save({"model": create_model("cifar_resnet8x4", num_classes=100).state_dict()}, tmp_path / "resnet8x4.pth")
    teacher = open_teacher(f"cifar_resnet8x4:{tmp_path / 'resnet8x4.pth'}")
    assert teacher.spec.mean == (0.5071, 0.4867, 0.4408)
    assert teacher.spec.image_size == (32, 32)
    assert teacher.shapes.logits == 100


def test_network_and_module_are_taken_as_they_are() -> None:
    network = build_network("cifar_resnet8", num_classes=3)
    assert open_teacher(network) is network
    assert not network.training
    module = create_model("cifar_resnet8", num_classes=3)
    teacher = open_teacher(module, image_size=32)
    assert teacher.model is module
    assert not module.training
    with pytest.raises(ModelError, match="CifarResNet needs image_size"):
        open_teacher(module)


def test_folder_without_a_student_is_told(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "cats").mkdir()
    with pytest.raises(
        ModelError, match=r"is no run with a trained network: it has no student.safetensors.*holds: cats"
    ):
        open_teacher(tmp_path / "images")


def test_what_is_neither_a_model_nor_on_disk_is_told() -> None:
    with pytest.raises(ModelError, match=r"Unknown model 'runs/teachr'\..*Nor is there a run folder or a file"):
        open_teacher("runs/teachr")
    with pytest.raises(ModelError, match=r"Unknown model 'resnt18'\. Did you mean 'resnet18'\?"):
        open_teacher("resnt18")
    with pytest.raises(ModelError, match=r"no file of weights 'none.pth'"):
        open_teacher("resnet18:none.pth")


def test_file_without_a_description_asks_for_the_name(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(create_model("cifar_resnet8", num_classes=3).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"does not say which model it belongs to.*'NAME:.*w.safetensors'"):
        open_network(tmp_path / "w.safetensors")
    torch.save(create_model("cifar_resnet8", num_classes=3).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"does not say which model it belongs to.*'NAME:.*w.pth'"):
        open_teacher(tmp_path / "w.pth")


def test_each_teacher_keeps_its_own_size_whatever_the_student_is_fed(run: Path) -> None:
    assert open_teacher(run, image_size=64).spec.image_size == (28, 28)


def test_module_that_timm_built_says_itself_what_it_is_fed() -> None:
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, num_classes=3)
    teacher = open_teacher(model, image_size=64)
    assert teacher.spec.image_size == (32, 32)
    assert (teacher.spec.mean, teacher.spec.interpolation) == ((0.5, 0.5, 0.5), "bicubic")
    assert teacher.spec.crop_fraction == 0.9
    assert open_teacher(timm.create_model("mobilenetv3_small_050"), image_size=64).spec.image_size == (224, 224)
