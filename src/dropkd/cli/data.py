"""``dropkd data check``; ``dropkd data views`` has a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dropkd.cli.data_views import views

if TYPE_CHECKING:
    from dropkd.data.check import DataCheck

__all__ = ["app", "check"]

app = typer.Typer(
    help="Look at images before they are trained on.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

# Kept here as well, so that --help loads nothing; a test holds it against the check's own.
_NEAR = 24
_FILES, _LOOK = "What is written", "What is looked for"


app.command("views")(views)


@app.callback()
def start() -> None:
    """Look at images before they are trained on."""


@app.command("check")
def check(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Images in any form that training takes: a folder, a manifest, torchvision:NAME and so on.",
        ),
    ],
    near: Annotated[
        int,
        typer.Option(
            "--near",
            metavar="BITS",
            help="Two images look alike where their perceptual hashes differ in at most so many of 256 bits (and their "
            "thumbnails agree). More finds more, also what only resembles.",
            rich_help_panel=_LOOK,
        ),
    ] = _NEAR,
    no_near: Annotated[
        bool, typer.Option("--no-near", help="Look for equal images alone, which is faster.", rich_help_panel=_LOOK)
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 2 on warnings too.", rich_help_panel=_LOOK)
    ] = False,
    seed: Annotated[
        int,
        typer.Option("--seed", metavar="N", help="The seed that training will cut splits by.", rich_help_panel=_LOOK),
    ] = 0,
    validation_fraction: Annotated[
        float,
        typer.Option(
            "--validation-fraction",
            metavar="X",
            help="The share of the images that training will cut for validation.",
            rich_help_panel=_LOOK,
        ),
    ] = 0.1,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            help="Threads that decode. Default: by the size of the files.",
            rich_help_panel=_LOOK,
        ),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--page", metavar="FILE.html", help="Write a page with pictures.", rich_help_panel=_FILES),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Write the page (check.html), everything that was found (check.json) and a sheet of samples "
            "(samples.png).",
            rich_help_panel=_FILES,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON with every case instead of tables.", rich_help_panel=_FILES)
    ] = False,
    listed: Annotated[
        int, typer.Option("--list", metavar="N", min=0, help="Cases to print of each finding.", rich_help_panel=_FILES)
    ] = 3,
) -> None:
    r"""Read every image once and tell what breaks training or falsifies its figures.

    Errors, exit code 2:
      training would refuse the data; images that can't be read
      classes that are empty, or missing in a split
      class names that differ in case, spaces or encoding alone
      the same image in two splits
    Warnings, exit code 2 with --strict:
      copies that were resized, recompressed, brightened or trimmed
      the same image twice in a split, or with two labels
      tiny, very large and very long images; few or uneven images of classes
      pictures that are left out for their name or place

    Near copies need imagehash: pip install "dropkd\[check]".

    Examples:
      dropkd data check photos
      dropkd data check photos --output photos-check
      dropkd data check faces.csv --json --strict
    """
    import json

    from dropkd.cli.check_tables import print_check
    from dropkd.cli.console import errors, output
    from dropkd.cli.progress import Progress
    from dropkd.cli.tables import print_line
    from dropkd.data.check import check_data

    with Progress(errors) as progress:
        found = check_data(
            data,
            near=None if no_near else near,
            seed=seed,
            validation_fraction=validation_fraction,
            workers=workers,
            progress=progress.on_phase,
        )
    written = _write(found, page, folder) if page or folder else []
    if as_json:
        # Not rich's own printing, which folds long texts.
        typer.echo(json.dumps(found.to_dict(), indent=2))
    else:
        print_check(found, output, listed)
        for label, path in written:
            print_line(label, path)
    raise typer.Exit(found.exit_code(strict=strict))


def _write(found: DataCheck, page: Path | None, folder: Path | None) -> list[tuple[str, Path]]:
    """Write what was asked for; return what was written, each with its name."""
    import json

    from dropkd.data.check import draw_sheet
    from dropkd.files import replacing, writable_folder, write_text
    from dropkd.report import write_data_page

    written = []
    if page is not None:
        written.append(("page", write_data_page(found, page)))
    if folder is not None:
        writable_folder(folder)
        written.append(("page", write_data_page(found, folder / "check.html")))
        write_text(folder / "check.json", json.dumps(found.to_dict(), indent=2) + "\n")
        with replacing(folder / "samples.png") as partial:
            draw_sheet(found).save(partial, "PNG")
        written += [("all", folder / "check.json"), ("samples", folder / "samples.png")]
    return written
