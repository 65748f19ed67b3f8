"""The named experiments are those that were promised, and a user's own is found by name, file or attribute."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_experiments import tiny_flags

import snowmelt
from snowmelt.config import (
    DistillationConfig,
    ExperimentConfig,
    NetworkConfig,
    TemperatureConfig,
    ThawConfig,
)
from snowmelt.config_manager import CONFIGS, REFERENCE, ConfigManager
from snowmelt.errors import SnowmeltError

ROOT = Path(__file__).resolve().parent.parent
PROMISED = {
    "rgb_hierarchical_unet_v2_distillation_b0_from_b3_temp_prog",
    "published_temperatures",
    "plain",
    "unscheduled",
    "cooled",
    "thawed",
    "mobilenetv2_from_b4",
    "fine_tuning",
    "small_data",
    "medium_data",
    "large_data",
    "auto",
    "demo",
}
NAMES = ConfigManager.list_configs()


def test_the_promised_experiments_are_there() -> None:
    assert NAMES
    assert set(NAMES) >= PROMISED
    assert list(CONFIGS) == NAMES
    assert REFERENCE == "rgb_hierarchical_unet_v2_distillation_b0_from_b3_temp_prog" == NAMES[0]


@pytest.mark.parametrize("name", NAMES)
def test_each_is_found_by_its_name_and_says_what_it_is_for(name: str) -> None:
    config = ConfigManager.get_config(name)
    assert config.name == name
    assert len(config.description) > 20
    assert "\n" not in config.description


@pytest.mark.parametrize("name", NAMES)
def test_each_survives_yaml(name: str, tmp_path: Path) -> None:
    config = ConfigManager.get_config(name)
    path = tmp_path / "copy.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert ConfigManager.get_config(str(path)) == config


def test_the_reference_is_what_the_guide_says() -> None:
    config = ConfigManager.get_config(REFERENCE)
    assert (config.student.architecture, config.student.encoder) == ("unet", "timm-efficientnet-b0")
    assert (config.teacher.network.architecture, config.teacher.network.encoder) == ("unet", "timm-efficientnet-b3")
    assert config.student.weights == config.teacher.network.weights == "auto"  # trains on a fresh machine, offline
    assert config.data.source == "scenes"
    assert config.temperature == TemperatureConfig(kind="cosine", initial=4.0, final=1.0)
    assert config.thaw == ThawConfig(start=10, every=5, lr_scale=0.1)
    assert config.training.epochs == 50


def changed_settings(name: str) -> dict[str, Any]:
    """Where an experiment differs from the reference, by dotted path."""

    def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        for key, value in values.items():
            deeper = isinstance(value, dict) and key != "milestones"
            pairs |= flat(value, f"{prefix}{key}.") if deeper else {prefix + key: value}
        return pairs

    reference = flat(ConfigManager.get_config(REFERENCE).model_dump())
    other = flat(ConfigManager.get_config(name).model_dump())
    return {
        key: value for key, value in other.items() if value != reference[key] and key not in ("name", "description")
    }


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("plain", {"distillation.enabled": False, "thaw.progressive": False}),
        ("unscheduled", {"temperature.kind": "constant", "thaw.progressive": False}),
        ("cooled", {"thaw.progressive": False}),
        ("thawed", {"distillation.enabled": False}),
        (
            "published_temperatures",
            {
                "temperature.kind": "piecewise",
                "temperature.milestones": {
                    **{0: 4.0, 10: 3.5, 15: 3.0, 20: 2.5, 25: 2.0},
                    **{30: 1.5, 35: 1.3, 40: 1.1, 49: 1.0},
                },
            },
        ),
        (
            "mobilenetv2_from_b4",
            {"student.encoder": "tu-mobilenetv2_100", "teacher.network.encoder": "tu-tf_efficientnet_b4"},
        ),
        ("small_data", {"thaw.start": 20, "thaw.every": 10, "thaw.lr_scale": 0.01, "training.epochs": 100}),
        ("medium_data", {}),
        ("large_data", {"thaw.start": 5, "thaw.every": 3, "thaw.lr_scale": 0.3}),
        (
            "auto",
            {
                "schedule_by_size": True,
                "reactions.thaw_guard": True,
                "reactions.block_warmup": 1.0,
                "reactions.memory": "split",
                "training.average": 0.998,
            },
        ),
    ],
)
def test_each_differs_from_the_reference_in_what_it_is_about(name: str, changes: dict[str, Any]) -> None:
    assert changed_settings(name) == changes


def test_fine_tuning_starts_cool_and_thaws_few_blocks() -> None:
    config = ConfigManager.get_config("fine_tuning")
    assert config.temperature.initial < 4.0
    assert config.thaw.most is not None
    assert 0 < config.thaw.most < 7


@pytest.mark.parametrize("name", NAMES)
def test_what_is_handed_out_can_be_changed_without_changing_the_register(name: str) -> None:
    config = ConfigManager.get_config(name)
    config.training.epochs = 77
    config.teacher.network.depth = 3
    fresh = ConfigManager.get_config(name)
    assert (fresh.training.epochs, fresh.teacher.network.depth) != (77, 3)


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("plane", "did you mean plain"),
        ("rgb_hierarchical_unet", f"did you mean {REFERENCE}"),
        ("xyz", "snowmelt configs"),
    ],
)
def test_an_unknown_name_is_refused_with_the_closest(asked: str, hint: str) -> None:
    with pytest.raises(SnowmeltError) as refused:
        ConfigManager.get_config(asked)
    assert str(refused.value).startswith(f"there is no experiment named {asked!r}; ")
    assert hint in str(refused.value)
    assert "FILE.yaml or FILE.py:ATTRIBUTE" in str(refused.value)


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".YAML"])
def test_a_yaml_file_is_an_experiment_of_its_own_name(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"mine{suffix}", "thaw: {start: 3}\n")
    assert ConfigManager.get_config(path) == ExperimentConfig(name="mine", thaw=ThawConfig(start=3))


def test_a_yaml_file_may_name_itself(tmp_path: Path) -> None:
    assert ConfigManager.get_config(write(tmp_path / "mine.yaml", "name: other\n")).name == "other"


def test_a_yaml_file_inherits_from_its_base(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.yaml", "base: fine_tuning\nthaw: {start: 3}\nstudent: {encoder: resnet18}\n")
    config = ConfigManager.get_config(path)
    base = ConfigManager.get_config("fine_tuning")
    assert config.name == "mine"
    assert config.thaw == ThawConfig(start=3, every=base.thaw.every, lr_scale=base.thaw.lr_scale, most=base.thaw.most)
    assert config.student == NetworkConfig(encoder="resnet18")
    assert config.optimizer == base.optimizer


def test_the_ten_strings_work_in_yaml_over_a_base(tmp_path: Path) -> None:
    strings = '["temp_scheduling", "true", "5.0", "0.5", "linear", "progressive_unfreeze", "true", "15", "3", "0.05"]'
    path = write(tmp_path / "mine.yaml", f"base: {REFERENCE}\ndistillation:\n  feature_match_layers: {strings}\n")
    config = ConfigManager.get_config(path)
    assert config.temperature == TemperatureConfig(kind="linear", initial=5.0, final=0.5)
    assert config.thaw == ThawConfig(start=15, every=3, lr_scale=0.05)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("base: nobody\n", "base 'nobody' is no registered experiment; 'snowmelt configs' lists them"),
        ("base: [plain]\n", "base ['plain'] is no registered experiment"),
        ("thaw: {begin: 3}\n", "thaw.begin: there is no such setting"),
        (
            "base: plain\ntraining: {epochs: 0}\n",
            "training.epochs: Input should be greater than or equal to 1 (given 0)",
        ),
        ("thaw: 3\n", "thaw: Input should be a valid dictionary"),
        (
            "distillation: {feature_match_layers: [temp_scheduling, true]}\n",
            "feature_match_layers, position 1: True is a bool, not a string; write it in quotes",
        ),
        (
            "base: plain\ndistillation: {feature_match_layers: [temp_scheduling]}\n",
            "feature_match_layers, position 1: missing",
        ),
    ],
)
def test_a_wrong_setting_in_yaml_names_the_file(tmp_path: Path, text: str, reason: str) -> None:
    path = write(tmp_path / "mine.yaml", text)
    with pytest.raises(SnowmeltError) as refused:
        ConfigManager.get_config(path)
    assert str(refused.value).startswith(f"{path}: {reason}")
    assert "\n" not in str(refused.value)


def test_a_python_attribute_is_an_experiment(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.py",
        "from snowmelt.config_manager import DistillationConfig, ExperimentConfig\n"
        "cold = ExperimentConfig(distillation=DistillationConfig(alpha=0.25))\n",
    )
    config = ConfigManager.get_config(f"{path}:cold")
    assert config == ExperimentConfig(name="cold", distillation=DistillationConfig(alpha=0.25))


SNIPPET = """\
    'my_custom_distillation': ExperimentConfig(
        distillation=DistillationConfig(
            feature_match_layers=[
                "temp_scheduling", "true", "5.0", "0.5", "linear",
                "progressive_unfreeze", "true", "15", "3", "0.05"
            ]
        )
    ),
