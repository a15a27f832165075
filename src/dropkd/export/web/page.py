"""The page itself: what it says, and its rules on what may be loaded and run."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dropkd.export.web.samples import Sample
from dropkd.files import say_bytes
from dropkd.report.rendering import show_unprintable

__all__ = ["render_page"]

_TEMPLATES = Path(__file__).parent / "templates"
_FIGURES = {"accuracy": "accuracy", "map": "mean average precision"}


def render_page(facts: Mapping[str, Any], samples: Sequence[Sample], *, size: int) -> str:
    """Return the text of ``index.html``.

    Its Content-Security-Policy lets it run its own script and the two files beside it, and forbids every connection:
    an image that is dropped on it can't leave the machine.

    Args:
        facts: what is known of the model.
        samples: images to try.
        size: bytes of the model's file, told while it is loaded.
    """
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    # One script, so that the page's names are nobody else's.
    parts = [(_TEMPLATES / name).read_text(encoding="utf-8") for name in ("resize.js", "answering.js", "page.js")]
    script = "(() => {\n'use strict';\n" + "\n".join(parts) + "\n})();\n"
    policy = (
        f"default-src 'none'; script-src 'self' '{_digest(script)}' 'wasm-unsafe-eval'; style-src '{_digest(style)}'; "
        "img-src data: blob:; connect-src 'none'; base-uri 'none'; form-action 'none'"
    )
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    # These are the package's own files, and the hashes hold for the texts as they are.
    own = {"style": Markup(style), "script": Markup(script), "facts": Markup(_embed(facts))}  # noqa: S704
    page = environment.get_template("index.html.j2")
    text = page.render(
        **own, policy=policy, model=facts["model"], classes=len(facts["classes"]), several=facts["multi_label"],
        licence=facts["licence"], made_with=facts["made_with"], figures=_say_figures(facts), samples=samples,
        size=say_bytes(size),
    )  # fmt: skip
    return show_unprintable(text)


def _say_figures(facts: Mapping[str, Any]) -> list[str]:
    """Return what was measured, with the split named: ``accuracy 91.3 % on 2,000 test images``."""
    told = []
    for split, scores in facts["metrics"].items():
        for key, name in _FIGURES.items():
            if scores.get(key) is not None:
                told.append(f"{name} {100 * scores[key]:.1f} % on {scores['images']:,} {split} images")
    return told


def _embed(facts: Mapping[str, Any]) -> str:
    """Return what the script reads, as JSON that no HTML is found in."""
    given = facts["input"]
    read = {
        "classes": [show_unprintable(name) for name in facts["classes"]],
        "several": facts["multi_label"],
        "frame": given["frame"],
        "crop": given["crop"],
        "bytes": given["dtype"] == "uint8",
        "mean": given["mean"],
        "std": given["std"],
    }
    return json.dumps(read, ensure_ascii=True).replace("<", "\\u003c")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
