"""A run or a group as it stands, for a terminal: how far, how well, how fast, and what to be wary of."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.console import Console, ConsoleOptions, ConsoleRenderable, Group, RenderResult
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from dropkd.files import say_bytes
from dropkd.report.wording import count, decimal, duration, percent
from dropkd.watching.group_table import draw_group
from dropkd.watching.group_watch import GroupView
from dropkd.watching.states import State
from dropkd.watching.strokes import Curve, draw_course, draw_plane
from dropkd.watching.terminal_text import BAR, ascii_text, plain_text, state_style
from dropkd.watching.view import RunView

__all__ = ["LiveView"]

_STUDENT, _TRAIN, _ALONE = "bright_blue", "cyan", "white"
_WORDS = (("validation", _STUDENT), ("training", _TRAIN), ("each step", _TRAIN), ("trained alone", _ALONE))
_COURSE = 24
# Two planes side by side need so many columns, and a plane so many lines; more than the latter tell no more.
_LEAST_WIDTH, _LEAST_LINES, _MOST_LINES = 72, 3, 10
# The lines of a terminal that tells no height.
_USUAL_HEIGHT = 40


class LiveView:
    """Draws what was seen last, as large as the terminal is.

    Args:
        view: what was seen.
        hint: the last line, on the keys; empty for none.
    """

    def __init__(self, view: RunView | GroupView, hint: str = "") -> None:
        self.view, self.hint = view, hint

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Return the lines, fitted to the console."""
        height = (options.height or console.height) if console.is_terminal else _USUAL_HEIGHT
        draw = draw_group if isinstance(self.view, GroupView) else _draw_run
        drawn = draw(self.view, options.max_width, height - bool(self.hint), options.ascii_only)  # type: ignore[arg-type]
        whole = Group(drawn, Text(self.hint, style="dim")) if self.hint else drawn
        if not options.ascii_only:
            yield whole
            return
        for segment in console.render(whole, options):
            yield segment if segment.control else Segment(ascii_text(segment.text), segment.style)


def _draw_run(view: RunView, width: int, height: int, ascii_only: bool) -> ConsoleRenderable:
    top: list[ConsoleRenderable] = [_draw_head(view, width), *_draw_words(view)]
    if view.baseline is not None and view.state is State.BASELINE:
        inner = _draw_run(view.baseline, width, height - len(top), ascii_only)
        return Group(*top, inner)
    if view.total_steps or view.fraction:
        top.append(_draw_bar(view, width))
    top += [Text(line) for line in _list_facts(view)]
    bottom = [*_draw_terms(view, width, ascii_only), *_draw_warnings(view)]
    used = sum(_height_of(part, width) for part in (*top, *bottom))
    charts = [] if ascii_only else _draw_charts(view, width, min(_MOST_LINES, height - used - 3))
    return Group(*top, *charts, *bottom)


