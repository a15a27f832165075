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

__all__ = ["find_policy", "render_page", "render_part", "show_unprintable", "write_page"]

_TEMPLATES = Path(__file__).parent / "templates"
_UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"
# Terminal commands and other controls (tab and line break are none), marks that turn the direction of the text after
# them, and halves of a pair, which no file in UTF-8 can hold.
_HIDDEN = [
    *(code for code in range(0x20) if code not in (0x09, 0x0A)),
    *range(0x7F, 0xA0),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
    *range(0xD800, 0xE000),
]
_SHOWN = dict.fromkeys(_HIDDEN, _UNPRINTABLE)


def write_page(path: Path, template: str, values: dict[str, Any]) -> Path:
    """Write a page in one step and return its path; see :func:`render_page`.

    Raises:
        RunError: the file can't be written.
    """
    write_text(path, render_page(template, values))
    return path


def render_page(template: str, values: dict[str, Any], script: str = "tables.js", *, asks: bool = False) -> str:
    """Return a page's text.

    Its Content-Security-Policy allows its own style sheet and its own script, by their hashes, and pictures within the
    page; nothing else is loaded or run, and the page reads without the script too.

    Args:
        template: its name.
        values: what it shows.
        script: the script's file name.
        asks: whether the script may ask the server that the page comes from.
    """
    page = _environment().get_template(template)
    # Both are the package's own files, and the hashes hold for the texts as they are.
    own = {"style": Markup(_read("style.css")), "script": Markup(_read(script))}  # noqa: S704
    return show_unprintable(page.render(**own, policy=find_policy(script, asks=asks), **values))


def render_part(template: str, values: dict[str, Any]) -> str:
    """Return the text of a part of a page, which a page that is open takes up."""
    return show_unprintable(_environment().get_template(template).render(**values))


def find_policy(script: str = "tables.js", *, asks: bool = False) -> str:
    """Return the Content-Security-Policy of a page; see :func:`render_page`."""
    own_style, own_script = _digest(_read("style.css")), _digest(_read(script))
    reach = " connect-src 'self';" if asks else ""
    return (
        f"default-src 'none'; style-src '{own_style}'; script-src '{own_script}'; img-src data:;{reach} "
        "base-uri 'none'; form-action 'none'"
    )


def show_unprintable(text: str) -> str:
    r"""Return a text with a mark in place of each character that is obeyed rather than shown.

    These are controls, and marks that turn the direction of the text after them.

    Example:
        >>> show_unprintable("red \x1b[31m and \u202eback")
        'red �[31m and �back'
    """
    return text.translate(_SHOWN)


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@lru_cache
def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
