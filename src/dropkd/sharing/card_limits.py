"""What a model card warns of, as far as the run itself tells it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dropkd.report.confusion import worst_pairs
from dropkd.report.run_record import RunRecord
from dropkd.report.summary import SPLIT_NAMES
from dropkd.sharing.card_figures import write_figure
from dropkd.sharing.markdown import as_text

__all__ = ["list_limits"]

# A class with fewer training images has hardly been learned, and one with fewer test images hardly been judged.
_FEW_TRAINED, _FEW_JUDGED = 20, 20
# Half of the interval, in points, from which on the figure itself says little.
_WIDE = 0.05
# Points by which probabilities are off on average.
_BADLY_CALIBRATED = 0.05
_MOST_NAMED = 8
_MOST_PAIRS = 3


def list_limits(run: RunRecord, split: str) -> list[str]:
    """Return the sentences, in Markdown, those that weigh most first.

    Args:
        run: a finished run.
        split: the split that the card's figures are of.
    """
    parts = (_classes, _selection, _images, _uneven, _mistakes, _calibration, _seeds, _training, _teacher)
    return [sentence for part in parts for sentence in part(run, split)]


def _classes(run: RunRecord, split: str) -> Iterator[str]:
    number = len(run.classes or ())
    if run.is_multi_label:
        yield (
            f"It knows {number:,} labels and nothing else. A label is given at a probability of 0.5 or more; an image "
            "may get none."
        )
        return
    yield (
        f"It knows {number:,} classes and nothing else: it gives one of them to every image, also to one that shows "
        "something else."
    )


def _selection(run: RunRecord, split: str) -> Iterator[str]:
    by = run.figure_text("selected", "by") or ""
    if split == "val" and "val" in by:
        yield (
            "The data had no test images. The figures are of validation images, which also picked the epoch that was "
            "kept, so they are better than what new images will show."
        )
    elif by == "last epoch":
        yield "There were no validation images: the last epoch was kept, whether or not an earlier one was better."
    if "test" in by:
        yield f"The epoch was picked by {as_text(by)}: the test figures are better than what new images will show."
    bonus = run.figure("selection_bonus", "bonus")
    if bonus is not None and bonus > 0:
        yield (
            f"Picked on the test images, another epoch would have shown {100 * bonus:.2f} points more; that choice was "
            "not made."
        )


def _images(run: RunRecord, split: str) -> Iterator[str]:
    table = run.metrics["splits"][split].get("by_class") or {}
    bounds = run.metrics["splits"][split].get("intervals", {}).get(run.headline)
    if bounds and None not in bounds and (bounds[1] - bounds[0]) / 2 > _WIDE:
        images = run.figure("splits", split, "images") or 0
        yield (
            f"Only {images:,} images judged it: its {run.headline_name} is known no better than "
            f"{100 * bounds[0]:.0f} to {100 * bounds[1]:.0f} %."
        )
    judged = [count for count in table.get("images") or [] if isinstance(count, int)]
    unseen = [number for number, count in enumerate(judged) if count == 0]
    if unseen:
        yield f"No {SPLIT_NAMES[split]} image at all of {_name(run, unseen)}: how it does there is not known."
    few = [number for number, count in enumerate(judged) if 0 < count < _FEW_JUDGED]
    if few:
        which = f"{SPLIT_NAMES[split]} images of {_name(run, few)}"
        yield f"Fewer than {_FEW_JUDGED} {which}: figures of a class say little."
    trained = [count for count in run.metrics.get("class_counts") or [] if isinstance(count, int)]
    poor = [number for number, count in enumerate(trained) if count < _FEW_TRAINED]
    if poor:
        yield f"Fewer than {_FEW_TRAINED} training images of {_name(run, poor)}."


def _uneven(run: RunRecord, split: str) -> Iterator[str]:
    counts = [count for count in run.metrics.get("class_counts") or [] if isinstance(count, int) and count]
    if not counts or not run.metrics.get("imbalanced"):
        return
    uar = run.figure("splits", split, "uar")
    said = "" if uar is None else f"; the mean recall of the classes is {write_figure('uar', uar)}"
    yield (
        f"The classes are uneven, {min(counts):,} to {max(counts):,} training images: accuracy is mostly that of the "
        f"large ones{said}."
    )


def _mistakes(run: RunRecord, split: str) -> Iterator[str]:
    answers = run.predictions.get(split)
    if answers is None or not len(answers.target):
        return
    pairs = worst_pairs(answers.target, answers.student.prediction, _MOST_PAIRS)
    told = [
        f"{as_text(run.class_name(true))} taken for {as_text(run.class_name(taken))} ({count:,} of "
        f"{int((answers.target == true).sum()):,})"
        for true, taken, count in pairs
    ]
    if told:
        yield f"Its commonest mistakes on the {SPLIT_NAMES[split]} images: {'; '.join(told)}."


def _calibration(run: RunRecord, split: str) -> Iterator[str]:
    ece = run.figure("splits", split, "ece")
    if ece is None or ece <= _BADLY_CALIBRATED:
        return
    table = run.metrics["splits"][split].get("reliability") or {}
    bins = zip(*(table.get(key) or [] for key in ("images", "confidence", "accuracy")), strict=True)
    gap = sum(count * (confidence - accuracy) for count, confidence, accuracy in bins if count)
    which = "too high" if gap > 0 else "too low" if gap < 0 else "off"
    yield f"Its probabilities are {which}, by {100 * ece:.0f} points on average: calibrate them before relying on them."


def _seeds(run: RunRecord, split: str) -> Iterator[str]:
    yield (
        "The intervals come from drawing the images anew. This is one training: another seed, and images from another "
        "place, camera or time, move the figures further than that."
    )


def _training(run: RunRecord, split: str) -> Iterator[str]:
    changed = run.metrics.get("relabelled")
    if changed:
        yield "The method changed labels of training images that it took to be wrong."
    unlabelled = run.figure("unlabelled", "images")
    if unlabelled:
        yield f"{unlabelled:,} images without labels were learned from too, through the teacher's answers alone."
    done, planned = run.figure("stopped_early", "epochs"), run.figure("stopped_early", "planned")
    if done is not None and planned is not None:
        yield f"Training stopped after {int(done)} of {int(planned)} epochs, as nothing improved any more."


def _teacher(run: RunRecord, split: str) -> Iterator[str]:
    shared, student, teacher = (
        run.figure("splits", split, "shared_errors"),
        run.score(split),
        run.teacher_score(split),
    )
    if shared is not None and shared > 0:
        yield (
            f"It learned from a teacher and shares its blind spots: {write_figure('shared_errors', shared)} of its "
            "mistakes are the teacher's very mistakes."
        )
    if student is not None and teacher is not None and student > teacher:
        yield f"On these images the teacher itself is weaker ({write_figure('accuracy', teacher)})."


def _name(run: RunRecord, numbers: Sequence[int]) -> str:
    shown = ", ".join(as_text(run.class_name(number)) for number in numbers[:_MOST_NAMED])
    more = len(numbers) - _MOST_NAMED
    return f"{shown} and {more:,} other classes" if more > 0 else shown
