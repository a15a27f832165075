"""What works without torch and other libraries that an extra brings, and what is said where one is needed."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import dropkd
from dropkd.errors import MissingLibraryError
from dropkd.extras import EXTRA_OF, explain_missing

PYPROJECT = Path(dropkd.__file__).parents[2] / "pyproject.toml"

Without = Callable[..., subprocess.CompletedProcess[str]]

NEED_TORCH = [
    "distill photos --teacher a --student b",
    "train photos",
    "resume run",
    "demo",
    "cache list",
    "evaluate run",
    "predict run photo.jpg",
    "cka run",
    "explain run",
    "export run",
    "data check photos",
    "methods",
    "models",
]


def read_extras() -> tuple[list[Requirement], dict[str, list[Requirement]]]:
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return list(map(Requirement, project["dependencies"])), {
        extra: [Requirement(text) for text in extras[extra]] for extra in extras
    }


def test_each_library_that_is_left_out_is_said_to_come_from_the_extra_that_names_it() -> None:
    base, extras = read_extras()
    distributions = packages_distributions()
    for module, extra in EXTRA_OF.items():
        names = {canonicalize_name(name) for name in distributions[module]}
        assert names & {canonicalize_name(requirement.name) for requirement in extras[extra]}, module
        assert not names & {canonicalize_name(requirement.name) for requirement in base}, module
    named = {canonicalize_name(name) for module in EXTRA_OF for name in distributions[module]}
    unnamed = {canonicalize_name(r.name) for extra in ("train", "inference", "report") for r in extras[extra]} - named
    assert unnamed == {"dropkd"}


def test_an_installation_for_inference_holds_neither_torch_nor_pyarrow() -> None:
    base, extras = read_extras()
    names = {requirement.name for requirement in [*base, *extras["inference"]]}
    assert "onnxruntime" in names
    assert not names & {"torch", "torchvision", "timm", "pyarrow", "dropkd"}


def test_a_verb_that_needs_torch_says_in_one_line_how_to_install_it(without: Without, tmp_path: Path) -> None:
    code = """
import os, shlex
from dropkd.cli import run_command_line
os.chdir(sys.argv[1])
print([run_command_line(shlex.split(command)) for command in sys.argv[2:]])
"""
    missing = [module for module, extra in EXTRA_OF.items() if extra != "inference"]
    done = without(missing, str(tmp_path), *NEED_TORCH, code=code)
    assert done.stdout == f"{[2] * len(NEED_TORCH)}\n"
    line = (
        "error: Networks, training and everything that opens a student's weights need torch, which is not installed: "
        "pip install 'dropkd[train]'"
    )
    assert done.stderr.splitlines() == [line] * len(NEED_TORCH)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["report one", "compare one two"])
def test_reports_and_comparisons_need_pyarrow_alone(
    without: Without, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text('{"status": "finished"}')
        (tmp_path / name / "predictions.parquet").write_bytes(b"no table")
    torches = [module for module, extra in EXTRA_OF.items() if extra != "report"]
    done = without([*torches, "pyarrow"], *command.split())
    assert done.returncode == 2
    assert "need pyarrow, which is not installed: pip install 'dropkd[report]'" in done.stderr
    assert not (tmp_path / "one" / "report.html").exists()
    # With it they get as far as to the files, which are none here.
    done = without(torches, *command.split())
    assert "not installed" not in done.stderr
    assert (tmp_path / "one" / "report.html").exists() or "has no answers" in done.stderr


def test_help_works_without_any_extra(without: Without) -> None:
    done = without(EXTRA_OF, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert " predict " in done.stdout


def test_in_python_the_error_says_it_too_and_is_an_import_error(without: Without) -> None:
    code = (
        "import dropkd\ntry:\n    dropkd.distill\nexcept ImportError as error:\n    print(type(error).__name__, error)"
    )
    done = without(EXTRA_OF, code=code)
    assert done.stderr == ""
    assert done.stdout.startswith("MissingLibraryError Networks")
    assert "pip install 'dropkd[train]'" in done.stdout


def test_a_module_of_the_users_own_that_is_missing_is_not_taken_for_ours() -> None:
    assert explain_missing(ModuleNotFoundError("No module named 'my_model'", name="my_model")) is None
    assert explain_missing(ModuleNotFoundError("nameless")) is None
    error = explain_missing(ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"))
    assert isinstance(error, MissingLibraryError)
    assert error.name == "torch"
