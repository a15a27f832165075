"""The check of a data set: what would break training, or make its figures wrong without a word."""

from __future__ import annotations

from dropkd.data.check.checking import DEFAULT_NEAR, MOST_NEAR, check_data
from dropkd.data.check.findings import LEVELS, Finding, Item
from dropkd.data.check.pictures import draw_sheet
from dropkd.data.check.result import DataCheck, SizeRange
from dropkd.data.check.subject import ImageRef

__all__ = [
    "DEFAULT_NEAR",
    "LEVELS",
    "MOST_NEAR",
    "DataCheck",
    "Finding",
    "ImageRef",
    "Item",
    "SizeRange",
    "check_data",
    "draw_sheet",
]
