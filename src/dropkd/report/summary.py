"""The first words of a run's page: how good the student is, and whether the method helped."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from dropkd.report.pairing import Difference, accuracy_interval, compare_runs
from dropkd.report.run_record import RunRecord
from dropkd.report.wording import (
    count,
    interval_of_percents,
    interval_of_points,
    p_value,
    percent,
    plural,
    rough_percent,
)

__all__ = ["SPLIT_NAMES", "Summary", "describe_difference", "describe_single_seed", "summarise"]

SPLIT_NAMES = {"test": "test", "val": "validation"}


@dataclass(frozen=True)
class Summary:
    """The words at the top.

    Args:
        lead: the main sentence.
        verdict: whether the method helped; empty without a plain run.
        tone: ``better``, ``worse`` or ``unclear`` for the verdict's mark; empty without one.
        details: further sentences.
    """

    lead: Markup
    verdict: Markup
    tone: str
    details: tuple[Markup, ...]


def summarise(run: RunRecord) -> Summary:
    """Return the words for a run, finished or not."""
    if run.split is None:
        return Summary(_describe_progress(run), Markup(""), "", ())
    difference = _difference_to_plain(run)
    verdict = Markup("")
    if difference:
        verdict = describe_difference(run.method, difference) + " " + describe_single_seed(difference)
    details = [
        _describe_weak_teacher(run, run.split),
        _describe_interval(run, run.split),
        _describe_label_figures(run, run.split),
        _describe_agreement(run, run.split),
        _describe_uneven_classes(run, run.split),
        _describe_selection(run),
        _describe_early_stop(run),
    ]
    if run.status != "finished":
        details.insert(0, _describe_progress(run))
    return Summary(
        _describe_student(run, run.split),
        verdict,
        difference.verdict if difference else "",
        tuple(d for d in details if d),
    )


def describe_difference(method: str, difference: Difference) -> Markup:
    """Say whether a method helped, and how sure that is."""
    value, against = abs(100 * difference.value), "the same student trained alone"
    points = f"{value:.1f}\u00a0points{' of mAP' if difference.is_map else ''}"
    gap = f"{points} {'above' if difference.value > 0 else 'below'} {against}"
    gap = f"exactly level with {against}" if difference.value == 0 else gap
    sure = f"95\u00a0% interval {interval_of_points(difference.interval)}"
    if difference.paired:
        sure += f", McNemar {p_value(difference.paired.p_value)}"
    return _open_verdict(difference).format(method, gap, sure)


def describe_single_seed(difference: Difference) -> Markup:
    """Say what a comparison of one seed can't tell."""
    bound = f"{100 * difference.margin:.1f}"
    return Markup(
        "This is one seed: on this many images differences below about {}\u00a0points mean little, "
        "and another seed moves both figures."
    ).format(bound)


def _open_verdict(difference: Difference) -> Markup:
    if difference.verdict == "better":
        return Markup("<strong>{} helped:</strong> {} ({}).")
    if difference.verdict == "worse":
        return Markup("<strong>{} did harm:</strong> {} ({}).")
    if difference.value > 0:
        return Markup("<strong>{} shows no clear gain:</strong> {} ({}); chance alone could explain the gap.")
    return Markup("<strong>{} did not help:</strong> {} ({}); chance alone could explain the gap.")


def _difference_to_plain(run: RunRecord) -> Difference | None:
    plain = run.baseline
    if plain is None or run.split is None:
        return None
    return compare_runs(run, plain, run.split)


def _describe_student(run: RunRecord, split: str) -> Markup:
    score, images = run.score(split) or 0.0, run.figure("splits", split, "images")
    parameters = run.figure("student", "parameters")
    size = f", {count(parameters)} parameters" if parameters else ""
    of_what = f"the {count(images)} {SPLIT_NAMES[split]} images" if images else f"the {SPLIT_NAMES[split]} images"
    words = Markup("The student ({}{}) answers <strong>{}</strong> of {} right")
    if run.is_multi_label:
        words = Markup("The student ({}{}) has a mean average precision (mAP) of <strong>{}</strong> on {}")
    said = words.format(run.student_name, size, percent(score), of_what)
    return said + _describe_ratio(run, split, score)


def _describe_ratio(run: RunRecord, split: str, score: float) -> Markup:
    """Say how much of the teacher's figure is kept, and with how much of its size and work."""
    teacher = run.teacher_score(split)
    if not teacher:
        unknown = Markup("; the teacher\u2019s own {} is not known.").format(run.headline_name)
        return Markup(".") if run.teacher_name is None else unknown
    kept, verb = score / teacher, "keeps" if score <= teacher else "reaches"
    words = Markup(" and {} <strong>{}</strong> of its teacher\u2019s {} ({})")
    said = words.format(verb, rough_percent(kept), run.headline_name, percent(teacher))
    names = {"parameters": "parameters", "macs": "multiply-adds (MACs)"}
    shares = [part for key, name in names.items() if (part := _describe_share(run, key, name))]
    return said + (Markup(" with ") + Markup(" and ").join(shares) if shares else "") + Markup(".")


