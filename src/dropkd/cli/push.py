"""``dropkd push`` and ``dropkd card``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dropkd.sharing.package import Package

__all__ = ["card", "push"]

_Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.", show_default=False)]
_Licence = Annotated[
    str | None,
    typer.Option("--licence", "--license", metavar="NAME", help="Licence of the student, apache-2.0 for example."),
]
_LicenceLink = Annotated[
    str | None,
    typer.Option("--licence-link", "--license-link", metavar="URL", help="Where the text of an unusual licence is."),
]
_DataName = Annotated[
    str | None,
    typer.Option("--data-name", metavar="NAME", help="How the card calls the images. Default: their folder's name."),
]


def push(
    run: _Run,
    repository: Annotated[
        str,
        typer.Argument(metavar="OWNER/NAME", help="Repository; made where it is not there.", show_default=False),
    ],
    private: Annotated[bool, typer.Option("--private", help="Nobody but its owners may see it.")] = False,
    revision: Annotated[
        str | None,
        typer.Option("--revision", metavar="BRANCH", help="Another branch than the main one; made where needed."),
    ] = None,
    with_onnx: Annotated[bool, typer.Option("--with-onnx", help="Also export it as ONNX and send that.")] = False,
    licence: _Licence = None,
    licence_link: _LicenceLink = None,
    data_name: _DataName = None,
    keep_card: Annotated[
        bool, typer.Option("--keep-card", help="Leave the README.md that is in the repository as it is.")
    ] = False,
    dry_run: Annotated[
        Path | None,
        typer.Option("--dry-run", metavar="FOLDER", help="Write the files to a new folder and send nothing."),
    ] = None,
) -> None:
    """Send a run's student to the Hugging Face hub, with a model card.

    Sent are the weights, their description and the card; no images, and no paths of this machine.
    What is sent is listed first. A token is needed: `hf auth login`, or HF_TOKEN.

    Examples:
      dropkd push runs/first me/my-student --licence apache-2.0
      dropkd push runs/first me/my-student --private --with-onnx
      dropkd push runs/first me/my-student --dry-run to-send
    """
    from dropkd.cli.console import output
    from dropkd.cli.tables import print_line
    from dropkd.sharing.pushing import push_run

    pushed = push_run(
        run,
        repository,
        private=private,
        revision=revision,
        with_onnx=with_onnx,
        licence=licence,
        licence_link=licence_link,
        data_name=data_name,
        keep_card=keep_card,
        dry_run=dry_run,
        announce=lambda package: _print_package(package, repository, written=dry_run is not None),
    )
    output.print()
    if pushed.url is None:
        print_line("folder", pushed.package.folder)
        print_line("load", f"dropkd.load({str(pushed.package.folder)!r})")
        return
    print_line("sent to", pushed.url)
    print_line("load", f"dropkd.load({pushed.place!r})")
    if pushed.package.architecture is not None:
        place = pushed.place.removeprefix("hf:")
        print_line("timm", f'timm.create_model("hf-hub:{place}", pretrained=True)')


def card(
    run: _Run,
    output_file: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.md", help="Default: README.md in the run folder."),
    ] = None,
    repository: Annotated[
        str | None,
        typer.Option("--repository", metavar="OWNER/NAME", help="Repository that its snippets name."),
    ] = None,
    licence: _Licence = None,
    licence_link: _LicenceLink = None,
    data_name: _DataName = None,
) -> None:
    """Write a run's model card: data, figures with intervals, limits, licence.

    Examples:
      dropkd card runs/first --licence apache-2.0
      dropkd card runs/first --data-name "Birds of our garden" --output card.md
    """
    from dropkd.cli.tables import print_line
    from dropkd.sharing.card import write_card

    path, written = write_card(
        run,
        output_file,
        repository=repository,
        licence=licence,
        licence_link=licence_link,
        data_name=data_name,
    )
    _print_warnings(written.warnings)
    print_line("card", path)


def _print_package(package: Package, repository: str, *, written: bool) -> None:
    from dropkd.cli.console import output
    from dropkd.cli.tables import add_row, make_table
    from dropkd.files import say_bytes

    table = make_table("written" if written else f"sent to {repository}", "size", "what it is", figures=False)
    for file in package.files:
        add_row(table, file.name, say_bytes(file.bytes), file.holds)
    output.print(table)
    output.print(f"The card calls the images {package.card.data!r} (--data-name).", markup=False, soft_wrap=True)
    _print_warnings(package.card.warnings)


def _print_warnings(warnings: tuple[str, ...]) -> None:
    from rich.text import Text

    from dropkd.cli.console import errors

    for warning in warnings:
        errors.print(Text.assemble(("warning: ", "bold yellow"), warning), soft_wrap=True)
