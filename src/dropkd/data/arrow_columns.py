"""Which columns of a table hold the images and their classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dropkd.data.source import Source
from dropkd.data.wording import enumerate_some
from dropkd.errors import DataError, did_you_mean

__all__ = ["Columns", "find_columns", "find_image_column"]

# What people call the column of the classes, most usual first.
_LABEL_NAMES = (
    *("label", "labels", "fine_label", "fine_labels", "class", "classes", "class_name", "class_label"),
    *("target", "targets", "category", "cls", "y"),
)
_WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_TEXTS = ("string", "large_string", "string_view")
_BYTES = ("binary", "large_binary")


@dataclass(frozen=True)
class Columns:
    """The columns that count.

    Args:
        image: the images.
        kind: how they are kept: ``image`` (bytes or the path of a file), ``bytes`` or ``array``.
        label: the classes.
        names: the names of the classes where the table has them, else None.
        several: whether a row lists its classes, of which there may be several or none.
        notes: what the user should know about the choice.
    """

    image: str
    kind: str
    label: str
    names: tuple[str, ...] | None
    notes: tuple[str, ...] = ()
    several: bool = False


def find_columns(source: Source, features: Mapping[str, Any]) -> Columns:
    """Choose the columns by their types, or as the options ``image`` and ``label`` say.

    Raises:
        DataError: none or several fit, or the option names none that fits.
    """
    image, kind = find_image_column(source, features)
    label, notes = _find_label(source, features)
    feature, several = features[label], _lists_labels(features[label])
    names = _class_names(feature.feature if several else feature)
    return Columns(image, kind, label, names, notes, several)


def find_image_column(source: Source, features: Mapping[str, Any]) -> tuple[str, str]:
    """Return the column of the images and how they are kept; see :class:`Columns`.

    Raises:
        DataError: none or several fit, or the option ``image`` names none that fits.
    """
    kinds = {name: kind for name, feature in features.items() if (kind := _image_kind(feature))}
    image = _find_image(source, features, kinds)
    return image, kinds[image]


def _find_image(source: Source, features: Mapping[str, Any], kinds: Mapping[str, str]) -> str:
    chosen = source.options.get("image")
    if chosen is not None:
        _check_named(source, features, "image", chosen)
        if chosen not in kinds:
            raise DataError(f"{source.text!r}: the column {chosen!r} holds no images but {_say(features[chosen])}.")
        return chosen
    for kind in ("image", "bytes", "array"):
        found = [name for name, own in kinds.items() if own == kind]
        if len(found) > 1:
            raise DataError(
                f"{source.text!r} has several columns that may be the images: {', '.join(found)}. "
                f"Choose one: ?image={found[0]}"
            )
        if found:
            return found[0]
    raise DataError(f"{source.text!r} has no column of images. It has: {_describe(features)}.")


def _find_label(source: Source, features: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    chosen = source.options.get("label")
    if chosen is not None:
        _check_named(source, features, "label", chosen)
        if not (_is_label(features[chosen]) or _lists_labels(features[chosen])):
            raise DataError(
                f"{source.text!r}: the column {chosen!r} is {_say(features[chosen])}; a class is a ClassLabel, a "
                "text or a whole number, and several are a list of these."
            )
        return chosen, ()
    found = [name for name, feature in features.items() if type(feature).__name__ == "ClassLabel"]
    if not found:
        found = [name for name, feature in features.items() if name.lower() in _LABEL_NAMES and _is_label(feature)]
    if not found:
        found = [name for name, feature in features.items() if name.lower() in _LABEL_NAMES and _lists_labels(feature)]
    if len(found) == 1:
        return found[0], ()
    usual = [name for name in found if name.lower() in _LABEL_NAMES]
    if len(usual) == 1:
        others = ", ".join(f"?label={name}" for name in found if name != usual[0])
        return usual[0], (f"the classes are those of the column {usual[0]!r} (others: {others})",)
    if found:
        raise DataError(
            f"{source.text!r} has several columns that may be the classes: {', '.join(found)}. "
            f"Choose one: ?label={found[0]}"
        )
    named = [name for name, feature in features.items() if name.lower() in _LABEL_NAMES]
    other = f" The column {named[0]!r} is {_say(features[named[0]])}." if named else ""
    raise DataError(
        f"{source.text!r} has no column of classes that can be told by its type or name.{other} It has: "
        f"{_describe(features)}. Name one: ?label=COLUMN"
    )


def _check_named(source: Source, features: Mapping[str, Any], option: str, name: str) -> None:
    if name not in features:
        raise DataError(
            f"{source.text!r}: there is no column {name!r} for {option}=. There are: {_describe(features)}."
            f"{did_you_mean(name, features)}"
        )


def _image_kind(feature: Any) -> str | None:
    """Return how a column could hold images, or None where it can't."""
    kind = type(feature).__name__
    if kind == "Image" or (isinstance(feature, dict) and {"bytes", "path"} == set(feature)):
        return "image"
    if _dtype(feature) in _BYTES:
        return "bytes"
    if kind in ("Array2D", "Array3D"):
        return "array"
    depth = 0
    while type(feature).__name__ in ("List", "LargeList", "Sequence"):
        feature, depth = feature.feature, depth + 1
    return "array" if depth in (2, 3) and _dtype(feature) in _WHOLE else None


def _is_label(feature: Any) -> bool:
    return type(feature).__name__ == "ClassLabel" or _dtype(feature) in (*_WHOLE, *_TEXTS, "bool")


def _lists_labels(feature: Any) -> bool:
    return type(feature).__name__ in ("List", "LargeList", "Sequence") and _is_label(feature.feature)


def _class_names(feature: Any) -> tuple[str, ...] | None:
    return tuple(feature.names) if type(feature).__name__ == "ClassLabel" and feature.names else None


def _dtype(feature: Any) -> str:
    return str(feature.dtype) if type(feature).__name__ == "Value" else ""


def _say(feature: Any) -> str:
    kind = type(feature).__name__
    if kind in ("List", "LargeList", "Sequence"):
        return f"a list of {_say(feature.feature)}"
    return _dtype(feature) or ("record" if kind == "dict" else kind)


def _describe(features: Mapping[str, Any]) -> str:
    return enumerate_some([f"{name} ({_say(feature)})" for name, feature in features.items()], 20)
