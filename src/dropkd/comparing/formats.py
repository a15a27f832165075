"""A comparison as text: Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict

from dropkd.comparing.comparison import Comparison, Contender
from dropkd.statistics.arrays import Interval

__all__ = ["FORMATS", "NAMES", "describe_rows", "format_comparison", "say_difference", "say_note", "say_p_value"]

# How a figure is called in a table.
NAMES = {
    "accuracy": "accuracy",
    "uar": "UAR",
    "macro_f1": "macro F1",
    "loss": "loss",
    "map": "mAP",
    "exact_match": "all labels right",
}
_HEADER = ("", "seeds", "{figure}", "difference", "images alone", "seeds alone", "p (Holm)", "verdict")


def format_comparison(comparison: Comparison, name: str) -> str:
    """Return a comparison in one of :data:`FORMATS`, with a line break at its end."""
    return FORMATS[name](comparison)


def describe_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return the table as text: a header, then a row for each contender."""
    unit = " (%)" if comparison.is_share else ""
    header = tuple(cell.format(figure=NAMES[comparison.figure] + unit) for cell in _HEADER)
    return [header, *(_describe_row(comparison, contender) for contender in comparison.contenders)]


def _describe_row(comparison: Comparison, contender: Contender) -> tuple[str, ...]:
    figure, difference = contender.figure, contender.difference
    told = _say(comparison, figure.mean)
    if figure.deviation is not None:
        told += f" \N{PLUS-MINUS SIGN} {_say(comparison, figure.deviation)}"
    if difference is None:
        return (contender.label, str(figure.count), told, "", "", "", "", "reference")
    return (
        contender.label,
        str(figure.count),
        told,
        say_difference(comparison, difference.value),
        _say_interval(comparison, difference.by_images),
        _say_interval(comparison, difference.by_seeds),
        say_p_value(difference.p_corrected),
        difference.verdict,
    )


def say_note(comparison: Comparison) -> str:
    """Return in words what the table is of, and what its columns mean."""
    single = any(c.difference is not None and c.difference.p_seeds is None for c in comparison.contenders)
    note = (
        f"{comparison.images:,} {comparison.split} images, each contender compared with {comparison.reference!r}. "
        "After \N{PLUS-MINUS SIGN} the standard deviation over seeds. Intervals of 95 % of the difference: by drawing "
        "images for both alike (bootstrap), and over the seeds (Student's t, paired where both have them). p: the "
        "larger of what images and what seeds give, after Holm's correction."
    )
    if single:
        note += " Of a single seed the verdict does not know what another one would change."
    return note


def say_difference(comparison: Comparison, value: float) -> str:
    """Return a difference with its sign, in percentage points where the figure is a share."""
    return f"{100 * value:+.2f}" if comparison.is_share else f"{value:+.4f}"


def say_p_value(value: float) -> str:
    """Return a p-value with three digits after the point."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _say(comparison: Comparison, value: float) -> str:
    return f"{100 * value:.2f}" if comparison.is_share else f"{value:.4f}"


def _say_interval(comparison: Comparison, interval: Interval | None) -> str:
    if interval is None:
        return "-"
    return " to ".join(say_difference(comparison, bound) for bound in interval)


def _to_markdown(comparison: Comparison) -> str:
    header, *rows = [[cell.replace("|", "\\|") for cell in row] for row in describe_rows(comparison)]
    lines = [header, ["---", *["---:"] * (len(header) - 2), "---"], *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n{say_note(comparison)}\n"


def _to_latex(comparison: Comparison) -> str:
    """Return a table for ``booktabs``."""
    header, *rows = [[_escape(cell) for cell in row] for row in describe_rows(comparison)]
    body = [f"{' & '.join(row)} \\\\" for row in rows]
    lines = [
        f"\\begin{{tabular}}{{l{'r' * (len(header) - 2)}l}}",
        "\\toprule",
        f"{' & '.join(header)} \\\\",
        "\\midrule",
        *body,
        "\\bottomrule",
        "\\end{tabular}",
        f"% {_escape(say_note(comparison))}",
    ]
    return "\n".join(lines) + "\n"


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\N{PLUS-MINUS SIGN}": r"$\pm$", "<": "$<$",
}  # fmt: skip


def _escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _to_csv(comparison: Comparison) -> str:
    """Return one row for each contender, every number in full."""
    fields = (
        *("label", "runs", "seeds", "parameters", "split", "images", "figure", "mean", "deviation"),
        *("difference", "images_low", "images_high", "seeds_low", "seeds_high", "shared_seeds"),
        *("gained", "lost", "p_images", "p_seeds", "p_value", "p_corrected", "verdict"),
    )
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fields, lineterminator="\n")
    writer.writeheader()
    for contender in comparison.contenders:
        writer.writerow({**_flatten(contender), "split": comparison.split, "images": comparison.images,
                         "figure": comparison.figure})  # fmt: skip
    return stream.getvalue()


def _flatten(contender: Contender) -> dict[str, object]:
    # A label that begins like a formula must stay text in a spreadsheet.
    label = contender.label if contender.label[:1] not in "=+-@" else f"'{contender.label}"
    row: dict[str, object] = {
        "label": label,
        "runs": contender.figure.count,
        "seeds": " ".join(map(str, contender.seeds)),
        "parameters": contender.parameters,
        "mean": contender.figure.mean,
        "deviation": contender.figure.deviation,
    }
    found = contender.difference
    if found is None:
        return row
    seeds_low, seeds_high = found.by_seeds or (None, None)
    return row | {
        "difference": found.value, "images_low": found.by_images[0], "images_high": found.by_images[1],
        "seeds_low": seeds_low, "seeds_high": seeds_high, "shared_seeds": found.seeds, "gained": found.gained,
        "lost": found.lost, "p_images": found.p_images, "p_seeds": found.p_seeds, "p_value": found.p_value,
        "p_corrected": found.p_corrected, "verdict": found.verdict,
    }  # fmt: skip


def _to_json(comparison: Comparison) -> str:
    tree = asdict(comparison)
    for row, contender in zip(tree["contenders"], comparison.contenders, strict=True):
        if contender.difference is not None:
            row["difference"]["verdict"] = contender.difference.verdict
    return json.dumps(tree, indent=2) + "\n"


FORMATS: dict[str, Callable[[Comparison], str]] = {
    "markdown": _to_markdown,
    "latex": _to_latex,
    "csv": _to_csv,
    "json": _to_json,
}