"""


def test_the_guides_snippet_pasted_into_this_file_trains_by_name(tmp_path: Path) -> None:
    """What users of the guide have: ten strings under a name, in ``config_manager.py``, and the reference command."""
    package = tmp_path / "overlay" / "snowmelt"
    shutil.copytree(Path(snowmelt.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    manager = package / "config_manager.py"
    opening = "CONFIGS: dict[str, ExperimentConfig] = {\n"
    text = manager.read_text()
    assert text.count(opening) == 1
    manager.write_text(text.replace(opening, opening + SNIPPET))
    # Without coverage's variables: what it measured in this copy could not be found again.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    command = [sys.executable, str(ROOT / "train_distillation_staged.py"), "--config", "my_custom_distillation"]
    answer = subprocess.run(
        [*command, *tiny_flags(tmp_path / "runs"), "--epochs", "1", "--max_steps", "1"],
        env={**environment, "PYTHONPATH": str(package.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    root = tmp_path / "runs" / "my_custom_distillation"
    assert (root / "checkpoints" / "best.safetensors").is_file()
    settings = yaml.safe_load((root / "config.yaml").read_text())
    assert settings["temperature"] == {"kind": "linear", "initial": 5.0, "final": 0.5, "milestones": {}}
    published = {"progressive": True, "start": 15, "every": 3, "lr_scale": 0.05}
    assert settings["thaw"] == {**published, "most": None, "norm_eval": False}
