"""``dropkd explain``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dropkd.cli.options import Device

if TYPE_CHECKING:
    from dropkd.overlays import Explanation
    from dropkd.overlays.agreement import Agreement

__all__ = ["explain"]


def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)],
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            metavar="NETWORK",
            help="Another network or run in the teacher's place. Default: the run's teacher.",
            show_default=False,
        ),
    ] = None,
    files: Annotated[
        list[Path] | None,
        typer.Option("--image", metavar="FILE", help="An image of your own; can be given often.", show_default=False),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="DATA", help="Images of the same classes. Default: the run's own."),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", metavar="NAME", help="train, val or test. Default: test, else val.")
    ] = None,
    images: Annotated[int, typer.Option("--images", metavar="N", min=0, help="Images shown.")] = 12,
    way: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="auto|gradcam|hirescam|occlusion|attention",
            help="auto: gradcam where both networks are convolutional, else occlusion for both.",
        ),
    ] = "auto",
    asked: Annotated[
        str,
        typer.Option(
            "--asked", metavar="true|answer|CLASS", help="The class that both are asked about; answer: the student's."
        ),
    ] = "true",
    compared: Annotated[
        int,
        typer.Option(
            "--compared",
            metavar="N",
            min=0,
            help="Images drawn to measure how much the two agree, and how true maps are.",
        ),
    ] = 32,
    output_folder: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Where it is kept. Default: overlays in the run folder, overlays-files for --image.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of the draws.")] = 0,
    device: Device = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """See where student and teacher look, image by image, and how much they agree.

    Shows mistakes and right answers with a map of each network over them. The maps come with two checks: what covering
    the marked fifth of an image costs the class, beside another image's map; and how much the two networks' maps agree,
    beside maps of different images. The run's report shows it.

    Examples:
      dropkd explain runs/first
      dropkd explain runs/first --image cat.jpg --asked dog
      dropkd explain runs/plain --teacher runs/teacher --by gradcam --images 24
    """
    from dropkd.cli.console import errors, output
    from dropkd.cli.progress import Progress
    from dropkd.cli.tables import print_line
    from dropkd.overlays import explain as explain_run
    from dropkd.overlays.explaining import place_of
    from dropkd.report import write_run_report
    from dropkd.report.overlays import write_overlays_page

    with Progress(errors) as progress:
        found = explain_run(
            run,
            teacher=teacher,
            files=files or (),
            data=data,
            split=split,
            images=images,
            way=way,
            asked=asked,
            compared=compared,
            output=output_folder,
            seed=seed,
            device=device or "auto",
            observer=progress,
        )
    folder = place_of(run, output_folder, bool(files))
    page = write_overlays_page(folder)
    if output_folder is None and not files:
        write_run_report(run)
    if as_json:
        output.print_json(json.dumps(_plain(found)))
        return
    _print_table(found)
    print_line("page", page)


def _plain(found: Explanation) -> dict[str, Any]:
    """Return what was found without the pictures, which lie in the folder."""
    record = asdict(found)
    for group in record["groups"]:
        for image in group["images"]:
            del image["picture"]
            for look in image["looks"]:
                del look["picture"]
    return record


def _print_table(found: Explanation) -> None:
    from dropkd.cli.console import output
    from dropkd.cli.tables import add_row, make_table, print_heading, print_line

    print_heading(f"Where they look, by {found.way}")
    order = ("teacher", "student")
    names = [who for who in order if who in found.networks]
    table = make_table("image", "true", "asked about", *(f"{who} looks" for who in names), "agree")
    for group in found.groups:
        for image in group.images:
            looks = {look.who: look.where for look in image.looks}
            agree = "-" if image.rank_correlation is None else f"{image.rank_correlation:.2f}"
            add_row(table, image.path, image.true or "-", image.asked, *(looks[who] for who in names), agree)
    output.print(table)
    for who in names:
        print_line(who, f"{found.networks[who]['name']}, {found.networks[who]['read_at']}")
    for name, text in (("agree", _say_agreement(found.agreement)), ("checked", _say_checks(found))):
        if text:
            print_line(name, text)


def _say_agreement(agreement: Agreement | None) -> str:
    from dropkd.cli.tables import say_percent

    if agreement is None:
        return ""
    other, other_overlap = agreement.other_rank_correlation, agreement.other_overlap
    ranks = f"{agreement.rank_correlation:.2f}" + ("" if other is None else f" (different images {other:.2f})")
    tops = say_percent(agreement.overlap)
    tops += "" if other_overlap is None else f" (different images {say_percent(other_overlap)})"
    return f"rank correlation {ranks}, overlap of the top fifths {tops}, over {agreement.images} images"


def _say_checks(found: Explanation) -> str:
    costs = [
        f"{cost.own:.2f} nats for the {who} ({cost.other:.2f} by another image's map)"
        for who, cost in found.faithfulness.items()
    ]
    return f"covering the marked fifth costs the class {', '.join(costs)}" if costs else ""
