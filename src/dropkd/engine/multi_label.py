"""What a run on images with several labels can't do, said before its first step."""

from __future__ import annotations

from dropkd.config import Config
from dropkd.errors import ConfigError
from dropkd.models import Network
from dropkd.models.teachers.mapped import MappedTeacher

__all__ = ["check_cache", "check_label_map", "choose_score"]

_OF_ONE_CLASS = ("accuracy", "uar")


def check_cache(config: Config) -> None:
    """Make sure that the teacher's logits are kept whole: what is not kept would be read as shares of one certainty.

    Raises:
        ConfigError: only the largest are to be kept.
    """
    top = config.cache.top_logits
    if top is not None:
        raise ConfigError(
            f"'cache.top_logits' is {top}, which keeps the sum of the other classes' probabilities in place of "
            "each, but these images have several labels or none, and their probabilities do not add up to 1. "
            "Leave it out: all logits are kept then."
        )


def choose_score(chosen: str, multi_label: bool) -> str | None:
    """Return the score that picks the epoch by the labels alone; None where it takes more to tell.

    Raises:
        ConfigError: the chosen one is not that of such labels.
    """
    if multi_label and chosen in _OF_ONE_CLASS:
        raise ConfigError(
            f"'training.select_by' is {chosen!r}, but these images have several labels or none. Use 'map' or 'loss'."
        )
    if not multi_label and chosen == "map":
        raise ConfigError(
            "'training.select_by' is 'map', the mean average precision of images with several labels, but these have "
            "one class each. Use 'accuracy', 'uar' or 'loss'."
        )
    return "map" if multi_label and chosen == "auto" else None


def check_label_map(teacher: Network) -> None:
    """Make sure that no label map adds up the probabilities of classes that do not exclude each other.

    Raises:
        ConfigError: it leads several of the teacher's classes to one.
    """
    if not isinstance(teacher, MappedTeacher):
        return
    joined = [k for k, numbers in enumerate(teacher.label_map.groups) if len(numbers) > 1]
    if joined:
        raise ConfigError(
            f"The label map leads several of the teacher's classes to {teacher.label_map.classes[joined[0]]!r}. Their "
            "probabilities add up only where an image has one class; these images have several labels or none. "
            "Lead one of the teacher's classes to each of yours."
        )
