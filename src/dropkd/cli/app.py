"""The verbs of ``dropkd`` and the help that introduces them."""

from __future__ import annotations

from typing import Annotated

import typer

import dropkd
from dropkd.cli import cache, cka, compare, cost, data, demo, explain, export, listings, push, results, training, watch
from dropkd.cli.console import output

__all__ = ["app"]

INTRODUCTION = """Small, fast vision models that learned from big ones.

A folder of images and a strong teacher in, a small student that learned from it out:

    dropkd distill DATA --teacher vit_base_patch16_224 --student resnet18

Try it on bundled images first: [bold]dropkd demo[/bold]. What a verb can do: [bold]dropkd VERB --help[/bold].
"""

app = typer.Typer(
    name="dropkd",
    help=INTRODUCTION,
    rich_markup_mode="rich",
    no_args_is_help=True,
    # Our own text says whose mistake it was; see dropkd.cli.failures.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_TRAIN, _LOOK, _KNOW = "Train a network", "Look at a run", "See what there is"
app.command("distill", rich_help_panel=_TRAIN)(training.distill)
app.command("train", rich_help_panel=_TRAIN)(training.train)
app.command("resume", rich_help_panel=_TRAIN)(training.resume)
app.command("demo", rich_help_panel=_TRAIN)(demo.demo)
app.add_typer(cache.app, name="cache", rich_help_panel=_TRAIN)
app.command("evaluate", rich_help_panel=_LOOK)(results.evaluate)
app.command("predict", rich_help_panel=_LOOK)(results.predict)
app.command("report", rich_help_panel=_LOOK)(results.report)
app.command("watch", rich_help_panel=_LOOK)(watch.watch)
app.command("cka", rich_help_panel=_LOOK)(cka.cka)
app.command("explain", rich_help_panel=_LOOK)(explain.explain)
app.command("compare", rich_help_panel=_LOOK)(compare.compare)
app.command("cost", rich_help_panel=_LOOK)(cost.cost)
app.command("export", rich_help_panel=_LOOK)(export.export)
app.command("card", rich_help_panel=_LOOK)(push.card)
app.command("push", rich_help_panel=_LOOK)(push.push)
app.add_typer(data.app, name="data", rich_help_panel=_KNOW)
app.command("methods", rich_help_panel=_KNOW)(listings.methods)
app.command("models", rich_help_panel=_KNOW)(listings.models)


def _print_version(wanted: bool) -> None:
    if wanted:
        output.print(f"dropkd {dropkd.__version__}")
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Hold what is said before the verb."""
