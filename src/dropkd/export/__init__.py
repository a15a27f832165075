"""From a run to a file that a device can load."""

from dropkd.export.exporting import FORMATS, Export, export_run
from dropkd.export.fusing import fuse_blocks
from dropkd.export.parity import Parity

__all__ = ["FORMATS", "Export", "Parity", "export_run", "fuse_blocks"]
