"""Names of many files in one: ``train-{000..012}.tar``, and which split a shard is of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

from dropkd.data.listing import SPLIT_NAMES, WHOLE
from dropkd.errors import ConfigError

__all__ = ["expand_braces", "split_of"]

_RANGE = re.compile(r"(\d+)\.\.(\d+)(?:\.\.(\d+))?")
# More are a slip of the keyboard, not a data set.
_MOST = 100_000


def expand_braces(text: str) -> list[str]:
    """Return the names that one with braces stands for, as shells have it.

    Raises:
        ConfigError: the braces hold neither a range nor a list, or stand for far too many names.

    Example:
        >>> expand_braces("a-{08..10}.tar")
        ['a-08.tar', 'a-09.tar', 'a-10.tar']
        >>> expand_braces("{train-{0..1},val-0}.tar")
        ['train-0.tar', 'train-1.tar', 'val-0.tar']
    """
    names = []
    for name in _expand(text, text):
        names.append(name)
        if len(names) > _MOST:
            raise ConfigError(f"{text!r} stands for more than {_MOST:,} shards.")
    return names


def _expand(text: str, whole: str) -> Iterator[str]:
    start = text.find("{")
    if start < 0:
        if "}" in text:
            raise ConfigError(f"{whole!r}: a brace is closed that was not opened.")
        yield text
        return
    end, pieces = _take_apart(text, start, whole)
    for piece in pieces:
        for rest in _expand(text[end + 1 :], whole):
            yield text[:start] + piece + rest


def _take_apart(text: str, start: int, whole: str) -> tuple[int, Iterable[str]]:
    """Return where the braces that open at ``start`` close, and what they stand for; in a list may be braces again."""
    depth, cuts = 0, [start]
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0 or (depth == 1 and text[place] == ","):
            cuts.append(place)
        if depth == 0:
            break
    if depth:
        raise ConfigError(f"{whole!r}: a brace is not closed.")
    parts = [text[first + 1 : last] for first, last in pairwise(cuts)]
    if len(parts) == 1:
        return cuts[-1], _count_up(parts[0], whole)
    return cuts[-1], (name for part in parts for name in _expand(part, whole))


def _count_up(inside: str, whole: str) -> Iterable[str]:
    span = _RANGE.fullmatch(inside)
    if span is None:
        raise ConfigError(f"{whole!r}: braces hold a range or a list, {{000..012}} or {{a,b}}, got {{{inside}}}.")
    first, last, step = int(span.group(1)), int(span.group(2)), int(span.group(3) or 1)
    if step == 0 or first > last:
        raise ConfigError(f"{whole!r}: the range {{{inside}}} is empty.")
    padded = any(len(end) > 1 and end.startswith("0") for end in span.group(1, 2))
    width = max(map(len, span.group(1, 2))) if padded else 0
    return (f"{number:0{width}}" for number in range(first, last + 1, step))


def split_of(name: str) -> str:
    """Return the split that the path of a shard tells: by a word of its own name, else by its folder's.

    Example:
        >>> split_of("imagenet-train-000012.tar"), split_of("validation/3.tar"), split_of("shard-7.tar")
        ('train', 'val', 'all')
    """
    for part in reversed(name.split("/")):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in SPLIT_NAMES:
                return SPLIT_NAMES[word]
    return WHOLE
