"""The memory that training takes: what was the most so far, and what a step gives back is kept for the next one.

The latter on processors as torch's allocator does it on GPUs.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

import torch

__all__ = ["keep_freed_memory", "peak_memory"]

# Names and numbers of malloc.h: free memory at the end of the heap goes back to the system beyond so many bytes, large
# blocks are mapped by themselves, and the heap grows by so much at a time.
_TRIM_THRESHOLD, _MMAP_MAX, _TOP_PAD = (-1, 2**31 - 1), (-4, 0), (-2, 64 * 2**20)
_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_")


def keep_freed_memory() -> bool:
    """Tell the C library to keep freed memory for what is allocated next; return whether it does.

    Left to itself it gives large blocks back at once, and the system has to clear each page of the next ones: a tenth
    of a step whose maps are wide. The process then holds as much as at its peak until it ends. Where the user has set
    one of the library's variables (``MALLOC_TRIM_THRESHOLD_`` and so on), or the library is not glibc, all stays as it
    is.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _VARIABLES):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return {mallopt(*setting) for setting in (_TRIM_THRESHOLD, _MMAP_MAX, _TOP_PAD)} == {1}


def peak_memory(device: torch.device) -> int:
    """Return the most bytes so far: of a GPU's memory where that is the device, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
