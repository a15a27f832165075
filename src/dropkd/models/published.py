"""Published weights that can't be had: what was tried, where the file can be put by hand, how to go on without them."""

from __future__ import annotations

from pathlib import Path

from dropkd.models.damage import describe_damage

__all__ = ["explain_missing_weights"]


def explain_missing_weights(
    name: str,
    reason: str,
    *,
    file: str,
    source: str,
    folder: str,
    found: Path | None,
    cut: str = "",
    into_folder: bool = False,
) -> str:
    """Return why the published weights of a model could not be had, and what to do about it.

    Args:
        name: the model's, as the user can give it.
        reason: what went wrong.
        file: the address of the file.
        source: who was asked.
        folder: where fetched files are kept.
        found: the file that is there already, where there is one.
        cut: a sentence on a download that was cut off, or an empty text.
        into_folder: whether the file is found where it is put into that folder by hand.
    """
    place = "PATH" if into_folder else f"PATH/{Path(file).name}"
    by_hand = (
        f"fetch {file} on another machine and {'put it into that folder, or ' if into_folder else ''}give it as "
        f"'{name}:{place}' where it teaches and by --set student.checkpoint={place} where it is trained; or "
        "start from random weights (--no-pretrained)."
    )
    damage = describe_damage(found) if found is not None and found.is_file() else None
    if found is not None and damage is not None:
        # The hub's client links to the file itself, and takes up the same file again where only the link is deleted.
        return (
            f"The published weights of {name!r} lie in {str(found.resolve())!r}, which is damaged. {damage} Delete it "
            f"to have it fetched again. Without a network, {by_hand}"
        )
    return (
        f"The published weights of {name!r} could not be had: looked in {folder}, then asked {source} ({reason}).{cut} "
        f"Without a network, {by_hand}"
    )
