"""The learning curves of a run."""

from __future__ import annotations

from dataclasses import dataclass

from dropkd.report.charts import Chart, Series, draw_curves, draw_shares
from dropkd.report.plane import SMALL
from dropkd.report.run_record import RunRecord
from dropkd.report.wording import decimal, percent, whole_percent

__all__ = ["LOOKS", "CurveSection", "EpochRow", "draw_learning_curves", "name_epoch_columns", "tabulate_epochs"]

# The classes of the style sheet for things without a colour of their own, in order.
LOOKS = tuple(f"hue{k}" for k in range(1, 7))


@dataclass(frozen=True)
class CurveSection:
    """The charts of a page: the main ones, and one small chart per loss term."""

    main: tuple[Chart, ...]
    terms: tuple[Chart, ...]


@dataclass(frozen=True)
class EpochRow:
    """What one epoch's line of the log says, as text."""

    epoch: int
    is_selected: bool
    cells: tuple[str, ...]


_COLUMNS = ("Train loss", "Val loss", "Train accuracy", "Val accuracy", "Agreement, val", "Learning rate")
_LABEL_COLUMNS = ("Train loss", "Val loss", "Train, all right", "Val, all right", "Val mAP", *_COLUMNS[-2:])


def draw_learning_curves(run: RunRecord) -> CurveSection:
    """Draw what the log holds; charts without points are left out."""
    selected = _selected_epoch(run)
    mark = None if selected is None else float(selected + 1)
    judged = _draw_precision(run, mark) if run.is_multi_label else _draw_accuracy(run, mark)
    main = [judged, _draw_loss(run, mark), _draw_agreement(run, mark)]
    if run.is_multi_label:
        main.insert(1, _draw_matches(run, mark))
    main += [_draw_term_shares(run), _draw_weighted_terms(run), _draw_rate(run)]
    if not run.log.epochs:
        main.insert(0, _draw_loss_by_step(run))
    return CurveSection(tuple(c for c in main if c), _draw_raw_terms(run))


def name_epoch_columns(run: RunRecord) -> tuple[str, ...]:
    """Return the headings of :func:`tabulate_epochs`."""
    return _LABEL_COLUMNS if run.is_multi_label else _COLUMNS


def tabulate_epochs(run: RunRecord) -> list[EpochRow]:
    """Return the figures behind the curves."""
    read, right = run.log.by_epoch, "exact_match" if run.is_multi_label else "accuracy"
    columns = [
        (dict(read("train", "loss")), decimal),
        (dict(read("val", "loss")), decimal),
        (dict(read("train", right)), percent),
        (dict(read("val", right)), percent),
        *([(dict(read("val", "map")), percent)] if run.is_multi_label else []),
        (dict(read("val", "agreement")), percent),
        (dict(read("lr")), decimal),
    ]
    selected = _selected_epoch(run)
    return [
        EpochRow(n + 1, n == selected, tuple(write(values.get(n + 1)) for values, write in columns))
        for n in (event["epoch"] for event in run.log.epochs)
    ]


def _selected_epoch(run: RunRecord) -> int | None:
    named = run.figure("selected", "epoch")
    return run.log.selected if named is None else int(named)


def _draw_accuracy(run: RunRecord, mark: float | None) -> Chart | None:
    series = [
        Series("validation", "student", run.log.by_epoch("val", "accuracy")),
        Series("training", "train", run.log.by_epoch("train", "accuracy")),
    ]
    if test := run.log.by_epoch("test", "accuracy"):
        series.append(Series("test, no part in any choice", "hue5", test))
    if run.baseline is not None:
        series.append(Series("trained alone, validation", "alone", run.baseline.log.by_epoch("val", "accuracy")))
    teacher = run.figure("teacher", "splits", "val", "accuracy")
    if teacher is not None:
        series.append(Series("teacher, validation", "teacher", [(0.0, teacher)], is_level=True))
    note = "Training accuracy is counted while the student learns, on altered images, so it can lie below validation."
    return draw_curves("Accuracy", series, write=percent, write_tick=whole_percent, mark=mark, note=note)


def _draw_precision(run: RunRecord, mark: float | None) -> Chart | None:
    series = [Series("validation", "student", run.log.by_epoch("val", "map"))]
    if test := run.log.by_epoch("test", "map"):
        series.append(Series("test, no part in any choice", "hue5", test))
    if run.baseline is not None:
        series.append(Series("trained alone, validation", "alone", run.baseline.log.by_epoch("val", "map")))
    teacher = run.teacher_score("val")
    if teacher is not None:
        series.append(Series("teacher, validation", "teacher", [(0.0, teacher)], is_level=True))
    return draw_curves("Mean average precision", series, write=percent, write_tick=whole_percent, mark=mark)


def _draw_matches(run: RunRecord, mark: float | None) -> Chart | None:
    series = [
        Series("validation", "student", run.log.by_epoch("val", "exact_match")),
        Series("training", "train", run.log.by_epoch("train", "exact_match")),
    ]
    note = "The share of images with all labels right and no other. Training images are altered."
    return draw_curves("All labels right", series, write=percent, write_tick=whole_percent, mark=mark, note=note)


def _draw_loss(run: RunRecord, mark: float | None) -> Chart | None:
    series = [
        Series("validation", "student", run.log.by_epoch("val", "loss")),
        Series("training", "train", run.log.by_epoch("train", "loss")),
    ]
    note = (
        "Training adds up all weighted terms; validation is the cross-entropy alone." if len(run.log.terms) > 1 else ""
    )
    return draw_curves("Loss", series, write=decimal, mark=mark, note=note)


def _draw_agreement(run: RunRecord, mark: float | None) -> Chart | None:
    series = [
        Series("validation", "student", run.log.by_epoch("val", "agreement")),
        Series("training", "train", run.log.by_epoch("train", "agreement")),
    ]
    return draw_curves("Agreement with the teacher", series, write=percent, write_tick=whole_percent, mark=mark)


def _term_series(run: RunRecord, what: str) -> list[Series]:
    return [
        Series(term, LOOKS[k % len(LOOKS)], run.log.by_epoch("train", "terms", term, what))
        for k, term in enumerate(run.log.terms)
    ]


def _draw_term_shares(run: RunRecord) -> Chart | None:
    if len(run.log.terms) < 2:
        return None
    note = "How much each weighted term adds to the loss."
    return draw_shares(
        "Share of each loss term", _term_series(run, "share"), write=percent, write_tick=whole_percent, note=note
    )


def _draw_weighted_terms(run: RunRecord) -> Chart | None:
    if len(run.log.terms) < 2:
        return None
    return draw_curves("Loss terms, weighted", _term_series(run, "weighted"), write=decimal, reach=(0.0,))


def _draw_raw_terms(run: RunRecord) -> tuple[Chart, ...]:
    drawn = [draw_curves(series.name, [series], write=decimal, size=SMALL) for series in _term_series(run, "raw")]
    return tuple(chart for chart in drawn if chart) if len(drawn) > 1 else ()


def _draw_rate(run: RunRecord) -> Chart | None:
    by_step = run.log.by_step("lr")
    if len(by_step) > 1:
        return draw_curves(
            "Learning rate", [Series("rate", "rate", by_step)], write=decimal, x_name="step", reach=(0.0,)
        )
    return draw_curves("Learning rate", [Series("rate", "rate", run.log.by_epoch("lr"))], write=decimal, reach=(0.0,))


def _draw_loss_by_step(run: RunRecord) -> Chart | None:
    return draw_curves("Loss", [Series("training", "student", run.log.by_step("loss"))], write=decimal, x_name="step")
