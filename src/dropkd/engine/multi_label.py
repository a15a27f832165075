"""What a run on images with several labels can't do, said before its first step."""

from __future__ import annotations

from dropkd.config import Config
from dropkd.errors import ConfigError
from dropkd.models import Network
from dropkd.models.teachers.mapped import MappedTeacher

__all__ = ["check_label_map", "check_settings", "choose_score"]

_OF_ONE_CLASS = ("accuracy", "uar")


def check_settings(config: Config) -> None:
    """Make sure that no setting asks for the one class of each image.

    Raises:
        ConfigError: class weights, a sampling by class, or a score of one class that picks the epoch.
    """
    training = config.training
    why = "but these images have several labels or none"
    if training.class_weights != "none":
        raise ConfigError(
            f"'training.class_weights' is {training.class_weights!r}, which weighs each image by its one class, {why}. "
            "Leave it at 'none'; mAP, which picks the epoch, counts rare classes like all others."
        )
    if config.data.sampling != "shuffle":
        raise ConfigError(
            f"'data.sampling' is {config.data.sampling!r}, which draws images by their one class, {why}. "
            "Leave it at 'shuffle'."
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
