"""The page that follows a group: a table of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dropkd.report.rendering import render_part
from dropkd.report.wording import duration, percent
from dropkd.watching.group_watch import GroupView, MemberView
from dropkd.watching.page import Page
from dropkd.watching.run_page import say_share
from dropkd.watching.states import State

__all__ = ["draw_group_page"]

_GROUP_SECTIONS = (("runs", "Runs"), ("files", "Files of the group"))


def draw_group_page(view: GroupView, numbers: Mapping[str, int], files: list[str]) -> Page:
    """Return the page of a group.

    Args:
        view: the group.
        numbers: of its runs, by name; a run's page is found by its number.
        files: names of the group's files that may be opened.
    """
    total, done = len(view.members), view.count(State.FINISHED)
    failed, running = view.count(State.FAILED, State.STOPPED), sum(m.state.goes_on for m in view.members)
    told = {"finished": done, "running": running, "failed or stopped": failed}
    lead = f"{total} runs: {', '.join(f'{number} {what}' for what, number in told.items() if number) or 'none begun'}."
    goes_on = bool(running) or view.is_held
    state = State.FINISHED if done == total and total else State.RUNNING if goes_on else State.WAITING
    fraction = sum(member.shown.fraction for member in view.members) / max(1, total)
    name = Path(view.folder).resolve().name
    parts = {
        "state": render_part("watch/state.html.j2", {"kind": "group", "name": name, "seed": None, "state": state}),
        "progress": render_part(
            "watch/progress.html.j2",
            {
                "lead": lead,
                "permille": round(1000 * fraction),
                "label": "Share of all steps that is done",
                "words": [],
                "tone": "",
            },
        ),
        "warnings": render_part("watch/warnings.html.j2", {"lines": [view.trouble] if view.trouble else []}),
        "runs": render_part("watch/runs.html.j2", {"rows": [_row_of(m, numbers[m.name]) for m in view.members]}),
        "files": render_part("watch/files.html.j2", {"files": files}) if files else "",
    }
    sections = tuple((id_, title) for id_, title in _GROUP_SECTIONS if parts[id_])
    title = f"{done}/{total} {name}"
    return Page(title, f"Runs in {name}", parts, sections, lead, state is State.FINISHED)


def _row_of(member: MemberView, number: int) -> dict[str, Any]:
    run = member.shown
    of = "" if run.epochs is None else f" of {run.epochs}"
    return {
        "number": number,
        "name": member.name,
        "reason": member.reason,
        "state": member.state,
        "fraction": run.fraction,
        "done": say_share(run),
        "epoch": "" if run.epoch is None else f"{run.epoch}{of}",
        "validation": percent(run.validation[-1][1]) if run.validation else "",
        "best": percent(run.best[1]) if run.best else "",
        "left": "" if run.seconds_left is None else duration(run.seconds_left),
    }
