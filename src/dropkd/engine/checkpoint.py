"""Checkpoints that hold all that the next step depends on, in one file of plain tensors and numbers."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dropkd.errors import RunError
from dropkd.files import replacing

__all__ = ["SCHEMA", "load_checkpoint", "random_state", "restore_random_state", "save_checkpoint"]

SCHEMA = 1


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint in one step: a reader sees the old one or the new one, never a half of either."""
    with replacing(path) as partial:
        torch.save({"schema": SCHEMA, **content}, partial)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of plain tensors and numbers to the CPU; nothing in it can run code.

    Raises:
        RunError: there is none, it is damaged, or another version of dropkd wrote it.
    """
    if not path.is_file():
        raise RunError(f"There is no checkpoint {str(path)!r}: the run stopped before its first one. Start it anew.")
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, zipfile.BadZipFile, OSError, ValueError, KeyError) as error:
        raise RunError(f"The checkpoint {str(path)!r} can't be read: {error}") from error
    except Exception as error:  # pickle.UnpicklingError names the refused object
        raise RunError(f"The checkpoint {str(path)!r} is not one of dropkd's: {error}") from error
    if content.get("schema") != SCHEMA:
        raise RunError(
            f"The checkpoint {str(path)!r} has schema {content.get('schema')!r}, and this version reads {SCHEMA}."
        )
    return content


def random_state() -> dict[str, Any]:
    """Return the state of every global random generator that training may draw from."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    version, internal, gauss = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": (version, list(internal), gauss),
        "numpy": (
            str(name),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Set every global random generator to a state that :func:`random_state` returned."""
    torch.set_rng_state(state["torch"])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
