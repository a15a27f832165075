"""The next batches are made while the last one is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["prefetch"]

_Item = TypeVar("_Item")
# One that is being waited for, and one in case the next takes longer.
_AHEAD = 2


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class _End:
    pass


def prefetch(items: Iterable[_Item]) -> Iterator[_Item]:
    """Yield the same items in the same order; a thread makes up to two more than were asked for.

    What making an item raises is raised when its turn comes. When this iterator is closed, or dropped, the thread ends
    after the item that it is at.

    Example:
        >>> list(prefetch(range(3)))
        [0, 1, 2]
    """
    ready: queue.Queue[_Item | _Failure | _End] = queue.Queue(_AHEAD)
    stop = threading.Event()
    thread = threading.Thread(target=_make, args=(items, ready, stop), name="dropkd-prefetch", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            if isinstance(item, _Failure):
                try:
                    raise item.error
                finally:
                    # Error, traceback and frame would hold each other.
                    del item
            yield item
    finally:
        stop.set()
        # It may wait for a place.
        while thread.is_alive():
            try:
                ready.get(timeout=0.01)
            except queue.Empty:
                continue
        thread.join()


def _make(items: Iterable[_Item], ready: queue.Queue[_Item | _Failure | _End], stop: threading.Event) -> None:
    last: _Failure | _End = _End()
    try:
        for item in items:
            ready.put(item)
            if stop.is_set():
                return
    except BaseException as error:
        last = _Failure(error)
    ready.put(last)
