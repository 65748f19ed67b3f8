"""What a run may change of its own accord: off unless asked for, and nothing is given that would have no effect."""

from __future__ import annotations

from typing import Any

import pytest

from snowmelt.config import ExperimentConfig, ReactionsConfig, read_overrides
from snowmelt.errors import SnowmeltError


def test_all_are_off_by_default() -> None:
    config = ExperimentConfig()
    assert not config.reactions.thaw_guard
    assert (config.reactions.block_warmup, config.reactions.memory) == (0.0, "off")
    assert (config.training.patience, config.training.average) == (None, None)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(("reactions.guard_patience", value) for value in (0, -1, 1.5)),
        *(("reactions.block_warmup", value) for value in (-0.1, float("nan"), float("inf"))),
        *(("reactions.memory", value) for value in ("on", True, None)),
        *(("reactions.memory_limit", value) for value in (0, -1)),
        ("reactions.bogus", 1),
        ("training.patience", 0),
        *(("training.average", value) for value in (0, 1, -0.5, 1.5, float("nan"))),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_path(path: str, value: Any) -> None:
    section, name = path.split(".")
    with pytest.raises(SnowmeltError) as refused:
        ExperimentConfig(**{section: {name: value}})
    assert str(refused.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"guard_patience": 3}, "reactions: guard_patience is given, but thaw_guard is off"),
        ({"memory_limit": 100}, "reactions: memory_limit is given, but memory is off"),
    ],
)
def test_what_would_have_no_effect_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SnowmeltError) as refused:
        ExperimentConfig(reactions=values)
    assert str(refused.value).startswith(message)
    switched_on = {"thaw_guard": True, "memory": "delay", **values}
    assert ExperimentConfig(reactions=switched_on).reactions == ReactionsConfig(**switched_on)


def test_off_is_a_word_wherever_it_is_written() -> None:
    """YAML takes it for false."""
    given = read_overrides(["reactions.memory=off"])
    assert given == {"reactions": {"memory": False}}
    assert ExperimentConfig(**given).reactions.memory == "off"