def _describe_share(run: RunRecord, key: str, name: str) -> Markup:
    """Return the student's share of a number of the teacher's, in words; empty where either is not known."""
    mine, other = run.figure("student", key), run.figure("teacher", key)
    if not mine or not other:
        return Markup("")
    ratio = mine / other
    size = f"{rough_percent(ratio)} of its" if ratio < 1.005 else f"{ratio:.1f} times its"
    return Markup("<strong>{}</strong> {}").format(size, name)


def _describe_weak_teacher(run: RunRecord, split: str) -> Markup:
    """Say so where the teacher is no better than the student that it was meant to help."""
    teacher = run.teacher_score(split)
    alone = run.baseline.score(split) if run.baseline else None
    if teacher is None or alone is None or teacher > alone:
        return Markup("")
    return Markup(
        "The teacher ({}) is no better here than the student trained alone ({}), so there is little to learn from it."
    ).format(percent(teacher), percent(alone))


def _describe_interval(run: RunRecord, split: str) -> Markup:
    interval = accuracy_interval(run, split)
    if interval is None:
        return Markup("")
    images = int(run.figure("splits", split, "images") or 0)
    return Markup("From {} the 95\u00a0% interval of that {} is {}.").format(
        plural(images, "image"), run.headline_name, interval_of_percents(interval)
    )


def _describe_label_figures(run: RunRecord, split: str) -> Markup:
    """Say what else there is to say where images have several labels."""
    match, f1 = run.figure("splits", split, "exact_match"), run.figure("splits", split, "micro_f1")
    if match is None or f1 is None:
        return Markup("")
    return Markup(
        "At a probability of 0.5 it has all labels of <strong>{}</strong> of the images right, and an F1 of {} over "
        "all labels together."
    ).format(percent(match), percent(f1))


def _describe_agreement(run: RunRecord, split: str) -> Markup:
    agreement = run.figure("splits", split, "agreement")
    if agreement is None:
        return Markup("")
    what = "name the same labels for" if run.is_multi_label else "give the same answer to"
    return Markup("Student and teacher {} {} of these images.").format(what, percent(agreement))


def _describe_selection(run: RunRecord) -> Markup:
    epoch, last = run.figure("selected", "epoch"), run.figure("last_epoch", "epoch")
    by = run.figure_text("selected", "by")
    if epoch is None or by is None:
        return Markup("")
    of = f" of {int(last) + 1}" if last is not None else ""
    said = Markup("Epoch {}{} was kept, chosen by {}").format(int(epoch) + 1, of, by)
    is_untouched = "test" not in by and run.split == "test"
    said += "; the test images played no part in that choice." if is_untouched else "."
    bonus, best = run.figure("selection_bonus", "bonus"), run.figure("selection_bonus", "best_epoch")
    if bonus is None or best is None:
        return said
    if bonus <= 0:
        return said + " No epoch did better on the test images."
    return said + Markup(
        " Picked on the test images, epoch {} would have shown {} points more than can be expected of new images."
    ).format(int(best) + 1, f"{100 * bonus:.2f}")


def _describe_uneven_classes(run: RunRecord, split: str) -> Markup:
    """Say what accuracy hides where some classes have few images."""
    uar = run.figure("splits", split, "uar")
    listed = run.metrics.get("class_counts")
    counts = [n for n in (listed if isinstance(listed, list) else ()) if isinstance(n, int) and n > 0]
    if uar is None or not counts or not run.metrics.get("imbalanced"):
        return Markup("")
    return Markup(
        "The classes are uneven ({} to {} training images), so accuracy is mostly that of the large ones; the mean "
        "recall of the classes (UAR) is <strong>{}</strong>."
    ).format(count(min(counts)), count(max(counts)), percent(uar))


def _describe_early_stop(run: RunRecord) -> Markup:
    done, planned = run.figure("stopped_early", "epochs"), run.figure("stopped_early", "planned")
    patience, by = run.figure("stopped_early", "patience"), run.figure_text("selected", "by")
    if done is None or planned is None or patience is None or by is None:
        return Markup("")
    return Markup(
        "Training stopped after {} of {} epochs, {} without a better {}; "
        "the schedule of the learning rate was cut there."
    ).format(int(done), int(planned), int(patience), by)


def _describe_progress(run: RunRecord) -> Markup:
    states = {"interrupted": "was interrupted", "running": "is being trained"}
    state = states.get(run.status, "has not finished")
    done, planned = len(run.log.epochs), run.setting("training", "epochs")
    of = f" of {planned}" if isinstance(planned, int) else ""
    said = Markup("This run {}: {}{} {} logged.").format(
        state, done, of, "epoch is" if done == 1 and not of else "epochs are"
    )
    points = run.log.by_epoch("val", run.headline)
    if points:
        epoch, best = max(points, key=lambda point: point[1])
        how = f"{percent(best)} of the validation images right"
        how = f"a validation mAP of {percent(best)}" if run.is_multi_label else how
        said += Markup(" The best so far is epoch {} with {}.").format(int(epoch), how)
    return said
