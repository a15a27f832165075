"""TensorBoard, Weights & Biases and MLflow, each through its own library, each an extra."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Protocol

from dropkd.errors import ConfigError, did_you_mean

__all__ = ["LOGGERS", "Logger", "make_logger"]


class Logger(Protocol):
    """Takes numbers with their step."""

    def log(self, values: dict[str, float], step: int) -> None:
        """Take these numbers."""

    def close(self) -> None:
        """Write out what is held back."""


class TensorBoard:
    """Writes event files to ``RUN/tensorboard``."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        module = _import("torch.utils.tensorboard", "tensorboard")
        self._writer = module.SummaryWriter(str(folder / "tensorboard"))
        self._writer.add_text("config", "```\n" + repr(config) + "\n```")

    def log(self, values: dict[str, float], step: int) -> None:
        """Write scalars."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()


class WandB:
    """Logs to Weights & Biases; WANDB_MODE=offline keeps everything on this machine."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        module = _import("wandb", "wandb")
        self._run = module.init(project="dropkd", name=folder.name, dir=str(folder), config=config)

    def log(self, values: dict[str, float], step: int) -> None:
        """Log scalars."""
        self._run.log(values, step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class MLflow:
    """Logs to the MLflow server that MLFLOW_TRACKING_URI names, or to its default place."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self._client = _import("mlflow", "mlflow")
        self._client.start_run(run_name=folder.name)
        self._client.log_dict(config, "config.json")

    def log(self, values: dict[str, float], step: int) -> None:
        """Log scalars."""
        self._client.log_metrics(values, step=step)

    def close(self) -> None:
        """End the run."""
        self._client.end_run()


LOGGERS: dict[str, type[TensorBoard] | type[WandB] | type[MLflow]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "mlflow": MLflow,
}


def make_logger(name: str, folder: Path, config: dict[str, Any]) -> Logger:
    """Return a logger by name.

    Raises:
        ConfigError: an unknown name, or a library that is not installed.
    """
    if name not in LOGGERS:
        raise ConfigError(f"unknown logger {name!r}. Known: {', '.join(LOGGERS)}.{did_you_mean(name, LOGGERS)}")
    return LOGGERS[name](folder, config)


def _import(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"The logger {extra!r} is not installed: pip install 'dropkd[{extra}]'.") from error
