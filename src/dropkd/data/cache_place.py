"""The folder for what can be made again: indexes of shards, and shards that were fetched."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """Return ``$DROPKD_CACHE``, else dropkd's folder in the user's cache (``$XDG_CACHE_HOME`` or ``~/.cache``)."""
    own = os.environ.get("DROPKD_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dropkd"
