"""``dropkd cka``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dropkd.cli.options import Device

__all__ = ["cka"]


def cka(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="Folder of a run; beside OTHER any network.", show_default=False),
    ],
    other: Annotated[
        str | None,
        typer.Argument(
            metavar="[OTHER]",
            help="Another run or network: a name, a file, whatever can be a teacher. Default: the run's teacher.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="DATA", help="Images. Default: the run's own.", show_default=False)
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", metavar="NAME", help="train, val or test. Default: test, else val.")
    ] = None,
    images: Annotated[int, typer.Option("--images", metavar="N", min=4, help="Images at most.")] = 2000,
    batch_size: Annotated[int, typer.Option("--batch-size", metavar="N", min=4, help="Images a batch.")] = 64,
    layers: Annotated[
        str,
        typer.Option(
            "--layers", metavar="stages|blocks", help="Each stage's map, embedding and logits; or each block."
        ),
    ] = "stages",
    output_file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.html",
            help="The page. Default: cka.html in the run folder.",
            show_default=False,
        ),
    ] = None,
    device: Device = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compare the layers of a student with its teacher's, before and after training.

    Centred kernel alignment of each pair of layers, by the unbiased estimate over many batches (Nguyen, Raghu,
    Kornblith, ICLR 2021). The result is kept as cka.json in the run folder, and the run's report shows it.

    Examples:
      dropkd cka runs/first
      dropkd cka runs/plain runs/teacher --layers blocks
      dropkd cka resnet18 vit_small_patch16_224 --data photos --output layers.html
    """
    from dropkd.cli.console import errors, output
    from dropkd.cli.progress import Progress
    from dropkd.cli.tables import add_row, make_table, print_heading, print_line
    from dropkd.layer_similarity import compare_layers
    from dropkd.report import write_run_report
    from dropkd.report.layer_similarity import write_similarity_page

    with Progress(errors) as progress:
        found = compare_layers(
            run,
            other,
            data=data,
            split=split,
            images=images,
            batch_size=batch_size,
            layers=layers,
            device=device or "auto",
            observer=progress,
        )
    is_own = other is None and data is None
    place = output_file or (Path(run) / "cka.html" if is_own else None)
    page = None if place is None else write_similarity_page(asdict(found), place)
    if is_own:
        write_run_report(Path(run))
    if as_json:
        output.print_json(json.dumps(asdict(found)))
        return
    for title, values in (("before the first step", found.before), ("as it is", found.after)):
        if values is None:
            continue
        print_heading(f"{found.second} (columns) beside {found.first} (rows), {title}")
        table = make_table("CKA", *found.columns)
        for name, row in zip(found.rows, values, strict=True):
            add_row(table, name, *("-" if value is None else f"{value:.2f}" for value in row))
        output.print(table)
    print_line("images", f"{found.images:,} of {found.split}, in batches of {found.batch_size}")
    if page is not None:
        print_line("page", page)
