"""TorchScript and ONNX files and functions: teachers of which nothing but logits is known."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from dropkd.errors import ModelError
from dropkd.models import build_network, create_model, map_labels, open_teacher, wrap_callable
from dropkd.models.checkpoint import read_tensors
from dropkd.models.teachers.logits_only import CalledTeacher, as_module, is_torchscript

MEAN, STD = np.array((0.485, 0.456, 0.406)), np.array((0.229, 0.224, 0.225))
WEIGHT = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def expect_logits(images: Tensor) -> NDArray[np.float64]:
    """Return the mean colour, normalised as for ImageNet, times the weight."""
    return ((images.double().mean((2, 3)).numpy() - MEAN) / STD) @ WEIGHT.astype(np.float64).T


def write_torchscript(model: nn.Module, path: Path, size: int = 8) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(model.eval(), torch.rand(1, 3, size, size)).save(str(path))
    return path


def write_onnx(
    path: Path,
    shape: tuple[int | str, ...] = ("batch", 3, 8, 8),
    kind: int = TensorProto.FLOAT,
    inputs: int = 1,
) -> Path:
    """Write a network that multiplies the mean colour by the weight."""
    channels = shape[1] if isinstance(shape[1], int) else 3
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    nodes = [
        helper.make_node("GlobalAveragePool", ["in0"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info(f"in{number}", kind, shape) for number in range(inputs)],
        [helper.make_tensor_value_info("logits", kind, (shape[0], 4))],
        [numpy_helper.from_array(np.resize(WEIGHT, (4, channels)).astype(dtype), "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


# TorchScript


def test_a_torchscript_file_answers_as_the_model_that_it_was_made_of(tmp_path: Path, images: Tensor) -> None:
    model = create_model("cifar_resnet8", num_classes=4)
    path = write_torchscript(model, tmp_path / "scripted.pt")
    teacher = open_teacher(path, image_size=32, checkpoint_size=8)
    mean, std = (torch.tensor(values).float()[:, None, None] for values in (MEAN, STD))
    torch.testing.assert_close(teacher.logits(images), model((images - mean) / std))
    assert teacher.spec.image_size == (8, 8)
    assert teacher.shapes == teacher(images).shapes
    assert (teacher.shapes.maps, teacher.shapes.embedding, teacher.norms) == ((), 0, ())
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())


def test_a_torchscript_file_is_fed_the_students_size_where_nothing_is_said(tmp_path: Path) -> None:
    path = write_torchscript(create_model("cifar_resnet8", num_classes=4), tmp_path / "scripted.pt")
    assert open_teacher(str(path), image_size=24).spec.image_size == (24, 24)
    with pytest.raises(ModelError, match="does not say what size of images it is fed"):
        open_teacher(path)


def test_a_loaded_script_is_taken_as_well(tmp_path: Path, images: Tensor) -> None:
    path = write_torchscript(create_model("cifar_resnet8", num_classes=4), tmp_path / "scripted.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.load(path)
    assert torch.equal(
        open_teacher(script, image_size=8).logits(images), open_teacher(path, image_size=8).logits(images)
    )


def test_weights_and_programs_are_told_apart(tmp_path: Path) -> None:
    model = create_model("cifar_resnet8", num_classes=4)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    path = write_torchscript(model, tmp_path / "scripted.pt")
    assert is_torchscript(path)
    assert not is_torchscript(tmp_path / "weights.pt")
    assert not is_torchscript(tmp_path)
    with pytest.raises(ModelError, match=r"is a TorchScript archive, which is a program.*to learn from its logits"):
        read_tensors(path)


def test_a_damaged_torchscript_file_is_told(tmp_path: Path) -> None:
    path = write_torchscript(create_model("cifar_resnet8", num_classes=4), tmp_path / "scripted.pt")
    content = path.read_bytes()
    # The list of the archive's parts stands at its end; what is spoilt are the weights' description and the code.
    path.write_bytes(content.replace(b"PK\x03\x04", b"XX\x03\x04"))
    with pytest.raises(ModelError, match="is damaged or no TorchScript"):
        open_teacher(path, image_size=8)


# ONNX


@pytest.mark.parametrize("shape", [("batch", 3, 8, 8), (2, 3, 8, 8), (1, 3, "height", "width"), ("b", "c", "h", "w")])
def test_an_onnx_file_answers_whatever_batch_it_was_written_for(
    tmp_path: Path, images: Tensor, shape: tuple[int | str, ...]
) -> None:
    teacher = open_teacher(write_onnx(tmp_path / "colours.onnx", shape), image_size=8)
    logits = teacher.logits(images)
    np.testing.assert_allclose(logits.numpy(), expect_logits(images), rtol=1e-4, atol=1e-5)
    assert teacher.shapes == teacher(images).shapes
    assert teacher.logits(images[:1]).shape == (1, 4)


def test_an_onnx_file_of_half_precision_answers_in_single(tmp_path: Path, images: Tensor) -> None:
    teacher = open_teacher(write_onnx(tmp_path / "half.onnx", kind=TensorProto.FLOAT16))
    logits = teacher.logits(images)
    assert logits.dtype == torch.float32
    np.testing.assert_allclose(logits.numpy(), expect_logits(images), atol=0.02)


def test_the_size_in_an_onnx_file_counts_and_others_are_asked_for(tmp_path: Path) -> None:
    fixed, free = write_onnx(tmp_path / "fixed.onnx"), write_onnx(tmp_path / "free.onnx", ("b", 3, "h", "w"))
    assert open_teacher(fixed, image_size=32).spec.image_size == (8, 8)
    assert open_teacher(free, image_size=32).spec.image_size == (32, 32)
    assert open_teacher(free, image_size=32, checkpoint_size=16).spec.image_size == (16, 16)
    with pytest.raises(ModelError, match=r"takes images of any size: say by teacher\.image_size"):
        open_teacher(free)


@pytest.mark.parametrize(("shape", "inputs"), [(("b", 8, 8, 3), 1), (("b", 3, 8), 1), (("b", 3, 8, 8), 2)])
def test_an_onnx_file_that_takes_no_images_is_told(tmp_path: Path, shape: tuple[int | str, ...], inputs: int) -> None:
    path = write_onnx(tmp_path / "other.onnx", shape, inputs=inputs)
    with pytest.raises(ModelError, match=r"must take images as its one input.*\(B, 3, H, W\), got in0 tensor\(float\)"):
        open_teacher(path, image_size=8)


def test_a_damaged_onnx_file_and_a_missing_package_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "no.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match="is damaged or no ONNX file"):
        open_teacher(tmp_path / "no.onnx", image_size=8)
    path = write_onnx(tmp_path / "colours.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"needs onnxruntime, which is not installed: pip install 'dropkd\[onnx\]'"):
        open_teacher(path)


# Functions


def colours(images: Tensor) -> Tensor:
    return images.mean((2, 3))


def test_a_function_sees_colours_as_they_are(images: Tensor) -> None:
    teacher = open_teacher(colours, image_size=8)
    assert torch.equal(teacher.logits(images), images.mean((2, 3)))
    assert (teacher.spec.name, teacher.spec.num_classes) == ("colours", 3)
    bytes_ = (images * 255).round().to(torch.uint8)
    torch.testing.assert_close(teacher.logits(bytes_), images.mean((2, 3)), atol=2e-3, rtol=0)


def test_a_function_may_want_another_size_and_normalisation(images: Tensor) -> None:
    teacher = wrap_callable(
        lambda x: x[:, :, 0, 0], image_size=(4, 6), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), name="corner",
        classes=("r", "g", "b"), crop_fraction=0.5,
    )  # fmt: skip
    grey = torch.full((2, 3, 8, 8), 0.75)
    torch.testing.assert_close(teacher.logits(grey), torch.full((2, 3), 0.5))
    assert teacher.spec.image_size == (4, 6)
    assert teacher.spec.classes == ("r", "g", "b")
    inside = torch.nn.functional.pad(grey[..., :4, :4], (2, 2, 2, 2))
    torch.testing.assert_close(teacher.logits(inside), torch.full((2, 3), 0.5))
    assert not torch.equal(teacher(inside, crop=False).logits, teacher.logits(inside))


def test_arrays_are_logits_too(images: Tensor) -> None:
    teacher = wrap_callable(lambda x: x.numpy().mean((2, 3)), image_size=8)
    torch.testing.assert_close(teacher.logits(images), images.mean((2, 3)))


def test_a_function_of_other_classes_is_mapped(images: Tensor) -> None:
    mapped = map_labels(wrap_callable(colours, image_size=8), {0: "warm", 1: "cold", 2: "cold"}, ("cold", "warm"))
    assert mapped.shapes == mapped(images).shapes
    torch.testing.assert_close(mapped.logits(images)[:, 1], images.mean((2, 3))[:, 0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: x, r"'fn' is no teacher: The model must answer with logits of shape \(B, K\), got \(2, 3, 8, 8\)"),
        (lambda x: x[:1].mean((2, 3)), r"'fn' is no teacher: it gives 1 rows of logits for 2 images"),
        (lambda x: 1 // 0, r"'fn' can't take images of shape \(2, 3, 8, 8\) \(ZeroDivisionError"),
    ],
)
def test_a_function_that_is_no_teacher_is_told(call: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        wrap_callable(call, image_size=8, name="fn")  # type: ignore[arg-type]


def test_wrong_numbers_of_classes_and_missing_sizes_are_told() -> None:
    with pytest.raises(ModelError, match="'colours' gives 3 logits, not 7"):
        wrap_callable(colours, image_size=8, num_classes=7)
    with pytest.raises(ModelError, match="colours needs image_size"):
        open_teacher(colours)
    with pytest.raises(ModelError, match="colours needs image_size"):
        open_teacher(CalledTeacher(colours))


def test_names_modules_and_functions_are_told_apart() -> None:
    network = build_network("cifar_resnet8", num_classes=3)
    assert as_module(network) is network
    assert as_module("resnet18") is None
    assert as_module(Path("run")) is None
    assert isinstance(as_module(colours), CalledTeacher)
