"""Turns a template and its values into one file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dropkd.files import write_text

__all__ = ["write_page"]

_TEMPLATES = Path(__file__).parent / "templates"


def write_page(path: Path, template: str, values: dict[str, Any]) -> Path:
    """Write a page in one step and return its path.

    The page's Content-Security-Policy allows its own style sheet, by hash, and pictures within the page; nothing else
    is loaded or run.

    Raises:
        RunError: the file can't be written.
    """
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    page = _environment().get_template(template)
    # The style sheet is the package's own file, and its hash holds for the text as it is.
    write_text(path, page.render(style=Markup(style), policy=policy, **values))  # noqa: S704
    return path


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
