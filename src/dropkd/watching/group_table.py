"""A group as it stands, for a terminal: a table of its runs."""

from __future__ import annotations

from typing import Any

from rich.console import ConsoleRenderable, Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dropkd.report.wording import duration, percent
from dropkd.watching.group_watch import GroupView, MemberView
from dropkd.watching.states import State
from dropkd.watching.terminal_text import BAR, plain_text, state_style

__all__ = ["draw_group"]


def draw_group(view: GroupView, width: int, height: int, ascii_only: bool) -> ConsoleRenderable:
    """Return the table, with as many runs as there is room for."""
    total = len(view.members)
    done = view.count(State.FINISHED)
    head = Text.assemble((plain_text(view.folder.name), "bold"), f"  {done} of {total} runs finished")
    failed = view.count(State.FAILED, State.STOPPED)
    if failed:
        head.append(f"  {failed} failed or stopped", style="bold red")
    parts: list[ConsoleRenderable] = [head]
    if view.trouble:
        parts.append(Text.assemble(("warning: ", "bold yellow"), plain_text(view.trouble)))
    shown, left_out = _choose_members(view, max(3, height - len(parts) - 4))
    parts.append(_tabulate(shown, width))
    if left_out:
        parts.append(Text(left_out, style="dim"))
    parts += [Text.assemble((f"{plain_text(m.name)}: ", "bold red"), plain_text(m.reason)) for m in shown if m.reason]
    return Group(*parts)


def _choose_members(view: GroupView, room: int) -> tuple[list[MemberView], str]:
    """Return the runs that there is room for, those that go on first, and what is said of the others."""
    if len(view.members) <= room:
        return list(view.members), ""
    order = {State.WAITING: 3, State.FINISHED: 2, State.INTERRUPTED: 1, State.FAILED: 1, State.STOPPED: 1}
    ranked = sorted(view.members, key=lambda member: order.get(member.state, 0))
    chosen = {id(member) for member in ranked[: room - 1]}
    rest: dict[str, int] = {}
    for member in ranked[room - 1 :]:
        rest[member.state] = rest.get(member.state, 0) + 1
    said = "and " + ", ".join(f"{number} more {state}" for state, number in rest.items())
    return [member for member in view.members if id(member) in chosen], said


def _tabulate(members: list[MemberView], width: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("run", no_wrap=True, overflow="ellipsis", max_width=max(16, width // 3))
    for name in ("", "", "epoch", "val", "best", "left"):
        table.add_column(name, no_wrap=True, justify="left" if name == "" else "right")
    for member in members:
        table.add_row(*_row_of(member, width))
    return table


def _row_of(member: MemberView, width: int) -> list[Any]:
    run = member.shown
    epoch = "" if run.epoch is None else f"{run.epoch}{'' if run.epochs is None else f'/{run.epochs}'}"
    return [
        Text(plain_text(member.name)),
        Text(str(member.state), style=state_style(member.state)),
        ProgressBar(total=1.0, completed=run.fraction, width=max(6, min(BAR, width // 6))),
        epoch,
        percent(run.validation[-1][1]) if run.validation else "",
        percent(run.best[1]) if run.best else "",
        "" if run.seconds_left is None else duration(run.seconds_left),
    ]
