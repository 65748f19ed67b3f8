"""From what was typed to the settings of an experiment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from snowmelt.config import ExperimentConfig, merge, read_overrides, with_values
from snowmelt.config_manager import CONFIGS, ConfigManager
from snowmelt.errors import SnowmeltError

LONGEST_NAME = 200  # bytes; file systems take 255, and an old run is moved aside under a longer name

__all__ = ["describe_configs", "prepare"]


def prepare(
    config: str,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    max_steps: int | None = None,
    data: str | None = None,
    val: str | None = None,
    image_size: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    run_name: str | None = None,
    seed: int | None = None,
    deterministic: bool | None = None,
    overrides: Iterable[str] = (),
) -> ExperimentConfig:
    """The named experiment with flags and ``a.b=c`` overrides laid over it; flags win.

    Raises:
        SnowmeltError: an unknown experiment, an unknown setting, or a value out of range.
    """
    flags: dict[str, dict[str, Any]] = {
        "training": {
            "epochs": epochs,
            "batch_size": batch_size,
            "max_steps": max_steps,
            "device": device,
            "precision": precision,
            "deterministic": deterministic,
        },
        "data": {"source": data, "val": val, "image_size": image_size},
    }
    values: dict[str, Any] = {
        section: {key: value for key, value in given.items() if value is not None} for section, given in flags.items()
    }
    values = {section: given for section, given in values.items() if given}
    if run_name is not None:
        values["name"] = run_name
    if seed is not None:
        values["seed"] = seed
    experiment = with_values(ConfigManager.get_config(config), merge(read_overrides(overrides), values))
    if not experiment.name or experiment.name in (".", "..") or "/" in experiment.name or "\\" in experiment.name:
        raise SnowmeltError(
            f"the run's name {experiment.name!r} is no folder name; choose another with --run-name", code="run-name"
        )
    if len(experiment.name.encode()) > LONGEST_NAME:
        raise SnowmeltError(
            f"the run's name has {len(experiment.name)} characters, which no file system takes; choose a shorter one",
            code="run-name",
        )
    return experiment


def describe_configs(name: str | None = None) -> str:
    """The list of named experiments, a line each, or one of them as YAML that can be edited and given back."""
    if name is not None:
        return yaml.safe_dump(_editable(ConfigManager.get_config(name)), sort_keys=False)
    width = max(map(len, CONFIGS))
    return "".join(f"{key:<{width}}  {experiment.description}\n" for key, experiment in CONFIGS.items())


def _editable(experiment: ExperimentConfig) -> dict[str, Any]:
    settings = experiment.model_dump(mode="json")
    if experiment.schedule_by_size:
        # What is given wins over what the data's size would choose, so the open choices must stay unsaid.
        given = experiment.thaw.model_fields_set
        settings["thaw"] = {key: value for key, value in settings["thaw"].items() if key in given}
        if "epochs" not in experiment.training.model_fields_set:
            del settings["training"]["epochs"]
    return settings
