"""Methods are found by name, in this package and in others, and are built from options that are checked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import dropkd.methods
from dropkd.contracts import Pair, Shapes
from dropkd.engine.distiller import Distiller
from dropkd.errors import ConfigError
from dropkd.methods import build_method, method_class, method_names, method_options
from dropkd.methods.dropkd import DropKD
from dropkd.methods.kd import KD
from dropkd.methods.plain import Plain
from dropkd.methods.registry import load_methods
from dropkd.testing import check_method

NETWORK = Shapes(5, ((4, 2, 2),), 4)
PAIR = Pair(NETWORK, NETWORK, 5)

TINY_METHOD = '''
from dropkd.methods.method import Method

class Echo(Method):
    """A method of another package.

    Args:
        pair: the shapes.
        loudness: how loud.
    """

    student_reads = frozenset({"logits"})
    terms = {"echo": 1.0}

    def __init__(self, pair, *, loudness: float = 2.0) -> None:
        super().__init__(pair)
        self.loudness = loudness

    def forward(self, student, teacher, batch):
        return {"echo": student.logits.square().mean()} if self.active else {}

class Placed(Echo):
    """A method whose constructor takes its options by place."""

    def __init__(self, pair, loudness=2.0):
        super().__init__(pair)
'''


# As pip leaves an installed package: its modules, and beside them what it announces.
FILES = {
    "tinymethods.py": TINY_METHOD,
    "angrymethods.py": "raise RuntimeError('no licence found')",
    "tinymethods-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tinymethods\nVersion: 1.0\n",
    "tinymethods-1.0.dist-info/entry_points.txt": """[dropkd.methods]
