"""The demo: the main job on bundled images, three times with the same budget.

The steps are ordinary ``dropkd`` commands, so what the demo shows is what a user gets on other images.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from dropkd.demo.images import unpack_demo_images
from dropkd.errors import RunError
from dropkd.files import replacing, writable_folder

__all__ = ["DemoPlan", "lay_out_demo", "plan_demo"]

# The pair that the demo shows; the teacher is described in the model card beside its file.
STUDENT = "cifar_resnet8"
TEACHER = "cct_2_3x2"
TEACHER_FILE = Path(__file__).with_name("teacher.safetensors")
_IMAGES, _PAGE = "images", "report.html"
_METHODS = ("plain", "kd", "dropkd")


@dataclass(frozen=True)
class DemoPlan:
    """What the demo does and where.

    Args:
        folder: holds all that the demo writes.
        images: the image folder that the bundled images are unpacked to.
        teacher: the teacher's weights.
        commands: what follows ``dropkd`` in each command, in their order.
        runs: the run folder of each command.
        page: the page that compares the runs.
    """

    folder: Path
    images: Path
    teacher: Path
    commands: tuple[tuple[str, ...], ...]
    runs: tuple[Path, ...]
    page: Path


def plan_demo(folder: Path, *, epochs: int, seed: int) -> DemoPlan:
    """Return the demo's commands; nothing is written yet."""
    images, teacher = folder / _IMAGES, folder / TEACHER_FILE.name
    runs = tuple(folder / method for method in _METHODS)
    commands = []
    for method, run in zip(_METHODS, runs, strict=True):
        if method == "plain":
            verb = ["train", str(images), "--model", STUDENT]
        else:
            names = ["--teacher", f"{TEACHER}:{teacher}", "--student", STUDENT, "--method", method]
            verb = ["distill", str(images), *names]
        budget = ["--epochs", str(epochs), "--seed", str(seed), "--output", str(run)]
        commands.append((*verb, *budget, *(["--overwrite"] if run.exists() else [])))
    return DemoPlan(folder, images, teacher, tuple(commands), runs, folder / _PAGE)


def lay_out_demo(plan: DemoPlan) -> None:
    """Unpack the bundled images and the bundled teacher to where the commands expect them.

    Raises:
        RunError: the folder holds something that is not the demo's, or can't be written.
    """
    if plan.folder.is_dir():
        # A name with a leading dot may be a half-written file of a demo that was killed.
        names = {path.name for path in plan.folder.iterdir() if not path.name.startswith(".")}
        foreign = sorted(names - {_IMAGES, TEACHER_FILE.name, _PAGE, *_METHODS})
        if foreign:
            raise RunError(
                f"{str(plan.folder)!r} holds something that is not the demo's ({foreign[0]!r}). "
                "Choose another folder with --output."
            )
    writable_folder(plan.folder)
    unpack_demo_images(plan.images)
    with replacing(plan.teacher) as partial:
        shutil.copyfile(TEACHER_FILE, partial)
