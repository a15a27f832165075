"""The first words of a comparison: who is ahead, and by how much that is more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dropkd.report.groups import Gain, Group
from dropkd.report.summary import SPLIT_NAMES, describe_difference, describe_single_seed
from dropkd.report.wording import count, interval_of_points, join_words, percent, plural
from dropkd.statistics.intervals import Spread

__all__ = ["Standing", "Verdict", "describe_standing"]


@dataclass(frozen=True)
class Verdict:
    """A sentence on one group, and ``better``, ``worse`` or ``unclear``."""

    words: Markup
    tone: str


@dataclass(frozen=True)
class Standing:
    """The words at the top of a comparison."""

    lead: Markup
    verdicts: tuple[Verdict, ...]
    details: tuple[str, ...]


def describe_standing(groups: Sequence[Group], gains: Sequence[Gain], split: str) -> Standing:
    """Return the words for groups of runs on a split."""
    verdicts = tuple(v for g, gain in zip(groups, gains, strict=True) if (v := _judge(g, gain)))
    details = []
    unjudged = [g.label for g, gain in zip(groups, gains, strict=True) if not g.is_plain and not gain.single]
    if unjudged:
        details.append(
            f"No finished run here trained the student of {join_words(unjudged)} alone with the same seed, "
            "so the page can\u2019t show whether it helped."
        )
    singles = [d for gain in gains if gain.over_seeds and gain.over_seeds.count == 1 for d in gain.single.values()]
    if singles:
        details.append(describe_single_seed(max(singles, key=lambda d: d.margin)))
    if len(verdicts) > 1:
        details.append(
            f"The page makes {len(verdicts)} comparisons, each with its own interval: "
            "the more there are, the likelier one of them looks better by luck."
        )
    return Standing(_describe_lead(groups, split), verdicts, tuple(details))


def _describe_lead(groups: Sequence[Group], split: str) -> Markup:
    spreads = [(group, spread) for group in groups if (spread := group.spread(split))]
    if not spreads:
        return Markup("None of these runs has finished; the learning curves show how far they are.")
    best, top = max(spreads, key=lambda pair: pair[1].mean)
    images = next((n for run in best.runs if (n := run.figure("splits", split, "images"))), None)
    of_what = f"the {count(images)} {SPLIT_NAMES[split]} images" if images else f"the {SPLIT_NAMES[split]} images"
    verb = "answers the largest share right" if len(spreads) > 1 else "answers this share right"
    opening = "Of"
    if best.runs[0].is_multi_label:
        opening, verb = "On", "has the highest mAP" if len(spreads) > 1 else "has this mAP"
    said = Markup("{} {} <strong>{}</strong> {}: <strong>{}</strong>{}").format(
        opening, of_what, best.label, verb, percent(top.mean), _describe_seeds(top)
    )
    teacher = next((t for run in best.runs if (t := run.teacher_score(split))), None)
    if teacher:
        said += Markup("; its teacher has {}").format(percent(teacher))
    return said + Markup(".")


def _describe_seeds(spread: Spread) -> str:
    if spread.deviation is None:
        return ""
    return (
        f" on average over {plural(spread.count, 'run')} (standard deviation {100 * spread.deviation:.1f}\u00a0points)"
    )


def _judge(group: Group, gain: Gain) -> Verdict | None:
    """Judge a group against the plain runs: over seeds where there are several, else over the images of one run."""
    if gain.over_seeds is None:
        return None
    if gain.over_seeds.interval is None:
        difference = next(iter(gain.single.values()))
        return Verdict(describe_difference(group.label, difference), difference.verdict)
    mean, interval = gain.over_seeds.mean, gain.over_seeds.interval
    tone = "better" if interval[0] > 0 else "worse" if interval[1] < 0 else "unclear"
    opening = {"better": "helped", "worse": "did harm"}.get(tone, "shows no clear gain" if mean > 0 else "did not help")
    chance = "" if tone != "unclear" else "; the seeds differ too much to tell"
    place = f"{abs(100 * mean):.1f}\u00a0points {'above' if mean > 0 else 'below'}"
    words = Markup("<strong>{} {}:</strong> {} the same student trained alone ({}; 95\u00a0% interval {}){}.").format(
        group.label, opening, place, f"mean over {gain.over_seeds.count} seeds", interval_of_points(interval), chance
    )
    return Verdict(words, tone)
