"""Names and texts that a page in Markdown shows as they are, whatever is in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["as_code", "as_text", "make_table"]

# What Markdown, its tables or the mathematics of some of its readers give a meaning to.
_SIGNS = re.compile(r"([\\`*\[\]|~#$]|(?<![^\W_])_|_(?![^\W_])|^[-+=]|^\d+(?=[.)]\s))")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def as_text(text: object) -> str:
    r"""Return a text that Markdown shows as it is, on one line.

    Example:
        >>> as_text("<b>red</b> | *blue*")
        '&lt;b&gt;red&lt;/b&gt; \\| \\*blue\\*'
        >>> as_text("ankle_boot")
        'ankle_boot'
    """
    line = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in str(text))
    return _SIGNS.sub(r"\\\1", "".join(_HTML.get(sign, sign) for sign in line))


def as_code(text: object) -> str:
    """Return a text as Markdown shows code, on one line.

    Example:
        >>> as_code("a`b")
        '``a`b``'
    """
    line = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in str(text))
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if not line or line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def make_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the first column is aligned to the left, the others to the right.

    Args:
        head: the columns' names.
        rows: cells that Markdown reads, without line breaks.
    """
    marks = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, marks, *rows))
