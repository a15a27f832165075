"""The kinds of file that a student can be exported as, by the name that the user gives."""

from dropkd.export.formats.coreml_folder import CoreMLFolder
from dropkd.export.formats.format import Answering, Format, FormatOptions
from dropkd.export.formats.litert_file import LiteRTFile
from dropkd.export.formats.onnx_file import OnnxFile
from dropkd.export.formats.openvino_file import OpenVINOFile
from dropkd.export.formats.program_file import ProgramFile
from dropkd.export.formats.torchscript_file import TorchScriptFile
from dropkd.export.formats.web_folder import WebFolder

__all__ = ["FORMATS", "Answering", "Format", "FormatOptions"]

_KINDS: tuple[Format, ...] = (
    OnnxFile(),
    ProgramFile(),
    OpenVINOFile(),
    LiteRTFile(),
    CoreMLFolder(),
    TorchScriptFile(),
    WebFolder(),
)
FORMATS = {kind.name: kind for kind in _KINDS}
