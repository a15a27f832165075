"""From a run to a file that a device can load."""

from dropkd.export.drafts import Export
from dropkd.export.exporting import FORMATS, export_formats, export_run
from dropkd.export.fusing import fuse_blocks
from dropkd.export.parity import Parity
from dropkd.export.quantizing_run import Int8Export, export_int8
from dropkd.export.quantizing_settings import Int8

__all__ = [
    "FORMATS",
    "Export",
    "Int8",
    "Int8Export",
    "Parity",
    "export_formats",
    "export_int8",
    "export_run",
    "fuse_blocks",
]
