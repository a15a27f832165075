"""onnxruntime-web as one plain script, made of the files of its npm package."""

from __future__ import annotations

import lzma
import re
from pathlib import Path

from dropkd.export.web.packing import pack

__all__ = ["read_licences", "read_runtime"]

_PACKAGE = Path(__file__).parent / "onnxruntime_web"
_EXPORTS = re.compile(r"export\{([^}]*)\};")


def read_runtime() -> str:
    """Return a script that defines ``ort`` and holds its WebAssembly.

    The package's module is made a plain script: browsers load no modules into a page that was opened from disk.
    """
    module = (_PACKAGE / "ort.wasm.bundle.min.mjs").read_text(encoding="utf-8")
    exports = _EXPORTS.search(module)
    if exports is None:
        raise ValueError("The module of onnxruntime-web exports nothing: not the file that this was written for.")
    names = (pair.split(" as ") for pair in exports[1].split(","))
    members = ",".join(f"{public}:{private}" for private, public in names)
    # Where it asks for its own address it would look for files beside it, and there are none.
    body = module[: exports.start()].replace("import.meta.url", "document.baseURI")
    wasm = lzma.decompress((_PACKAGE / "ort-wasm-simd-threaded.wasm.xz").read_bytes())
    return f"globalThis.ort=(()=>{{{body};return{{{members}}}}})();\n{pack('wasm', wasm)}"


def read_licences() -> str:
    """Return the licence of ONNX Runtime and of what is built into it."""
    notices = lzma.decompress((_PACKAGE / "ThirdPartyNotices.txt.xz").read_bytes()).decode()
    return f"{(_PACKAGE / 'LICENSE').read_text(encoding='utf-8')}\n{notices}"
