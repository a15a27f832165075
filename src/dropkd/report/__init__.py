"""Pages that show a run, compare several, or show checked data, each one self-contained file; loads no torch."""

from __future__ import annotations

from dropkd.report.comparison import write_comparison
from dropkd.report.data_page import write_data_page
from dropkd.report.page import write_run_report
from dropkd.report.run_groups import list_run_folders

__all__ = ["list_run_folders", "write_comparison", "write_data_page", "write_run_report"]
