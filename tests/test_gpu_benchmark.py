"""The GPU benchmark runs on a CPU at reduced size, and none of its options changes what is learned."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    import gpu

    return gpu


def train(gpu: Any, options: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Return the weights after three steps."""
    device = torch.device("cpu")
    epochs = gpu.Epochs(24, 8, device)
    networks = (gpu.build_network(name, num_classes=100, image_size=32) for name in ("cifar_resnet8", "cifar_resnet20"))
    distiller = gpu.Distiller(*networks, "kd")
    distiller.load_state_dict(start(gpu))
    step = gpu.StaticStep(distiller, *next(epochs.draw(0)), options, compiler="aot_eager")
    for images, target in epochs.draw(0):
        step.step(images, target, 0.05)
    assert torch.isfinite(step.loss)
    return {name: value for name, value in distiller.state_dict().items() if value.is_floating_point()}


def start(gpu: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    student = gpu.build_network("cifar_resnet8", num_classes=100, image_size=32)
    return {f"student.{name}": value for name, value in student.state_dict().items()}


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [(("channels_last",), 1e-3), (("compile",), 1e-3), (("channels_last", "bf16"), 5e-2), (("graph",), 0.0)],
    ids=str,
)
def test_no_option_changes_what_is_learned(gpu: Any, options: tuple[str, ...], tolerance: float) -> None:
    torch.manual_seed(0)
    plain = train(gpu, ())
    torch.manual_seed(0)
    other = train(gpu, options)
    for name, value in plain.items():
        assert torch.allclose(value, other[name], rtol=tolerance, atol=tolerance), name
    assert any(not torch.equal(value, start(gpu)[name]) for name, value in plain.items())


def test_rates_fall_at_the_milestones_of_240_epochs(gpu: Any) -> None:
    rates = [gpu.rate_of(epoch, 240) for epoch in (0, 149, 150, 180, 210, 239)]
    assert rates == pytest.approx([0.05, 0.05, 0.005, 0.0005, 0.00005, 0.00005])


def test_an_epoch_shows_every_image_once_by_its_label(gpu: Any) -> None:
    epochs = gpu.Epochs(24, 8, torch.device("cpu"))
    batches = list(epochs.draw(0))
    assert [images.shape for images, _ in batches] == [(8, 3, 32, 32)] * 3
    labels = torch.cat([target for _, target in batches])
    assert sorted(labels.tolist()) == sorted(epochs.labels.tolist())
    assert labels.tolist() != torch.cat([target for _, target in epochs.draw(1)]).tolist()


def test_document_of_the_reduced_size() -> None:
    command = [sys.executable, str(FOLDER / "gpu.py"), "--quick", "--json", "--device", "cpu"]
    done = subprocess.run([*command, "--options", "channels_last,graph"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["gpu"] is None
    assert document["waits"] == "no GPU here to wait for"
    assert [row["options"] for row in document["options"]] == [[], ["channels_last"], ["channels_last", "graph"]]
    assert len(document["training"]["losses"]) == document["training"]["epochs"] == 2
    assert document["training"]["within_bound"] is None
    teacher = document["teacher"]
    assert teacher["operations_per_second"] == pytest.approx(2 * teacher["macs"] * teacher["images_per_second"])
    assert 0 < teacher["of_a_matrix_product"] < 1
    assert teacher["of_the_makers_peak"] is None


def test_a_cpu_is_told_what_this_is_for(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu"])
    with pytest.raises(SystemExit, match="2"):
        gpu.main()
    assert "--quick shows that the benchmark works" in capsys.readouterr().err


def test_an_unknown_option_is_told(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--options", "graphs"])
    with pytest.raises(SystemExit, match="2"):
        gpu.main()
    assert "unknown option 'graphs'; the options are channels_last, bf16, compile, graph" in capsys.readouterr().err
