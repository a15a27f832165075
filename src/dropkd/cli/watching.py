"""A run followed in a terminal, by lines where there is none, or as a page."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from dropkd.cli.keys import Keys
from dropkd.cli.watch_lines import WatchLines
from dropkd.engine.signals import StopRequest
from dropkd.watching import GroupView, GroupWatch, RunView, RunWatch, State
from dropkd.watching.group_watch import is_group_folder
from dropkd.watching.opening import holds_run
from dropkd.watching.terminal import LiveView

__all__ = ["follow", "serve", "show_once", "wait_for"]

_PAUSE = 0.25


def show_once(watched: RunWatch | GroupWatch, console: Console) -> None:
    """Print how a run stands."""
    console.print(LiveView(watched.look()))


def follow(watched: RunWatch | GroupWatch, every: float, console: Console) -> None:
    """Show a run until it ends or the user leaves."""
    if not console.is_terminal:
        _follow_by_lines(watched, every, console)
        return
    view = watched.look()
    if not _has_ended(view):
        # Signals are noted and not acted on at once: in the midst of drawing, the terminal would be left as it is then.
        with StopRequest() as stop, Keys() as keys:
            hint = "q leaves" if keys.are_heard else "Ctrl-C leaves"
            with Live(LiveView(view, hint), console=console, screen=True, auto_refresh=False) as live:
                while not _leaves(keys, every, stop) and not _has_finished(view):
                    view = watched.look()
                    live.update(LiveView(view, hint), refresh=True)
    # What was seen last stays, below what was there before.
    console.print(LiveView(view))


def _leaves(keys: Keys, seconds: float, stop: StopRequest) -> bool:
    """Wait until the run is to be looked at again, or the user leaves, and return whether he does."""
    until = time.monotonic() + seconds
    while stop.signal_number is None and (left := until - time.monotonic()) > 0:
        if set(keys.wait(min(left, _PAUSE))) & {"q", "Q"}:
            return True
    return stop.signal_number is not None


def _follow_by_lines(watched: RunWatch | GroupWatch, every: float, console: Console) -> None:
    lines = WatchLines(console)
    while True:
        view = watched.look()
        lines.tell(view)
        if _has_ended(view):
            return
        time.sleep(every)


def serve(watched: RunWatch | GroupWatch, port: int | None, console: Console) -> None:
    """Show a run as a page until Ctrl-C or SIGTERM."""
    from dropkd.watching.server import open_server
    from dropkd.watching.site import Site

    with open_server(Site(watched), port) as server:
        place = watched.root if isinstance(watched, GroupWatch) else watched.folder
        console.print(Text(f"{place} is shown at {server.address}  (Ctrl-C ends)"), soft_wrap=True)
        server.serve_forever(poll_interval=_PAUSE)


def wait_for(folder: Path, every: float, console: Console) -> None:
    """Wait until there is something to follow in a folder, and say so."""
    told = False
    while not (holds_run(folder) or is_group_folder(folder)):
        if not told:
            console.print(Text(f"Waiting for {folder}: it is made when the data has been read. Ctrl-C ends."))
            told = True
        time.sleep(every)


def _has_finished(view: RunView | GroupView) -> bool:
    if isinstance(view, GroupView):
        return bool(view.members) and view.count(State.FINISHED) == len(view.members)
    return view.state is State.FINISHED


def _has_ended(view: RunView | GroupView) -> bool:
    return view.has_ended if isinstance(view, GroupView) else view.state.has_ended
