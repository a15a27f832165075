"""``dropkd compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["compare"]


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs, or of groups.", show_default=False)
    ],
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            metavar="NAME",
            help="What the others are compared with: a folder, or a name from the table. "
            "Default: the plain runs, else the first.",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", metavar="test|val", help="Default: test where all runs have it.")
    ] = None,
    figure: Annotated[
        str | None,
        typer.Option(
            "--figure",
            metavar="NAME",
            help="accuracy, uar, macro_f1 or loss; map or exact_match where images have several labels.",
        ),
    ] = None,
    to: Annotated[
        str, typer.Option("--to", metavar="table|markdown|latex|csv|json", help="How it is printed or written.")
    ] = "table",
    output_file: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write it: .md, .tex, .csv or .json, unless --to says otherwise."
        ),
    ] = None,
) -> None:
    """Tell which runs are better on the same images, and whether that is more than chance.

    Runs that differ in their seed alone are put together. A difference counts as seen only where neither the choice
    of the test images (paired bootstrap; McNemar's test for single runs) nor that of the seeds (paired t-test) explains
    it, after Holm's correction for the number of questions.

    Examples:
      dropkd compare runs/plain runs/kd runs/dropkd
      dropkd compare runs/*-seed* --figure uar --to latex --output table.tex
    """
    from dropkd.cli.console import output
    from dropkd.cli.tables import add_row, make_table, print_heading
    from dropkd.comparing import FORMATS, format_comparison
    from dropkd.comparing import compare as compare_runs
    from dropkd.comparing.formats import describe_rows, say_note
    from dropkd.errors import ConfigError, did_you_mean
    from dropkd.files import write_text

    suffixes = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".json": "json"}
    kind = to
    if output_file is not None and to == "table":
        kind = suffixes.get(output_file.suffix.lower(), "")
        if not kind:
            raise ConfigError(f"--output {output_file}: the name must end in one of {', '.join(suffixes)}.")
    if kind != "table" and kind not in FORMATS:
        known = ("table", *FORMATS)
        raise ConfigError(f"--to {kind}: there are {', '.join(known)}.{did_you_mean(kind, known)}")
    found = compare_runs(runs, reference=reference, split=split, figure=figure)
    if output_file is not None:
        write_text(output_file, format_comparison(found, kind))
        output.print(f"comparison of {len(found.contenders)} written to {output_file}", markup=False, soft_wrap=True)
    elif kind != "table":
        typer.echo(format_comparison(found, kind), nl=False)
    else:
        header, *rows = describe_rows(found)
        table = make_table(*header)
        for row in rows:
            add_row(table, *row)
        print_heading(f"{found.images:,} {found.split} images")
        output.print(table)
        output.print(say_note(found), markup=False)
