"""How the user names a data set: a place or ``SCHEME:NAME``, either with ``?option=value&option=value``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dropkd.errors import ConfigError, did_you_mean

__all__ = ["DEFAULT_ROOT", "Source", "absolute_source", "read_source"]

_SCHEMES = ("torchvision", "hf", "wds")
# A URL, whose slashes a path has made one.
_URL = re.compile(r"(?!wds:|hf:|torchvision:)([A-Za-z][A-Za-z0-9+.-]+):/+(?=[^/])")
# The endings of what an option ``classes`` belongs to: manifests and shards.
_CLASS_NAMING = (".csv", ".parquet", ".tar")
# Where the files of a set that is called by name are looked for: the field's custom.
DEFAULT_ROOT = "data"


@dataclass(frozen=True)
class Source:
    """A data set as it was named.

    Args:
        text: the user's own words.
        place: the folder or the file; for a set that is called by name, that name.
        scheme: ``torchvision`` for a set that is called by name, ``hf`` for tables of ``datasets``, ``wds`` for
            shards and all that is behind a URL, else empty.
        options: what stood behind the question mark.
    """

    text: str
    place: str
    scheme: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The folder or file; of a set that is called by name, the folder that its files are looked for in."""
        named = self.scheme == "torchvision"
        return Path(self.options.get("root", DEFAULT_ROOT) if named else self.place).expanduser()

    def check_options(self, *known: str) -> None:
        """Make sure that there are no options but the known ones.

        Raises:
            ConfigError: there are.
        """
        unknown = [name for name in self.options if name not in known]
        if unknown:
            have = f"It has: {', '.join(known)}." if known else "It has none."
            raise ConfigError(
                f"{self.text!r}: unknown option {unknown[0]!r} for this kind of data. {have}"
                f"{did_you_mean(unknown[0], known)}"
            )


def read_source(text: str | Path) -> Source:
    """Take apart what the user named; a path that is there is taken as it is, question marks and all.

    Raises:
        ConfigError: something behind the question mark is not ``option=value``.

    Example:
        >>> read_source("https://host/train-{000..012}.tar").scheme
        'wds'
        >>> source = read_source("raf-db?labels=noise01.txt")
        >>> source.place, source.options
        ('raf-db', {'labels': 'noise01.txt'})
        >>> read_source("torchvision:CIFAR100?root=/sets").scheme
        'torchvision'
    """
    whole = str(text)
    if _is_there(Path(whole)):
        return Source(whole, whole)
    place, mark, rest = whole.partition("?")
    options: dict[str, str] = {}
    for part in rest.split("&") if mark else ():
        name, equals, value = part.partition("=")
        if not (equals and name and value) or name in options:
            raise ConfigError(
                f"{whole!r}: what follows the '?' must look like option=value&option=value, got {rest!r}."
            )
        options[name] = value
    scheme, colon, name = place.partition(":")
    if not (colon and scheme.lower() in _SCHEMES):
        scheme, name = ("wds" if _URL.match(place) else ""), place
    if scheme.lower() == "wds" and _URL.match(name):
        name = _URL.sub(r"\1://", name, count=1)
        # A file behind a URL is a file.
        name = "/" + name.removeprefix("file://") if name.startswith("file://") else name
    return Source(whole, name, scheme.lower(), options)


def absolute_source(text: str | Path) -> Path:
    """Return a name that means the same from any working folder.

    Options that are files keep a name that only the data's folder explains.

    Example:
        >>> str(absolute_source("torchvision:CIFAR10?root=/sets"))
        'torchvision:CIFAR10?root=/sets'
    """
    source = read_source(text)
    options = dict(source.options)
    place = source.place
    if source.scheme == "torchvision":
        options["root"] = str(source.path.absolute())
    elif not source.scheme or (source.scheme == "wds" and "://" not in place) or _is_there(source.path):
        place = str(source.path.absolute())
    if source.scheme == "wds" and "cache" in options:
        options["cache"] = str(Path(options["cache"]).expanduser().absolute())
    place = f"{source.scheme}:{place}" if source.scheme else place
    # Of a manifest, labels is a column, and classes may be a file; of shards as well.
    named = "classes" if source.scheme == "wds" or source.path.suffix.lower() in _CLASS_NAMING else "labels"
    if named in options and _is_there(file := Path(options[named])):
        options[named] = str(file.expanduser().absolute())
    return Path(place + ("?" + "&".join(f"{k}={v}" for k, v in options.items()) if options else ""))


def _is_there(path: Path) -> bool:
    try:
        return path.expanduser().exists()
    except OSError:
        # A name that is too long, say.
        return False
