"""Follows runs while they are written: reads alone, loads no torch, and never leaves the folder that it was given."""

from __future__ import annotations

from dropkd.watching.group_watch import GroupView, GroupWatch
from dropkd.watching.opening import open_watch
from dropkd.watching.run_watch import RunWatch
from dropkd.watching.states import State
from dropkd.watching.view import RunView

__all__ = ["GroupView", "GroupWatch", "RunView", "RunWatch", "State", "open_watch"]
