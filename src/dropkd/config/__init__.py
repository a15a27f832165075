"""Typed, validated configuration of a run: YAML in, the same YAML out in the run folder. Loads no torch."""

from __future__ import annotations

from dropkd.config.data_section import DataConfig
from dropkd.config.loading import dump_config, load_config, update_config
from dropkd.config.network_sections import CacheConfig, StudentConfig, TeacherConfig
from dropkd.config.schema import Config
from dropkd.config.training_sections import FinetuneConfig, MethodConfig, QatConfig, TrainingConfig

__all__ = [
    "CacheConfig",
    "Config",
    "DataConfig",
    "FinetuneConfig",
    "MethodConfig",
    "QatConfig",
    "StudentConfig",
    "TeacherConfig",
    "TrainingConfig",
    "dump_config",
    "load_config",
    "update_config",
]