def _height_of(part: ConsoleRenderable, width: int) -> int:
    if isinstance(part, Table):
        return part.row_count + bool(part.show_header)
    if isinstance(part, Text) and not part.no_wrap:
        return max(1, -(-len(part.plain) // max(1, width)))
    return 1


def _draw_head(view: RunView, width: int) -> Text:
    run = view.record
    state = Text(f"  {view.state}", style=state_style(view.state))
    seed = "" if run.seed is None else f"  seed {run.seed}"
    head = Text.assemble((plain_text(run.name), "bold"), "  ", plain_text(view.title), (seed, "dim"), no_wrap=True)
    head.truncate(max(10, width - len(state)), overflow="ellipsis")
    return head + state


def _draw_words(view: RunView) -> list[Text]:
    return [Text(plain_text(view.words))] if view.words else []


def _draw_bar(view: RunView, width: int) -> Table:
    row = Table.grid(padding=(0, 2))
    total = f"/{count(view.total_steps)}" if view.total_steps else ""
    cells = [
        Text(f"{100 * view.fraction:.0f} %"),
        Text(f"{count(view.done_steps)}{total} steps"),
    ]
    if view.seconds_left is not None:
        cells.append(Text(f"{'at most ' if view.is_at_most else ''}{duration(view.seconds_left)} left", style="bold"))
    if view.seconds is not None and width >= _LEAST_WIDTH:
        cells.append(Text(f"{duration(view.seconds)} so far" if view.state.goes_on else f"in {duration(view.seconds)}"))
    for cell in cells:
        cell.no_wrap = True
    row.add_row(ProgressBar(total=1.0, completed=view.fraction, width=max(8, min(BAR, width // 4))), *cells)
    return row


def _list_facts(view: RunView) -> Iterator[str]:
    log, of = view.recent, "" if view.epochs is None else f"/{view.epochs}"
    memory = None if view.peak_memory is None else f"memory {say_bytes(view.peak_memory)} at most"
    pace = None if view.images_per_second is None else f"{count(view.images_per_second)} images/s"
    first = [
        None if view.epoch is None else f"epoch {view.epoch}{of}",
        _tell("loss", view.loss, decimal),
        _tell("lr", view.lr, decimal),
        pace,
        memory,
    ]
    name = view.record.headline_name
    right = "exact_match" if view.record.is_multi_label else "accuracy"
    train, agreement, uar = log.by_epoch("train", right), log.by_epoch("val", "agreement"), log.by_epoch("val", "uar")
    is_uneven = bool(log.epochs and log.epochs[-1].get("imbalanced"))
    second = [
        _tell(f"val {name}", view.validation[-1][1] if view.validation else None, percent),
        _tell("UAR", uar[-1][1] if uar and is_uneven else None, percent),
        None if view.best is None else f"best {percent(view.best[1])} (epoch {view.best[0]})",
        _tell("train", train[-1][1] if train else None, percent),
        _tell("agreement", agreement[-1][1] if agreement else None, percent),
    ]
    third = [_tell_final(view, split) for split in ("test", "val")] if view.state is State.FINISHED else []
    for parts in (first, second, third):
        if said := "   ".join(part for part in parts if part):
            yield said


def _tell(name: str, value: float | None, write: Callable[[float], str]) -> str | None:
    return None if value is None else f"{name} {write(value)}"


def _tell_final(view: RunView, split: str) -> str | None:
    score, teacher = view.record.score(split), view.record.teacher_score(split)
    if score is None:
        return None
    beside = "" if teacher is None else f" (its teacher {percent(teacher)})"
    return f"kept weights on {split}: {percent(score)}{beside}"


def _draw_charts(view: RunView, width: int, lines: int) -> list[ConsoleRenderable]:
    if lines < _LEAST_LINES:
        return []
    run, log = view.record, view.record.log
    judged, key = [], "exact_match" if run.is_multi_label else "accuracy"
    if view.baseline is not None:
        judged.append(Curve(view.baseline.validation, _ALONE))
    judged += [Curve(log.by_epoch("train", key), _TRAIN), Curve(view.validation, _STUDENT)]
    losses = [Curve(log.by_epoch("train", "loss"), _TRAIN), Curve(log.by_epoch("val", "loss"), _STUDENT)]
    losses_name = "loss: validation, training"
    if len(log.by_epoch("train", "loss")) < 2:
        losses, losses_name = [Curve(log.by_step("loss"), _TRAIN)], "loss of each step"
    alone = ", trained alone" if view.baseline is not None else ""
    planes: list[tuple[str, list[Curve], Callable[[float], str]]] = [
        (f"{run.headline_name}: validation, training{alone}", judged, percent),
        (losses_name, losses, decimal),
    ]
    planes = [plane for plane in planes if any(len(curve.points) > 1 for curve in plane[1])]
    beside = 2 if width >= _LEAST_WIDTH and len(planes) > 1 else 1
    each = (width - 3 * (beside - 1)) // beside
    row = Table.grid(padding=(0, 3, 0, 0), expand=False)
    drawn = [Text("\n").join([_name_plane(n, each), *draw_plane(c, each, lines, w)]) for n, c, w in planes[:beside]]
    if not drawn:
        return []
    row.add_row(*drawn)
    return [Text(""), row]


def _name_plane(name: str, width: int) -> Text:
    """Return a plane's name with each curve's word in its colour."""
    said = Text(name, no_wrap=True)
    for word, style in _WORDS:
        said.highlight_words([word], style)
    said.truncate(width, overflow="ellipsis")
    return said


def _draw_terms(view: RunView, width: int, ascii_only: bool) -> list[ConsoleRenderable]:
    if not view.terms:
        return []
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(12, width // 3))
    for _ in range(3):
        table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_row("", *(Text(name, style="dim") for name in ("value", "weighted", "share", "course")))
    for term in view.terms:
        table.add_row(
            Text(plain_text(term.name)),
            decimal(term.raw),
            decimal(term.weighted),
            percent(term.share, 0),
            Text(draw_course(term.course, min(_COURSE, width // 3), ascii_only=ascii_only), style=_TRAIN),
        )
    return [Text(""), table]


def _draw_warnings(view: RunView) -> list[ConsoleRenderable]:
    return [Text.assemble(("warning: ", "bold yellow"), plain_text(text)) for text in view.warnings]
