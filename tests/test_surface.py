"""The public names, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import dropkd

HEAVY = ("torch", "torchvision", "timm", "pandas", "sklearn", "matplotlib", "pyarrow")

PUBLIC = {
    "Config",
    "Distiller",
    "DropKDError",
    "Int8",
    "Observer",
    "Run",
    "RunGroup",
    "check_data",
    "compare",
    "create_model",
    "data",
    "distill",
    "distill_many",
    "evaluate",
    "explain",
    "export_int8",
    "export_run",
    "functional",
    "load",
    "load_config",
    "load_weights",
    "measure_costs",
    "methods",
    "metrics",
    "models",
    "push_run",
    "resume",
    "resume_many",
    "train",
}


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_the_public_names_are_these() -> None:
    assert set(dropkd.__all__) == PUBLIC
    assert set(dir(dropkd)) >= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_each_public_name_can_be_imported(name: str) -> None:
    assert getattr(dropkd, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'dropkd' has no attribute 'distil'"):
        _ = dropkd.distil  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "code",
    [
        "import dropkd",
        "from dropkd import Config, DropKDError, Observer, load_config",
        "from dropkd.cli import run_command_line\nassert run_command_line(['--help']) == 0",
        "from dropkd.cli import run_command_line\nassert run_command_line(['distill', '--help']) == 0",
        "from dropkd.cli import run_command_line\nassert run_command_line(['--version']) == 0",
        "from dropkd.cli import run_command_line\nassert run_command_line(['distil']) == 2",
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code: str) -> None:
    assert not modules_after(code) & set(HEAVY)


@pytest.mark.parametrize("path", sorted(Path("src/dropkd").rglob("*.py")), ids=str)
def test_every_name_that_a_module_exports_exists(path: Path) -> None:
    name = ".".join(path.with_suffix("").parts[1:]).removesuffix(".__init__")
    if name.endswith("__main__"):
        return
    module = import_module(name)
    assert [export for export in getattr(module, "__all__", []) if not hasattr(module, export)] == []


def test_a_training_loads_no_library_that_only_lightning_asks_for() -> None:
    assert modules_after("import dropkd.api").isdisjoint(("torchmetrics", "scipy", "matplotlib", "transformers"))


def test_lightning_finds_torchmetrics_as_it_was() -> None:
    code = "\n".join(
        [
            "import dropkd.api",
            "from lightning_fabric.utilities.spike import SpikeDetection",
            "print(SpikeDetection())",
            "from torchmetrics import Metric",
            "import dropkd",
            "assert issubclass(dropkd.metrics.MinibatchCKA, Metric)",
        ]
    )
    assert "torchmetrics" in modules_after(code)


def test_a_measure_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'dropkd\.metrics' has no attribute 'Minibatch'"):
        _ = dropkd.metrics.Minibatch
