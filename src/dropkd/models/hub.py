"""Published weights without a network: what the cache holds is used, what it lacks is told at once."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants, try_to_load_from_cache

__all__ = ["cache_folder", "find_cached", "is_reachable", "note_partial"]

# The names under which repositories of models keep their weights, in timm's order.
_FILE_NAMES = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def is_reachable() -> bool:
    """Return whether the hub can be asked; the hub's own client takes most of a minute to find that it can't."""
    if constants.HF_HUB_OFFLINE:
        return False
    # A proxy may know a host that this machine does not.
    if getproxies():
        return True
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True


def find_cached(repository: str, file_name: str | None = None) -> Path | None:
    """Return the file of weights of a repository that was fetched before, or None.

    Args:
        repository: ``OWNER/NAME`` on the hub.
        file_name: where the weights have an unusual name.
    """
    for name in (file_name, *_FILE_NAMES):
        found = try_to_load_from_cache(repository, name) if name else None
        if isinstance(found, str):
            return Path(found)
    return None


def cache_folder() -> str:
    """Return the folder in which the hub's files are kept."""
    return str(constants.HF_HUB_CACHE)


def note_partial(repository: str) -> str:
    """Return a sentence on a download of a repository into the cache that was cut off, or an empty string."""
    folder = Path(cache_folder(), f"models--{repository.replace('/', '--')}", "blobs")
    partial = sorted(folder.glob("*.incomplete")) if folder.is_dir() else []
    if not partial:
        return ""
    size = sum(path.stat().st_size for path in partial)
    return f" A download of it was cut off after {size:,} bytes ({partial[0]}); it is taken up again when online."
