"""Bytes as scripts: the one kind of file that a page opened by a double click may load."""

from __future__ import annotations

import base64
import gzip
import json
import re

__all__ = ["pack", "unpack"]

_LINE = re.compile(r"globalThis\.packed\[(\".*?\")\]=\"([A-Za-z0-9+/=]*)\";\n")


def pack(name: str, content: bytes) -> str:
    """Return a script that puts compressed bytes under a name of the page."""
    # No time in it: equal contents give equal files.
    text = base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
    return f'globalThis.packed??={{}};\nglobalThis.packed[{json.dumps(name)}]="{text}";\n'


def unpack(script: str, name: str) -> bytes:
    """Return the bytes that :func:`pack` put into a script.

    Raises:
        KeyError: there are none of that name.

    Example:
        >>> unpack(pack("model", b"weights"), "model")
        b'weights'
    """
    found = {json.loads(key): text for key, text in _LINE.findall(script)}
    return gzip.decompress(base64.b64decode(found[name]))
