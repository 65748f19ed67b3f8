"""Settings: typed, checked on construction, read from Python, YAML, overrides or the published ten-string list."""

from snowmelt.config.base import Settings
from snowmelt.config.files import merge, read_attribute, read_overrides, read_yaml, with_values
from snowmelt.config.reacting import ReactionsConfig
from snowmelt.config.settings import (
    DataConfig,
    ExperimentConfig,
    OptimizerConfig,
    TaskConfig,
    TemperatureConfig,
    ThawConfig,
    TrainingConfig,
)
from snowmelt.config.teaching import DistillationConfig, NetworkConfig, TeacherConfig, WeightScheduleConfig
from snowmelt.config.ten_strings import read_ten_strings

__all__ = [
    "DataConfig",
    "DistillationConfig",
    "ExperimentConfig",
    "NetworkConfig",
    "OptimizerConfig",
    "ReactionsConfig",
    "Settings",
    "TaskConfig",
    "TeacherConfig",
    "TemperatureConfig",
    "ThawConfig",
    "TrainingConfig",
    "WeightScheduleConfig",
    "merge",
    "read_attribute",
    "read_overrides",
    "read_ten_strings",
    "read_yaml",
    "with_values",
]
