"""The parts of an int8 export, on graphs small enough to work out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dropkd.errors import ConfigError
from dropkd.export.quantizing import find_ranges, quantize_model, simplify_file
from dropkd.export.quantizing_graph import choose_layers, list_layers
from dropkd.export.quantizing_judging import find_noisy_layers, judge_both


def write_graph(path: Path, outlier: float = 0.0) -> Path:
    """Write conv, ReLU, conv, mean over positions; an outlier in each channel of the second makes it hard to round."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    second = rng.normal(size=(5, 4, 1, 1)).astype(np.float32)
    second[:, 0] += outlier
    nodes = [
        helper.make_node("Conv", ["images", "model.a.weight"], ["x"], "conv_a", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["x"], ["y"], "relu"),
        helper.make_node("Conv", ["y", "model.b.0.weight"], ["z"], "conv_b"),
        helper.make_node("GlobalAveragePool", ["z"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["logits"], "flatten"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(first, "model.a.weight"), numpy_helper.from_array(second, "model.b.0.weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def answer(model: Any, output: str = "logits") -> Any:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda inputs: session.run([output], {"images": inputs})[0]


@pytest.fixture(scope="module")
def images() -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(12, 3, 8, 8)).astype(np.float32)


def test_layers_are_named_as_the_modules_and_end_after_their_relu(tmp_path: Path) -> None:
    first, second = list_layers(onnx.load(write_graph(tmp_path / "a.onnx")))
    assert (first.name, first.node, first.input, first.output) == ("a", "conv_a", "images", "y")
    assert (second.name, second.node, second.input, second.output) == ("b.0", "conv_b", "y", "z")


def test_layers_are_chosen_by_their_own_name_or_that_of_what_is_around_them(tmp_path: Path) -> None:
    layers = list_layers(onnx.load(write_graph(tmp_path / "a.onnx")))
    assert [layer.name for layer in choose_layers(layers, ["b"])] == ["b.0"]
    assert [layer.name for layer in choose_layers(layers, ["*", "a"])] == ["a", "b.0"]
    with pytest.raises(ConfigError, match=r"'b\.1' names no layer. Did you mean 'b\.0'\?"):
        choose_layers(layers, ["b.1"])


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_ranges_hold_what_was_seen_whatever_the_batches(
    tmp_path: Path, images: NDArray[np.float32], method: str
) -> None:
    simple = tmp_path / "simple.onnx"
    simplify_file(write_graph(tmp_path / "a.onnx"), simple)
    ranges = find_ranges(simple, [images[:7], images[7:]], method)
    low, high = ranges["images"]
    assert images.min() - 1e-5 <= low < 0 < high <= images.max() + 1e-5
    assert ranges["y"][0] >= 0
    if method == "minmax":
        assert ranges == find_ranges(simple, [images], "minmax")
        assert ranges["images"] == pytest.approx((images.min(), images.max()))


def test_rounding_is_that_of_the_formula(tmp_path: Path, images: NDArray[np.float32]) -> None:
    source = write_graph(tmp_path / "a.onnx")
    model = simplify_file(source, tmp_path / "simple.onnx")
    ranges = find_ranges(tmp_path / "simple.onnx", [images], "minmax")
    made = quantize_model(model, ranges, layers=list_layers(model)[:1])
    weight = numpy_helper.to_array(onnx.load(source).graph.initializer[0])
    scale = np.abs(weight.reshape(4, -1)).max(1) / 127
    rounded = onnx.load(source)
    kept = np.clip(np.rint(weight / scale[:, None, None, None]), -127, 127) * scale[:, None, None, None]
    rounded.graph.initializer[0].CopyFrom(numpy_helper.from_array(kept.astype(np.float32), "model.a.weight"))
    rounded.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))

    def fake(values: NDArray[np.float32], ends: tuple[float, float]) -> NDArray[np.float32]:
        low, high = min(0.0, ends[0]), max(0.0, ends[1])
        step = (high - low) / 255
        zero = np.rint(-low / step)
        return ((np.clip(np.rint(values / step) + zero, 0, 255) - zero) * step).astype(np.float32)

    activations = fake(answer(rounded, "y")(fake(images, ranges["images"])), ranges["y"])
    second = numpy_helper.to_array(onnx.load(source).graph.initializer[1])[:, :, 0, 0]
    expected = np.einsum("bchw,kc->bk", activations, second) / 64
    np.testing.assert_allclose(answer(made)(images), expected, atol=0.02)


def test_inputs_and_results_of_convolutions_are_rounded_and_nothing_else(tmp_path: Path) -> None:
    model = simplify_file(write_graph(tmp_path / "a.onnx"), tmp_path / "simple.onnx")
    made = quantize_model(model, dict.fromkeys(("images", "x", "y", "z"), (-3.0, 3.0)))
    nodes = [node for node in made.graph.node if node.op_type == "QuantizeLinear"]
    assert sorted(node.input[0] for node in nodes) == ["images", "y", "z"]
    assert "Relu" not in {node.op_type for node in made.graph.node}


@settings(max_examples=15, deadline=None)
@given(bits=st.integers(4, 8), seed=st.integers(0, 1000))
def test_weights_lie_within_their_bits_and_half_a_step_off(tmp_path_factory: Any, bits: int, seed: int) -> None:
    folder = tmp_path_factory.mktemp("bits")
    source = write_graph(folder / "a.onnx", outlier=seed / 100)
    model = simplify_file(source, folder / "simple.onnx")
    ranges = dict.fromkeys(("images", "x", "y", "z"), (-3.0, 3.0))
    held = {
        entry.name: numpy_helper.to_array(entry)
        for entry in quantize_model(model, ranges, weight_bits=bits).graph.initializer
    }
    for name in ("model.a.weight", "model.b.0.weight"):
        weight = next(numpy_helper.to_array(e) for e in onnx.load(source).graph.initializer if e.name == name)
        whole, scale = held[f"{name}_quantized"].astype(np.float64), held[f"{name}_scale"].reshape(-1, 1, 1, 1)
        assert np.abs(whole).max() <= 2 ** (bits - 1) - 1
        assert (np.abs(whole * scale - weight) <= 0.5001 * scale).all()


def test_the_layer_that_is_hard_to_round_is_named_first(tmp_path: Path, images: NDArray[np.float32]) -> None:
    model = simplify_file(write_graph(tmp_path / "a.onnx", outlier=400.0), tmp_path / "simple.onnx")
    ranges = find_ranges(tmp_path / "simple.onnx", [images], "minmax")
    noisy = find_noisy_layers(model, {**ranges, "images": (-100.0, 100.0)}, images, answer)
    assert [entry.layer for entry in noisy] == ["a", "b.0"]
    assert noisy[0].noise > 10 * noisy[1].noise > 0


def test_both_models_are_counted_on_the_same_images() -> None:
    target = np.array([0, 1, 2, 1])
    first, second = np.eye(3)[[0, 1, 2, 0]], np.eye(3)[[0, 1, 1, 2]]
    rows = iter([(first[:2], second[:2]), (first[2:], second[2:])])
    state: dict[str, Any] = {}

    def before(inputs: NDArray[Any]) -> NDArray[Any]:
        state["pair"] = next(rows)
        return state["pair"][0]

    loss = judge_both("val", [(target[:2], target[:2]), (target[2:], target[2:])], before, lambda _: state["pair"][1])
    assert (loss.images, loss.before, loss.after, loss.same, loss.drop) == (4, 0.75, 0.5, 0.5, 25.0)
    assert (loss.paired.gained, loss.paired.lost) == (0, 1)
