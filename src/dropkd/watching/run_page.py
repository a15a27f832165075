"""The page that follows a run."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup, escape

from dropkd.files import say_bytes
from dropkd.report.charts import Chart, Series, draw_curves
from dropkd.report.curves import draw_learning_curves, name_epoch_columns, tabulate_epochs
from dropkd.report.rendering import render_part
from dropkd.report.wording import count, decimal, duration, percent
from dropkd.watching.page import Page
from dropkd.watching.states import State
from dropkd.watching.view import RunView

__all__ = ["draw_run_page", "say_share"]

# A table that grows without end would be sent anew each second.
_MOST_EPOCHS = 100
_RUN_SECTIONS = (
    ("figures", "Figures"), ("curves", "Learning curves"), ("terms", "The loss and its terms"),
    ("epochs", "The numbers of each epoch"), ("files", "Files of the run"),
)  # fmt: skip


def draw_run_page(view: RunView, files: list[str], *, up: str = "") -> Page:
    """Return the page of a run.

    Args:
        view: the run.
        files: names of its files that may be opened.
        up: name of the group that it belongs to.
    """
    is_first = view.state is State.BASELINE and view.baseline is not None
    shown = view.baseline if is_first and view.baseline is not None else view
    curves = draw_learning_curves(shown.record)
    rows = tabulate_epochs(shown.record)
    lead = _say_progress(shown)
    parts = {
        "state": render_part(
            "watch/state.html.j2",
            {"kind": "run", "name": view.record.name, "seed": view.record.seed, "state": view.state},
        ),
        "progress": render_part(
            "watch/progress.html.j2",
            {
                "lead": lead,
                "permille": round(1000 * shown.fraction),
                "label": "Share of the steps that is done",
                "words": [_mark_commands(words) for words in dict.fromkeys((view.words, shown.words)) if words],
                "tone": "worse" if view.state in (State.FAILED, State.STOPPED) else "",
            },
        ),
        "warnings": render_part("watch/warnings.html.j2", {"lines": shown.warnings}),
        "figures": render_part("watch/figures.html.j2", {"facts": _list_facts(shown)}),
        "curves": render_part("watch/curves.html.j2", {"charts": [*curves.main, *_draw_steps(shown)]}),
        "terms": render_part("watch/terms.html.j2", {"terms": _tabulate_terms(shown), "charts": curves.terms}),
        "epochs": render_part(
            "watch/epochs.html.j2",
            {
                "columns": name_epoch_columns(shown.record),
                "rows": rows[-_MOST_EPOCHS:],
                "left_out": max(0, len(rows) - _MOST_EPOCHS),
            },
        ),
        "files": render_part("watch/files.html.j2", {"files": files}),
    }
    title = f"{say_share(shown)} {view.record.name}" if view.state.goes_on else f"{view.record.name}, {view.state}"
    return Page(title, view.heading, parts, _RUN_SECTIONS, _say_news(view, shown), view.state is State.FINISHED, up)


def _mark_commands(words: str) -> Markup:
    """Return a sentence with what stands between backticks set as a command."""
    parts = words.split("`")
    if len(parts) % 2 == 0:
        return escape(words)
    return Markup("").join(Markup("<code>{}</code>").format(p) if k % 2 else escape(p) for k, p in enumerate(parts))


def say_share(view: RunView) -> str:
    """Say how much of a run is done."""
    return f"{100 * view.fraction:.0f}\u00a0%"


def _say_progress(view: RunView) -> str:
    """Say how far a run is in a sentence."""
    if view.epoch is None:
        return "No step is logged yet."
    of = "" if view.epochs is None else f" of {view.epochs}"
    if view.state is State.FINISHED:
        time = "" if view.seconds is None else f" in {duration(view.seconds)}"
        return f"Finished after {view.epoch} epochs{time}."
    said = f"Epoch {view.epoch}{of}, {say_share(view)} done"
    if view.seconds_left is not None:
        said += f", {'at most' if view.is_at_most else 'about'} {duration(view.seconds_left)} left"
    return f"{said}."


def _say_news(view: RunView, shown: RunView) -> str:
    """Say what those who listen to the page are told: a new state, or a new epoch."""
    if not view.state.goes_on or not shown.validation:
        return f"{view.record.name}: {view.state}. {view.words}"
    epoch, score = shown.validation[-1]
    return f"Epoch {epoch:.0f}: validation {shown.record.headline_name} {percent(score)}."


def _list_facts(view: RunView) -> list[tuple[str, str]]:
    run, log = view.record, view.recent
    right = "exact_match" if run.is_multi_label else "accuracy"
    last: Callable[..., float | None] = lambda *keys: next((y for _, y in log.by_epoch(*keys)[-1:]), None)  # noqa: E731
    trained = "training, all labels right" if run.is_multi_label else "training accuracy"
    total = "" if view.total_steps is None else f" of {count(view.total_steps)}"
    facts: dict[str, str | None] = {
        "teacher": run.teacher_name,
        f"validation {run.headline_name}": _write(last("val", run.headline), percent),
        "best so far": None if view.best is None else f"{percent(view.best[1])}, epoch {view.best[0]}",
        "mean recall of the classes (UAR)": _write(last("val", "uar"), percent),
        trained: _write(last("train", right), percent),
        "agreement with the teacher": _write(last("val", "agreement"), percent),
        "loss": _write(view.loss, decimal),
        "learning rate": _write(view.lr, decimal),
        "steps": f"{count(view.done_steps)}{total}" if view.done_steps else None,
        "images per second": _write(view.images_per_second, count),
        "most memory": _write(view.peak_memory, say_bytes),
        "time so far": _write(view.seconds, duration),
    }  # fmt: skip
    for split in ("test", "val"):
        facts[f"kept weights, {split}"] = _write(run.score(split), percent)
    return [(name, value) for name, value in facts.items() if value is not None]


def _write(value: float | None, write: Callable[[float], str]) -> str | None:
    return None if value is None else write(value)


def _draw_steps(view: RunView) -> list[Chart]:
    """Draw the loss of the steps; before the first epoch the learning curves begin with it."""
    if not view.record.log.epochs:
        return []
    series = Series("training", "student", view.record.log.by_step("loss"))
    drawn = draw_curves("Loss of each step", [series], write=decimal, x_name="step")
    return [] if drawn is None else [drawn]


def _tabulate_terms(view: RunView) -> list[dict[str, str]]:
    return [
        {
            "name": term.name,
            "raw": decimal(term.raw),
            "weighted": decimal(term.weighted),
            "share": percent(term.share, 0),
        }
        for term in view.terms
    ]
