"""What is known of an exported student, as it stands in its metadata and in the JSON file beside it."""

from __future__ import annotations

from typing import Any

import dropkd
from dropkd.engine.plan import evaluation_frame
from dropkd.export.deployed import describe_input
from dropkd.models import ModelSpec
from dropkd.models.public_names import name_model
from dropkd.run import Run

__all__ = ["describe_student"]


def describe_student(run: Run, spec: ModelSpec, *, takes_pixels: bool, licence: str | None) -> dict[str, Any]:
    """Return, in plain JSON values, what whoever is handed the file wants to know; no place of this machine is named.

    Args:
        run: what trained it.
        spec: of the student.
        takes_pixels: it normalises the images itself.
        licence: in the user's words; None: that of the weights which the student started from, where timm states it.

    Raises:
        ConfigError: the licence is empty.
    """
    # Sharing writes exports too.
    from dropkd.sharing.licence import choose_licence, list_upstream

    metrics = run.metrics
    teacher = metrics.get("teacher")
    upstream = list_upstream(run.config, teacher)
    terms = choose_licence(licence, None, upstream)
    frame = evaluation_frame(spec.image_size, spec.crop_fraction)
    return {
        "model": name_model(spec.name),
        "classes": list(spec.classes or ()),
        "multi_label": spec.multi_label,
        "input": describe_input(spec, frame, takes_pixels=takes_pixels),
        "licence": terms.name or "not stated",
        "licence_reason": terms.reason,
        "weights": [{"part": one.part, "name": one.name, "licence": one.licence} for one in upstream],
        "method": run.config.method.name,
        # A teacher that is a file is called by its place, which is nobody else's business.
        "teacher": None if teacher is None else name_model(teacher["name"]),
        "metrics": {
            name: {key: value for key, value in scores.items() if isinstance(value, int | float)}
            for name, scores in metrics.get("splits", {}).items()
        },
        "made_with": f"dropkd {dropkd.__version__}",
    }
