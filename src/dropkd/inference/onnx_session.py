"""An ONNX file, opened by onnxruntime."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropkd.errors import ConfigError, ModelError

__all__ = ["OnnxSession"]

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
# onnxruntime's names for what computes, by ours.
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxSession:
    """Answers batches of what the file takes.

    Args:
        path: the file.
        threads: how many compute at a time; None: as many as there are cores.
        device: ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        MissingLibraryError: onnxruntime is not installed.
        ModelError: the file is no ONNX, or asks for what this onnxruntime does not know.
        ConfigError: a device that this onnxruntime was not built for.
    """

    def __init__(self, path: Path, *, threads: int | None = None, device: str = "cpu") -> None:
        import onnxruntime

        providers = _choose_providers(device, onnxruntime.get_available_providers())
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads or 0
        # Errors are raised; its log would tell them a second time.
        settings.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(str(path), settings, providers=providers)
        except Exception as error:
            # onnxruntime's errors have no class in common.
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelError(f"onnxruntime {onnxruntime.__version__} can't open {str(path)!r}: {reason}") from error
        self._input = self._session.get_inputs()[0]
        self._type = _TYPES.get(self._input.type, np.float32)

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the file says of itself, texts by name."""
        texts: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        return texts

    def answer(self, images: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits (B, K) of what the file takes (B, 3, H, W).

        Raises:
            ModelError: the file does not take what its description says.
        """
        try:
            logits = self._session.run(None, {self._input.name: images.astype(self._type, copy=False)})[0]
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"The file does not answer to images of shape {images.shape}: {reason}") from error
        return np.asarray(logits, np.float32)


def _choose_providers(device: str, there: Collection[str]) -> list[tuple[str, dict[str, str]]]:
    kind, _, number = device.partition(":")
    if kind not in _PROVIDERS or (number and not number.isdecimal()):
        raise ConfigError(f"unknown device {device!r}. Known for exported files: cpu, cuda, cuda:0.")
    if _PROVIDERS[kind] not in there:
        raise ConfigError(
            f"This onnxruntime can't compute on {device!r}; pip install onnxruntime-gpu in place of onnxruntime, "
            "or use --device cpu."
        )
    options = {"device_id": number} if number else {}
    return [(_PROVIDERS[kind], options)] if kind == "cpu" else [(_PROVIDERS[kind], options), (_PROVIDERS["cpu"], {})]
