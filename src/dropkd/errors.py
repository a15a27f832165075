"""The errors that a user can mend; everything else is a bug of ours."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "ConfigError",
    "DataError",
    "DropKDError",
    "MissingLibraryError",
    "ModelError",
    "RunError",
    "TrainingError",
    "did_you_mean",
]


class DropKDError(Exception):
    """Something the user can mend. The command line prints its text and exits with 2."""


class ConfigError(DropKDError):
    """A key, a type or a value of the configuration is wrong."""


class DataError(DropKDError):
    """The images, their folders or their labels are not what training needs."""


class ModelError(DropKDError):
    """A network can't be built, loaded, tapped or aligned with another."""


class RunError(DropKDError):
    """A run folder is missing, in the way, incomplete or can't be written."""


class TrainingError(DropKDError):
    """Training stopped: a loss was not finite, or the teacher does not fit the data."""


class MissingLibraryError(DropKDError, ImportError):
    """A library is needed that only an extra of dropkd brings; the text says which."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` (with the leading space) for the nearest known word, or an empty string.

    Example:
        >>> did_you_mean("temprature", ["temperature", "alpha"])
        " Did you mean 'temperature'?"
        >>> did_you_mean("zzz", ["temperature"])
        ''
    """
    matches = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{matches[0]}'?" if matches else ""
