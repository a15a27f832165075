"""Where networks look: maps of an image that say what speaks for a class, for student and teacher alike."""

from dropkd.overlays.explaining import explain
from dropkd.overlays.result import Explanation

__all__ = ["Explanation", "explain"]
