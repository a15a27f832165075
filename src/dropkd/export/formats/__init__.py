"""The kinds of file that a student can be exported as, by the name that the user gives."""

from dropkd.export.formats.format import Answering, Format, FormatOptions
from dropkd.export.formats.onnx_file import OnnxFile
from dropkd.export.formats.program_file import ProgramFile

__all__ = ["FORMATS", "Answering", "Format", "FormatOptions"]

FORMATS: dict[str, Format] = {kind.name: kind for kind in (OnnxFile(), ProgramFile())}
