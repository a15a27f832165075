"""Names of many files in one: ``train-{000..012}.tar``, and which split a shard is of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from dropkd.data.listing import SPLIT_NAMES, WHOLE
from dropkd.errors import ConfigError

__all__ = ["expand_braces", "split_of"]

_BRACES = re.compile(r"\{([^{}]*)\}")
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
        >>> expand_braces("{train,val}-{0..1}.tar")
        ['train-0.tar', 'train-1.tar', 'val-0.tar', 'val-1.tar']
    """
    names = []
    for name in _expand(text, text):
        names.append(name)
        if len(names) > _MOST:
            raise ConfigError(f"{text!r} stands for more than {_MOST:,} shards.")
    return names


def _expand(text: str, whole: str) -> Iterator[str]:
    braces = _BRACES.search(text)
    if braces is None:
        if "{" in text or "}" in text:
            raise ConfigError(f"{whole!r}: a brace is not closed, or not opened.")
        yield text
        return
    for piece in _pieces(braces.group(1), whole):
        yield from _expand(text[: braces.start()] + piece + text[braces.end() :], whole)


def _pieces(inside: str, whole: str) -> Iterable[str]:
    span = _RANGE.fullmatch(inside)
    if span is None:
        if "," not in inside:
            raise ConfigError(f"{whole!r}: braces hold a range or a list, {{000..012}} or {{a,b}}, got {{{inside}}}.")
        return inside.split(",")
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
