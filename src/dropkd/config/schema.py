"""The keys of a run's configuration, with their types, ranges and defaults.

A field that is None and whose text says *by the data* (or by another key) is filled in by the engine before
the first step, so the ``config.yaml`` of a run folder holds the value that was used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from dropkd.config.data_section import DataConfig
from dropkd.config.fields import FilePath, Section
from dropkd.config.network_sections import CacheConfig, StudentConfig, TeacherConfig
from dropkd.config.student_runs import take_student_of_run
from dropkd.config.training_sections import FinetuneConfig, MethodConfig, QatConfig, TrainingConfig

__all__ = ["Config"]


class Config(Section):
    """Everything that decides what a run does.

    Args:
        data: the images.
        student: the network that is trained.
        teacher: the network that is learned from; None for methods without one.
        teacher_check: what a teacher near chance on the data does: stop the run, warn, or nothing.
        cache: the teacher's answers on disk.
        method: the distillation method.
        training: optimiser, schedule and the like.
        finetune: which parts are trained when, and at which rate.
        qat: training with rounded values, for int8.
        seed: of every random number.
        device: ``auto`` is the first CUDA device, else the CPU.
        threads: CPU threads; None: as torch decides.
        baseline: also train the same student alone, for comparison.
        output: run folder; None: a new one under ``runs/``.
        loggers: also log to these.
    """

    data: DataConfig
    student: StudentConfig
    teacher: TeacherConfig | None = None
    teacher_check: Literal["stop", "warn", "off"] = "stop"
    cache: CacheConfig = Field(default_factory=CacheConfig)
    method: MethodConfig = Field(default_factory=MethodConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    finetune: FinetuneConfig = Field(default_factory=FinetuneConfig)
    qat: QatConfig = Field(default_factory=QatConfig)
    seed: int = Field(default=0, ge=0, lt=2**32)
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    threads: int | None = Field(default=None, ge=1)
    baseline: bool = False
    output: FilePath | None = None
    loggers: list[Literal["tensorboard", "wandb", "mlflow"]] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _open_student_run(cls, tree: Any) -> Any:
        return take_student_of_run(tree) if isinstance(tree, Mapping) else tree

    @property
    def split_seed(self) -> int:
        """The seed that picks the images of splits that are cut."""
        return self.seed if self.data.split_seed is None else self.data.split_seed

    @property
    def view_seed(self) -> int:
        """The seed of the random views."""
        return self.seed if self.data.view_seed is None else self.data.view_seed
