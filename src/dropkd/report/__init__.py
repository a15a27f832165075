"""Pages that show a run, or compare several, each one self-contained file. Reads run folders only; loads no torch."""

from __future__ import annotations

from dropkd.report.comparison import write_comparison
from dropkd.report.page import write_run_report

__all__ = ["write_comparison", "write_run_report"]
