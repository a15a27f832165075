"""``dropkd watch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["watch"]


def watch(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]",
            help="Folder of a run, of a group, or of several runs. Default: the run in runs/ that was written to last.",
            show_default=False,
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Show how it stands now, and end.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for a folder that is not there yet. Default: that is a mistake.")
    ] = False,
    every: Annotated[
        float, typer.Option("--every", metavar="SECONDS", min=0.1, max=3600.0, help="How often it is looked at.")
    ] = 1.0,
    web: Annotated[
        bool, typer.Option("--web", help="Show it as a page to this machine's browsers alone, until Ctrl-C.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="N",
            min=0,
            max=65535,
            help="Of the page; 0 takes any free one. Default: 7878, or the next free one.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Follow a run, or the runs of a group, while they are trained.

    Reads what the run writes down (metrics.jsonl) and nothing else; training is not touched. In a terminal, q or
    Ctrl-C leaves; elsewhere a line is printed for each epoch, until the run ends.

    Examples:
      dropkd watch
      dropkd watch runs/first
      dropkd watch runs/group --once
      dropkd watch runs/first --web
    """
    from dropkd.cli.console import output
    from dropkd.cli.watching import follow, serve, show_once, wait_for
    from dropkd.errors import ConfigError
    from dropkd.watching.opening import find_latest_run, open_watch

    if port is not None and not web:
        raise ConfigError("--port is that of the page: give --web as well.")
    if once and (web or wait):
        raise ConfigError(f"--once shows how a run stands now; leave --{'web' if web else 'wait'} out.")
    folder = find_latest_run() if run is None else run
    try:
        if wait:
            wait_for(folder, every, output)
        watched = open_watch(folder)
        if web:
            serve(watched, port, output)
        elif once:
            show_once(watched, output)
        else:
            follow(watched, every, output)
    except KeyboardInterrupt:
        # That is how one leaves.
        return
