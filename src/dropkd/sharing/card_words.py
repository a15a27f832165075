"""The sentences of a model card, each from what a run knows of itself."""

from __future__ import annotations

import re

from dropkd.config import Config
from dropkd.models.public_names import name_model, name_source
from dropkd.models.spec import ModelSpec
from dropkd.report.run_record import RunRecord
from dropkd.report.summary import SPLIT_NAMES
from dropkd.report.wording import duration, rough_percent
from dropkd.sharing.card_figures import write_figure
from dropkd.sharing.licence import Licence, Upstream
from dropkd.sharing.markdown import as_code, as_text

__all__ = [
    "describe_licence",
    "describe_making",
    "describe_plain",
    "describe_split",
    "describe_start",
    "describe_student",
    "describe_teacher",
    "describe_upstream",
    "describe_versions",
    "list_classes",
    "list_warnings",
]

# Classes that are listed by name; beyond, config.json has them.
_MOST_CLASSES = 100


def describe_student(run: RunRecord, split: str, data: str) -> str:
    """Return the first sentences: what it is, how good it is, and beside its teacher."""
    score, teacher = run.score(split) or 0.0, run.teacher_score(split)
    figure = run.headline_name if run.is_multi_label else "Accuracy"
    said = (
        f"An image classifier, trained with dropkd on {as_text(data)}. {figure} on the {SPLIT_NAMES[split]} images: "
        f"**{write_figure(run.headline, score)}**"
    )
    size, teacher_size = run.figure("student", "parameters"), run.figure("teacher", "parameters")
    if teacher and size and teacher_size:
        said += (
            f", {rough_percent(score / teacher)} of its teacher's with {rough_percent(size / teacher_size)} of its "
            "parameters"
        )
    return f"{said}."


def list_classes(spec: ModelSpec) -> str:
    """Return the names of the classes, the first of them where there are too many."""
    names = spec.classes or ()
    if not names:
        return f"{spec.num_classes:,}, which nobody named"
    shown = ", ".join(as_text(name) for name in names[:_MOST_CLASSES])
    return shown if len(names) <= _MOST_CLASSES else f"{shown} and {len(names) - _MOST_CLASSES:,} more (`config.json`)"


def describe_teacher(run: RunRecord) -> str:
    """Return what is told of the teacher; empty without one."""
    name, source = run.figure_text("teacher", "name"), run.setting("teacher", "source")
    if name is None and source is None:
        return ""
    named = name_source(str(source)) if source is not None else "TEACHER"
    said = as_text(name_model(name) if name is not None else named)
    if named not in ("TEACHER", name):
        said += f" ({as_code(named)})"
    size = run.figure("teacher", "parameters")
    return f"{said}, {size:,.0f} parameters" if size else said


def describe_start(config: Config, upstream: tuple[Upstream, ...]) -> str:
    """Return what the student started from."""
    start = next((weights for weights in upstream if weights.part == "student"), None)
    if start is not None:
        return f"published weights, {as_code(start.repository or start.name)}"
    if config.student.checkpoint is not None:
        return "weights of its owner's own"
    return "published weights" if config.student.pretrained else "random weights"


def describe_split(run: RunRecord, split: str) -> str:
    """Return which images the figures are of, and what picked the weights."""
    images = run.figure("splits", split, "images") or 0
    by, epoch = run.figure_text("selected", "by"), run.figure("selected", "epoch")
    said = f"On {images:,.0f} {SPLIT_NAMES[split]} images"
    if by and epoch is not None:
        picked = as_text(re.sub(r"^val ", "validation ", by))
        said += f"; the weights are those of epoch {epoch + 1:.0f}, picked by {picked}"
        said += ", and the test images had no part in that" if split == "test" and "test" not in by else ""
    return f"{said}."


def describe_plain(run: RunRecord, split: str) -> str:
    """Return how the same network did without a teacher, where the run trained it too; else nothing."""
    alone = run.baseline.score(split) if run.baseline is not None else None
    if alone is None:
        return ""
    return f"The same network trained without the teacher, with the same budget: {write_figure(run.headline, alone)}."


def describe_making(run: RunRecord, config: Config) -> str:
    """Return the budget."""
    epochs, steps = run.figure("epochs"), run.figure("steps")
    device = run.environment.get("device_name") if str(run.environment.get("device", "")) != "cpu" else "a CPU"
    time = duration(run.figure("seconds")).replace("\N{NO-BREAK SPACE}", " ")
    how = "distillation" if config.teacher is not None else "training on labels"
    return (
        f"By {how} (method {as_text(run.method)}): {epochs or 0:,.0f} epochs, {steps or 0:,.0f} steps of "
        f"{run.figure('global_batch') or 0:,.0f} images, seed {run.seed}, {time} on "
        f"{as_text(device or 'a machine that it does not tell')}."
    )


def describe_versions(run: RunRecord) -> str:
    """Return the versions of what made it."""
    named = [f"{name} {run.environment[name]}" for name in ("dropkd", "torch", "timm") if name in run.environment]
    return as_text(f"Versions: {', '.join(named)}.") if named else ""


def describe_licence(terms: Licence) -> str:
    """Return the licence, or that none is stated, and where that comes from."""
    if terms.name is None:
        return (
            "**Not stated.** Whoever published this model has named no licence, so nobody may count on being allowed "
            "to use it."
        )
    link = f" ({terms.link})" if terms.link else ""
    return f"**{as_text(terms.name)}**{as_text(link)}. {as_text(terms.reason)}"


def describe_upstream(weights: Upstream) -> str:
    """Return one line on published weights that had a part in it."""
    part = "Started from" if weights.part == "student" else "Learned from"
    stated = f"licence {as_text(weights.licence)}, as timm states it" if weights.licence else "licence not known here"
    return f"{part} the weights {as_code(weights.repository or weights.name)}: {stated}."


def list_warnings(terms: Licence, upstream: tuple[Upstream, ...]) -> tuple[str, ...]:
    """Return what the owner should see to before others get the model."""
    found = []
    if terms.name is None:
        found.append(
            "No licence is stated, so others may not use this model: give --licence, as in --licence apache-2.0."
        )
    allows_business = not (terms.name and "nc" in terms.name.lower().split("-"))
    found += [
        f"The weights {weights.repository or weights.name!r} ({weights.part}) are under {weights.licence}, which "
        "forbids commercial use. See whether the licence of this model may allow more."
        for weights in upstream
        if weights.forbids_business and allows_business
    ]
    return tuple(found)
