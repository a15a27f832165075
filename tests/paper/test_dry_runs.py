"""Every recipe of the paper's tables, dry-run as its command on the page says, on data in the true layout.

What the machine demands is made small: faces of 64 pixels, small batches, random weights. The networks are the recipes'
own but for the two large teachers of faces, whose run folders hold small ones; the last test is of the true pair.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import build_paper_page as page
from dropkd import Distiller
from dropkd.config import load_config
from dropkd.data.raf_db import BASIC_EMOTIONS
from dropkd.models import build_network, save_network

Cli = Callable[..., tuple[int, str, str]]

RUNS = {entry.run: entry for entry in page.list_entries() if entry.source == entry.recipe}
# One forward pass of ViT-L/14 is all that a processor of ours wants to do.
LARGE = page.RECIPES / "table2" / "teacher.yaml"
TEACHERS = {"table2/teacher": "vit_tiny_patch16_224", "table4/resnet50": "resnet26"}


@pytest.fixture(scope="module")
def teachers(place: Path) -> None:
    """Write the run folders of the teachers, as far as a student reads them."""
    for pair in ("resnet56", "resnet110"):
        save(place / f"runs/paper/table1/{pair}-resnet20/teacher", f"cifar_{pair}", 100, 32)
    for name, small in TEACHERS.items():
        save(place / "runs/paper" / name, small, 7, 64)


def save(folder: Path, name: str, classes: int, size: int) -> None:
    folder.mkdir(parents=True)
    names = [f"thing_{k}" for k in range(100)] if classes == 100 else BASIC_EMOTIONS
    network = build_network(name, num_classes=classes, image_size=size, classes=names)
    save_network(network, folder / "student.safetensors")


@pytest.mark.parametrize(
    "entry",
    [pytest.param(entry, id=run.removeprefix("runs/paper/")) for run, entry in RUNS.items() if entry.source != LARGE],
)
@pytest.mark.usefixtures("teachers")
def test_a_recipe_runs_dry(entry: page.Entry, cli: Cli) -> None:
    program, verb, *arguments = page.command_of(entry).split()
    assert program == "dropkd"
    arguments[1] = str(page.ROOT / arguments[1])
    small = ["--no-pretrained", "--workers", 0, "--device", "cpu", "--set", "training.precision=32"]
    small += ["--batch-size", 8] if entry.table == "table1" else ["--batch-size", 4, "--image-size", 64]
    code, said, error = cli(verb, *arguments, *small, "--dry-run")
    assert code == 0, error
    assert f"name: {entry.config.student.name}" in said
    assert f"epochs: {entry.config.training.epochs}" in said
    assert f"name: {entry.config.method.name}" in said


@pytest.mark.slow
def test_the_true_pair_of_the_flagship_row_takes_a_step() -> None:
    recipe = load_config(page.RECIPES / "table4" / "mobilenetv2-dropkd.yaml")
    expert = build_network(load_config(LARGE).student.name, num_classes=7, classes=BASIC_EMOTIONS)
    student = build_network(recipe.student.name, num_classes=7, image_size=recipe.data.image_size)
    method = recipe.method
    distiller = Distiller(student, expert, method.name, options=method.options, weights=method.weights)
    assert (expert.spec.image_size, student.spec.image_size) == ((224, 224), (224, 224))
    losses = distiller(torch.rand(2, 3, 224, 224), torch.tensor([3, 6]))
    losses.loss.backward()
    assert set(losses.raw) == {"cross_entropy", *type(distiller.method).terms}
    assert all(loss.isfinite() for loss in losses.raw.values())
    assert student.model.conv_stem.weight.grad.abs().sum() > 0