echo = tinymethods:Echo
kd = tinymethods:Echo
lost = tinymethods:Lost
other = pathlib:Path
angry = angrymethods:Angry
placed = tinymethods:Placed
""",
}
BROKEN = {
    "lost": r"method 'lost' is announced as 'tinymethods:Lost', but: .*Lost",
    "other": r"method 'other' leads to 'pathlib:Path', which is not a Method class\.",
    "angry": r"method 'angry' is announced as 'angrymethods:Angry', but: RuntimeError: no licence found\.",
    "placed": r"the options of method 'placed' \('tinymethods:Placed'\) can't be read: .*loudness must be a keyword",
}


@pytest.fixture
def tiny_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("tinymethods", "angrymethods"):
        sys.modules.pop(name, None)


def run_command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "dropkd", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_each_file_with_a_class_of_its_name_is_a_method() -> None:
    assert {"plain", "kd", "dropkd"} <= set(method_names())
    assert not {"method", "registry", "options", "projection"} & set(method_names())
    assert (method_class("plain"), method_class("kd"), method_class("dropkd")) == (Plain, KD, DropKD)


def test_names_are_in_alphabetical_order() -> None:
    assert method_names() == sorted(method_names())


def test_an_unknown_method_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"unknown method 'dropdk'\. Did you mean 'dropkd'\? Known methods: .*plain"):
        method_class("dropdk")


def test_files_without_a_method_are_no_methods() -> None:
    for name in ("method", "registry", "projection", "../kd"):
        with pytest.raises(ConfigError, match="unknown method"):
            method_class(name)


@pytest.mark.usefixtures("tiny_package")
def test_methods_of_other_packages_are_found_by_their_entry_points() -> None:
    assert "echo" in method_names()
    method = build_method("echo", PAIR, {"loudness": 3})
    assert (type(method).__name__, method.loudness) == ("Echo", 3.0)


@pytest.mark.usefixtures("tiny_package")
def test_a_name_of_this_package_means_this_package() -> None:
    assert method_class("kd") is KD


@pytest.mark.usefixtures("tiny_package")
def test_a_method_of_another_package_keeps_the_contract_and_trains_a_student_by_its_name() -> None:
    check_method(method_class("echo"))
    distiller = Distiller("cifar_resnet8", None, "echo", num_classes=5, image_size=32, options={"loudness": 1.5})
    losses = distiller(torch.rand(2, 3, 32, 32), torch.arange(2))
    losses.loss.backward()
    assert losses.raw["echo"] == losses.logits.square().mean()
    assert all(parameter.grad is not None for parameter in distiller.parameters())


@pytest.mark.usefixtures("tiny_package")
def test_methods_of_another_package_can_be_combined_with_others() -> None:
    assert dict(method_class("kd+echo").terms) == {"kd_logit": 1.0, "echo_echo": 1.0}


@pytest.mark.usefixtures("tiny_package")
@pytest.mark.parametrize("name", BROKEN)
def test_an_entry_point_that_leads_to_no_method_is_told(name: str) -> None:
    with pytest.raises(ConfigError, match=BROKEN[name]):
        method_class(name)


@pytest.mark.usefixtures("tiny_package")
def test_entry_points_that_lead_to_no_method_harm_no_other() -> None:
    found, problems = load_methods()
    assert {"echo", "kd", "dropkd"} <= set(found)
    assert not set(BROKEN) & set(found)
    assert len(problems) == len(BROKEN)
    with pytest.raises(ConfigError, match="It is an option of dropkd"):
        build_method("kd", PAIR, {"reconstruct_sides": "both"})


def test_the_command_line_lists_the_methods_of_another_package_and_tells_which_are_broken(tiny_package: Path) -> None:
    done = run_command(tiny_package, "methods")
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^│ (\w+)", done.stdout, re.MULTILINE)
    assert {"echo", "kd", "dropkd"} <= set(rows)
    assert not set(BROKEN) & set(rows)
    assert all(re.search(f"warning: {words}", done.stderr) for words in BROKEN.values())


def test_the_command_line_shows_the_options_of_another_packages_method(tiny_package: Path) -> None:
    done = run_command(tiny_package, "methods", "echo")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("echo: A method of another package.")
    assert re.search(r"method\.loudness +│ 2\.0 +│ a number +│ how loud", done.stdout)
    broken = run_command(tiny_package, "methods", "angry")
    assert (broken.returncode, broken.stderr.count("\n")) == (2, 1)
    assert re.search(BROKEN["angry"], broken.stderr)


def test_a_method_is_built_with_its_defaults() -> None:
    assert build_method("kd", PAIR).temperature == 4.0
    assert build_method("kd", PAIR, {"temperature": 2}).temperature == 2.0


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("kd", {"temprature": 3.0}, "unknown key 'method.temprature' of kd. Did you mean 'temperature'?"),
        ("plain", {"temperature": 3.0}, "unknown key 'method.temperature' of plain. It has no options."),
        ("kd", {"temperature": 0}, "method.temperature must be a number, greater than 0, got 0."),
        ("kd", {"temperature": "4"}, "method.temperature must be a number, greater than 0, got '4'."),
        ("kd", {"temperature": True}, "method.temperature must be a number, greater than 0, got True."),
        ("kd", {"temperature": float("nan")}, "method.temperature must be a number, greater than 0, got nan."),
        ("kd", {"temperature": None}, "method.temperature must be a number, greater than 0, got None."),
        ("dropkd", {"logit_rate_teacher": 1.0}, "method.logit_rate_teacher must be a number, at least 0, less than 1"),
        ("dropkd", {"feature_rate_student": -0.1}, "at least 0, less than 1, got -0.1."),
        ("dropkd", {"masks": "couple"}, "method.masks must be one of 'coupled', 'independent', got 'couple'."),
        ("dropkd", {"width": 1.5}, "method.width must be a whole number, at least 1, got 1.5."),
        ("dropkd", {"center_logits": "yes"}, "method.center_logits must be true or false, got 'yes'."),
        (
            "dropkd",
            {"stages": 0},
            "method.stages must be one of 'deepest', 'all' or a whole number, at least 1, got 0.",
        ),
        ("dropkd", {"num_masks": object}, "method.num_masks must be a whole number, at least 1, got <class 'object'>."),
    ],
)
def test_a_wrong_option_is_refused_in_words(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_method(name, PAIR, options)
    assert words in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        build_method("dropkd", PAIR, {"temprature": 3, "masks": "both", "width": 0})
    lines = str(caught.value).splitlines()
    assert [name for line in lines for name in ("temprature", "masks", "width") if f"method.{name}" in line] == [
        "temprature",
        "masks",
        "width",
    ]


def test_options_are_told_with_type_range_default_and_description() -> None:
    options = method_options(DropKD)
    assert list(options)[:4] == [
        "feature_rate_teacher",
        "feature_rate_student",
        "logit_rate_teacher",
        "logit_rate_student",
    ]
    temperature = options["temperature"]
    assert (temperature.default, temperature.constraint) == (2.0, "a number, greater than 0")
    assert temperature.description == "both networks' logits are divided by it."
    assert options["masks"].constraint == "one of 'coupled', 'independent'"
    assert all(option.description for option in options.values())
    assert method_options(Plain) == {}


def test_the_package_loads_no_torch_until_a_name_is_used() -> None:
    look = "print('torch' in sys.modules)"
    code = f"import sys, dropkd.methods; {look}; dropkd.methods.Method; {look}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Methods'"):
        _ = dropkd.methods.Methods
