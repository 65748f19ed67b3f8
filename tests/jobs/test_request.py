"""From flags and overrides to settings, and from settings to a file that can be edited and given back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from snowmelt.build import settle
from snowmelt.config import ExperimentConfig
from snowmelt.config_manager import REFERENCE, ConfigManager
from snowmelt.errors import SnowmeltError
from snowmelt.jobs import describe_configs, prepare

NAMES = ConfigManager.list_configs()


@pytest.mark.parametrize(
    ("flag", "value", "path"),
    [
        ("epochs", 7, "training.epochs"),
        ("batch_size", 7, "training.batch_size"),
        ("max_steps", 7, "training.max_steps"),
        ("device", "cpu", "training.device"),
        ("precision", "bf16", "training.precision"),
        ("data", "scenes:7", "data.source"),
        ("val", "scenes:3", "data.val"),
        ("image_size", 96, "data.image_size"),
        ("run_name", "mine", "name"),
        ("seed", 7, "seed"),
    ],
)
def test_a_flag_is_a_setting(flag: str, value: Any, path: str) -> None:
    config: Any = prepare(REFERENCE, **{flag: value})
    for key in path.split("."):
        config = getattr(config, key)
    assert config == value


def test_without_flags_it_is_the_named_experiment() -> None:
    assert prepare(REFERENCE) == ConfigManager.get_config(REFERENCE)


def test_flags_win_over_overrides_and_both_over_the_experiment() -> None:
    config = prepare("fine_tuning", epochs=7, overrides=["training.epochs=9", "thaw.start=3"])
    assert (config.training.epochs, config.thaw.start) == (7, 3)
    assert config.thaw.most == ConfigManager.get_config("fine_tuning").thaw.most


def test_a_list_may_be_overridden_in_part() -> None:
    config = prepare(REFERENCE, overrides=["thaw.start=3", "temperature.kind=linear"])
    assert (config.thaw.start, config.thaw.every, config.temperature.kind) == (3, 5, "linear")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"epochs": 0}, "training.epochs: "),
        ({"image_size": 100}, "data.image_size: Input should be a multiple of 32 (given 100)"),
        ({"seed": -1}, "seed: "),
        ({"overrides": ["thaw.begin=3"]}, "thaw.begin: there is no such setting"),
        ({"overrides": ["thaw"]}, "--set thaw: write it as name=value"),
        ({"overrides": ["thaw=3"]}, "thaw: Input should be a valid dictionary"),
        *(
            ({"run_name": name}, f"the run's name {name!r} is no folder name")
            for name in ("", ".", "..", "a/b", "a\\b")
        ),
        ({"overrides": ["name=../up"]}, "the run's name '../up' is no folder name"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(SnowmeltError) as refused:
        prepare(REFERENCE, **options)
    assert str(refused.value).startswith(reason)


def test_the_list_has_a_line_for_each_experiment() -> None:
    lines = describe_configs().splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    assert all(ConfigManager.get_config(line.split()[0]).description in line for line in lines)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shown_can_be_given_back(name: str, tmp_path: Path) -> None:
    path = tmp_path / "edited.yaml"
    path.write_text(describe_configs(name))
    again, original = ConfigManager.get_config(str(path)), ConfigManager.get_config(name)
    assert again == original
    for images in (10, 5000, 50_000):  # choices that wait for the data still wait
        assert settle(again, images, 7)[0] == settle(original, images, 7)[0]


def test_every_setting_is_shown() -> None:
    shown = describe_configs(REFERENCE)
    for section, field in ExperimentConfig.model_fields.items():
        names = getattr(field.annotation, "model_fields", {})
        assert f"{section}:" in shown
        assert all(f"  {name}:" in shown for name in names)


def test_an_experiment_that_does_not_exist_cannot_be_shown() -> None:
    with pytest.raises(SnowmeltError, match="there is no experiment named 'nobody'"):
        describe_configs("nobody")


def test_listing_experiments_needs_no_torch() -> None:
    """It takes seconds to import, and a list of names has no use for it."""
    code = (
        "import sys; from snowmelt.jobs import describe_configs; describe_configs(None); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
