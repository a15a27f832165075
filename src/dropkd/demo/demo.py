"""The demo: the main job on bundled images; the same student three times with the same budget.

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
# A budget of a minute or so for each run. Temperature and weight of KD are those that did best on validation images
# in benchmarks/dropkd_ablation.py; DropKD runs with its defaults, which come from there too.
_BUDGET = ("--batch-size", "64", "--lr", "0.005")
_TUNED = ("--set", "method.temperature=1", "--set", "method.weights.logit=4")
_IMAGES, _PAGE = "images", "report.html"


@dataclass(frozen=True)
class DemoPlan:
    """What the demo does and where.

    Args:
        folder: holds all that the demo writes.
        images: the image folder that the bundled images are unpacked to.
        teacher: the teacher's weights.
        commands: what follows ``dropkd`` in each command, in their order.
        runs: the run folders that are compared: the student alone, by KD, by DropKD.
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
    images, teacher, page = folder / _IMAGES, folder / TEACHER_FILE.name, folder / _PAGE
    kd, dropkd = folder / "kd", folder / "dropkd"

    def distil(method: str, run: Path, *more: str) -> tuple[str, ...]:
        networks = ("--teacher", f"{TEACHER}:{teacher}", "--student", STUDENT, "--method", method, *more)
        budget = ("--epochs", str(epochs), *_BUDGET, "--seed", str(seed), "--output", str(run))
        return ("distill", str(images), *networks, *budget, *(("--overwrite",) if run.exists() else ()))

    # --baseline trains the same student alone, with the same budget, in the run folder's baseline/.
    runs = (kd / "baseline", kd, dropkd)
    commands = (
        distil("kd", kd, *_TUNED, "--baseline"),
        distil("dropkd", dropkd),
        ("explain", str(dropkd)),
        ("report", *map(str, runs), "--output", str(page)),
    )
    return DemoPlan(folder, images, teacher, commands, runs, page)


def lay_out_demo(plan: DemoPlan) -> None:
    """Unpack the bundled images and the bundled teacher to where the commands expect them.

    Raises:
        RunError: the folder holds something that is not the demo's, or can't be written.
    """
    if plan.folder.is_dir():
        # A name with a leading dot may be a half-written file of a demo that was killed.
        names = {path.name for path in plan.folder.iterdir() if not path.name.startswith(".")}
        foreign = sorted(names - {_IMAGES, TEACHER_FILE.name, _PAGE, "kd", "dropkd"})
        if foreign:
            raise RunError(
                f"{str(plan.folder)!r} holds something that is not the demo's ({foreign[0]!r}). "
                "Choose another folder with --output."
            )
    writable_folder(plan.folder)
    unpack_demo_images(plan.images)
    with replacing(plan.teacher) as partial:
        shutil.copyfile(TEACHER_FILE, partial)
