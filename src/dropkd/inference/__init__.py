"""Exported students at work, without torch: numpy, Pillow and the runtime of the file's format."""

from dropkd.inference.description import Description
from dropkd.inference.exported_model import ExportedModel

__all__ = ["Description", "ExportedModel"]
