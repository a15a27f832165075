"""Which extra brings a library that a plain ``pip install dropkd`` leaves out."""

from __future__ import annotations

from dropkd.errors import MissingLibraryError

__all__ = ["EXTRA_OF", "explain_missing"]

EXTRA_OF = {
    "torch": "train",
    "torchvision": "train",
    "timm": "train",
    "lightning_fabric": "train",
    "torchmetrics": "train",
    "safetensors": "train",
    "huggingface_hub": "train",
    "fsspec": "train",
    "filelock": "train",
    "pyarrow": "report",
    "onnxruntime": "inference",
}
"""Names of modules, each with the extra of ``pyproject.toml`` that names its library."""

_NEEDED_FOR = {
    "train": "Networks, training and everything that opens a student's weights need",
    "report": "Reports, comparisons and tables as parquet need",
    "inference": "Exported ONNX models need",
}


def explain_missing(error: ModuleNotFoundError) -> MissingLibraryError | None:
    """Return the error that says how to install what was not found; None where no extra of ours brings it.

    Example:
        >>> print(explain_missing(ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")))
        Exported ONNX models need onnxruntime, which is not installed: pip install 'dropkd[inference]'
        >>> explain_missing(ModuleNotFoundError("No module named 'my_model'", name="my_model"))
    """
    module = (error.name or "").partition(".")[0]
    extra = EXTRA_OF.get(module)
    if extra is None:
        return None
    return MissingLibraryError(
        f"{_NEEDED_FOR[extra]} {module}, which is not installed: pip install 'dropkd[{extra}]'", name=module
    )
