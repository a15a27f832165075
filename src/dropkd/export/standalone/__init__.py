"""A program that is written beside an exported ONNX file and needs nothing of dropkd."""

from __future__ import annotations

import shutil
from pathlib import Path

__all__ = ["SCRIPT", "write_script"]

SCRIPT = "predict_onnx.py"


def write_script(folder: Path) -> Path:
    """Write the program into a folder and return its path; it serves every ONNX file that dropkd exports."""
    return Path(shutil.copyfile(Path(__file__).parent / SCRIPT, folder / SCRIPT))
