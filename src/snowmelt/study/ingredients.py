"""What ready-made arms are made of: words that stand for settings.

=============== =====================================================================================================
``plain``       no teacher, the whole encoder learns from epoch 0; stands alone
``kd``          a teacher at a constant temperature: the first of the experiment's own
``cooled``      a teacher and the experiment's temperature schedule; where that is constant, a cosine from it to 1
``t2``, ``t4``  a teacher at this constant temperature; any positive number
``thaw``        the experiment's progressive thaw; alone it has no teacher
``config``      the experiment as it is; stands alone
=============== =====================================================================================================

``+`` joins one of ``kd``, ``cooled`` and ``t2`` with ``thaw``. What no word speaks of stays as the experiment has it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from snowmelt.config import ExperimentConfig, TemperatureConfig
from snowmelt.errors import SnowmeltError

PLAIN, KD, COOLED, THAW, CONFIG = "plain", "kd", "cooled", "thaw", "config"
ALONE = (PLAIN, CONFIG)
CONSTANT = re.compile(r"t(\d+(?:\.\d+)?)")
KNOWN = f"{PLAIN}, {KD}, {COOLED}, t1, t2, t4 (any t and number), {THAW}, {CONFIG}"


@dataclass(frozen=True)
class Mixture:
    """What ingredients ask for: nested settings, in words, and whether one of them needs a teacher."""

    description: str
    values: dict[str, Any] = field(default_factory=dict)
    teaches: bool = False


def mix(config: ExperimentConfig, name: str, ingredients: Sequence[str]) -> Mixture:
    """The settings that ``ingredients`` stand for in an experiment; ``name`` is the arm's, for messages.

    Raises:
        SnowmeltError: no such ingredient, one given twice, or some that exclude each other.
    """
    for position, word in enumerate(ingredients):
        if not is_ingredient(word):
            raise SnowmeltError(f"arm {name!r}: there is no ingredient {word!r}; known: {KNOWN}", code="arm-ingredient")
        if word in ingredients[:position]:
            raise SnowmeltError(f"arm {name!r}: {word!r} is given twice; remove one", code="arm-ingredient")
    alone = [word for word in ingredients if word in ALONE]
    if alone and len(ingredients) > 1:
        raise SnowmeltError(f"arm {name!r}: {alone[0]!r} stands alone; remove it or the others", code="arm-ingredient")
    if CONFIG in alone:
        return Mixture("the experiment as it is")
    teaching = [word for word in ingredients if word not in (PLAIN, THAW)]
    if len(teaching) > 1:
        raise SnowmeltError(
            f"arm {name!r}: {' and '.join(teaching)} are two temperatures; keep one of them", code="arm-ingredient"
        )
    taught = _taught(config, name, teaching[0]) if teaching else _untaught(config)
    thaws = THAW in ingredients
    return Mixture(
        f"{taught.description}, {_thaw_in_words(config) if thaws else 'whole encoder learns from epoch 0'}",
        {**taught.values, "thaw": {"progressive": thaws}},
        taught.teaches,
    )


def is_ingredient(word: str) -> bool:
    """Whether ``word`` stands for settings."""
    return word in (PLAIN, KD, COOLED, THAW, CONFIG) or CONSTANT.fullmatch(word) is not None


def is_ready_made(name: str) -> bool:
    """Whether ``name`` can only be read as a ready-made arm."""
    return all(is_ingredient(word) for word in name.split("+"))


def cools(temperature: TemperatureConfig) -> bool:
    """Whether the temperature moves over a run."""
    if temperature.kind == "piecewise":
        return len(set(temperature.milestones.values())) > 1
    return temperature.kind != "constant" and temperature.initial != temperature.final


def first_temperature(temperature: TemperatureConfig) -> float:
    """The temperature in epoch 0."""
    return temperature.schedule().at(0, 2)


def _untaught(config: ExperimentConfig) -> Mixture:
    values: dict[str, Any] = {"distillation": {"enabled": False}}
    if config.data.unlabelled is None:
        return Mixture("no teacher", values)
    # Pictures without masks have nothing to say to a student without a teacher.
    return Mixture("no teacher and no pictures without masks", {**values, "data": {"unlabelled": None}})


def _taught(config: ExperimentConfig, name: str, word: str) -> Mixture:
    values: dict[str, Any] = {"distillation": {"enabled": True}}
    own = config.temperature
    if word == COOLED and cools(own):
        return Mixture(f"teacher, temperature {_in_words(own)}", values, teaches=True)
    first = first_temperature(own)
    if word == COOLED:
        if first <= 1:
            raise SnowmeltError(
                f"arm {name!r}: the temperature is constant at {first:g}, so there is nothing to cool; "
                "set temperature.initial above 1",
                code="arm-settings",
            )
        values["temperature"] = {"kind": "cosine", "initial": first, "final": 1.0, "milestones": {}}
        return Mixture(f"teacher, temperature cosine {first:g} to 1 in place of the constant", values, teaches=True)
    constant = CONSTANT.fullmatch(word)
    value = float(constant[1]) if constant else first
    if value <= 0:
        raise SnowmeltError(
            f"arm {name!r}: temperature {value:g} is not positive; write for example t2", code="settings-value"
        )
    values["temperature"] = {"kind": "constant", "initial": value, "milestones": {}}
    return Mixture(f"teacher, constant temperature {value:g}", values, teaches=True)


def _in_words(temperature: TemperatureConfig) -> str:
    if temperature.kind != "piecewise":
        return f"{temperature.kind} {temperature.initial:g} to {temperature.final:g}"
    points = sorted(temperature.milestones.items())
    return f"piecewise {points[0][1]:g} to {points[-1][1]:g}"


def _thaw_in_words(config: ExperimentConfig) -> str:
    if config.schedule_by_size:
        return "thaw by the number of training images"
    thaw = config.thaw
    return f"first block thaws at epoch {thaw.start}, one more every {thaw.every}, encoder rate x {thaw.lr_scale:g}"
