"""What networks cost where they run: time, memory, room on the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dropkd.costing.measuring import measure_costs

__all__ = ["measure_costs"]


def __getattr__(name: str) -> Any:
    # It loads torch; what was measured is read and shown without.
    if name == "measure_costs":
        from dropkd.costing.measuring import measure_costs

        return measure_costs
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
