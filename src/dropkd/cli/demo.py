"""``dropkd demo``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo"]


def demo(
    output_folder: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where images, runs and the page go.")
    ] = Path("demo-run"),
    epochs: Annotated[int, typer.Option("--epochs", metavar="N", help="Epochs of each run.")] = 8,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of all three runs.")] = 0,
) -> None:
    """See a small CNN learn from a transformer on bundled real images.

    The same student is trained three times with the same budget: alone, by KD and by DropKD. Each of the
    printed commands works on your own folder too.
    """
    # Where torch is missing that is said before a folder is filled.
    import torch  # noqa: F401

    from dropkd.cli.app import app
    from dropkd.cli.console import output
    from dropkd.cli.tables import print_line
    from dropkd.demo.demo import lay_out_demo, plan_demo

    plan = plan_demo(output_folder, epochs=epochs, seed=seed)
    lay_out_demo(plan)
    output.print(
        "Four commands: the same student alone, by KD and by DropKD, with the same budget; where it and its teacher "
        "look; and all runs on one page.\n",
        soft_wrap=True,
    )
    for command in plan.commands:
        output.print(f"  {_write_out(command)}", markup=False, soft_wrap=True)
    for number, command in enumerate(plan.commands, start=1):
        output.print(f"\n[bold]{number} of {len(plan.commands)}[/bold]  {_write_out(command)}\n", soft_wrap=True)
        app(args=command, prog_name="dropkd", standalone_mode=False)
    output.print()
    _print_comparison(plan.runs)
    print_line("page", plan.page)
    print_line("next", "dropkd distill YOUR-IMAGES --teacher TEACHER --student NAME")


def _write_out(command: tuple[str, ...]) -> str:
    return shlex.join(["dropkd", *command])


def _print_comparison(runs: tuple[Path, ...]) -> None:
    from dropkd.cli.console import output
    from dropkd.cli.tables import add_row, make_table, print_heading, say_percent

    table = make_table(
        "student trained",
        "val",
        "test",
        "agrees with teacher",
        "seconds",
    )
    teacher = None
    for run in runs:
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        splits = metrics["splits"]
        teacher = metrics.get("teacher") or teacher
        agreement = say_percent(splits["test"].get("agreement"))
        figures = [say_percent(splits[name]["accuracy"]) for name in ("val", "test")]
        add_row(table, metrics["method"], *figures, agreement, f"{metrics['seconds']:.0f}")
    if teacher:
        table.add_section()
        figures = [say_percent(teacher["splits"].get(name, {}).get("accuracy")) for name in ("val", "test")]
        add_row(table, f"(the teacher, {teacher['parameters']:,} parameters)", *figures, "", "")
    print_heading("The same student, three ways")
    output.print(table)
