"""Which of several runs is better, and whether that is more than chance; loads no torch."""

from __future__ import annotations

from dropkd.comparing.comparison import Comparison, Contender, Difference, compare
from dropkd.comparing.formats import FORMATS, format_comparison

__all__ = ["FORMATS", "Comparison", "Contender", "Difference", "compare", "format_comparison"]
