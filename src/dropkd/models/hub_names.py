"""Names of repositories and revisions of the Hugging Face hub: what may be one, before anyone is asked."""

from __future__ import annotations

import re

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from dropkd.errors import ModelError

__all__ = ["check_repository", "check_revision"]

# Branches, tags, commits and refs/pr/1. What Git forbids or what leads out of a folder is no part of it.
_REVISION = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.+-]|/(?![./]))*")


def check_repository(name: str) -> str:
    """Return the name of a repository, ``OWNER/NAME``.

    Raises:
        ModelError: it can't be one.

    Example:
        >>> check_repository("timm/resnet18.a1_in1k")
        'timm/resnet18.a1_in1k'
    """
    owner, slash, rest = name.partition("/")
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        reason = str(error).partition(":")[0].rstrip(".")
        raise ModelError(f"{name!r} can't be a repository of the hub: {reason}. Give it as OWNER/NAME.") from error
    if not (slash and owner and rest):
        raise ModelError(f"{name!r} names no owner: a repository of the hub is OWNER/NAME, as in 'timm/{name}'.")
    return name


def check_revision(revision: str) -> str:
    """Return the name of a branch, a tag or a commit.

    Raises:
        ModelError: it can't be one.

    Example:
        >>> check_revision("refs/pr/1")
        'refs/pr/1'
    """
    odd = ".." in revision or revision.endswith((".lock", ".", "/")) or len(revision) > 200
    if odd or _REVISION.fullmatch(revision) is None:
        raise ModelError(
            f"{revision!r} can't be a revision: give a branch, a tag or a commit of the repository, of letters, digits "
            "and . _ - / +."
        )
    return revision
