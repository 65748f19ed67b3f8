"""The arms of a comparison: what each of them changes in one experiment, and nothing else."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from snowmelt.config import ExperimentConfig, merge, read_overrides, with_values
from snowmelt.config.teaching import TASK_WEIGHTS
from snowmelt.errors import SnowmeltError
from snowmelt.study.ingredients import CONFIG, PLAIN, Mixture, cools, is_ready_made, mix

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]{0,59}")
RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?|.*\.")  # no names of folders on Windows

SHARED = (
    "name",
    "output",
    "seed",
    "data.source",
    "data.val",
    "data.val_fraction",
    "data.image_folder",
    "data.mask_folder",
    "data.classes",
    "data.seed",
)
"""What all arms have in common: the seeds are paired, and so are the images that are scored."""


@dataclass(frozen=True)
class Arm:
    """One way to train, under a name that can be a folder's; ``description`` says in one line what differs."""

    name: str
    config: ExperimentConfig
    description: str

    @property
    def teacher(self) -> bool:
        """Whether a teacher takes part."""
        return self.config.distills

    @property
    def schedule(self) -> bool:
        """Whether it has both schedules: a teacher whose temperature moves, and a progressive thaw."""
        return self.teacher and cools(self.config.temperature) and self.config.thaw.progressive


def make_arms(config: ExperimentConfig, names: Sequence[str], own: Sequence[str] = ()) -> tuple[Arm, ...]:
    """The arms of a comparison, in the order given.

    Args:
        config: what all arms start from.
        names: ready-made arms: ``plain``, ``config``, or ``kd``, ``cooled``, ``t2`` (any number) and ``thaw`` joined
            by ``+``; see ``snowmelt.study.ingredients``.
        own: arms as ``NAME: WORD...``. A word with ``=`` is a setting (``a.b=c``), laid over the others; any other
            word is made of ingredients, ``config`` where there is none. Quotes keep a value with blanks together.

    Raises:
        SnowmeltError: no such ingredient, a name that is no folder's or is given twice, an arm that needs a teacher
            where there is none, settings that do not hold or that change what is scored, two arms of equal settings,
            or fewer than two arms.
    """
    arms = [_checked(config, name, mix(config, name, name.split("+")), []) for name in names]
    arms += [_own_arm(config, text) for text in own]
    if len(arms) < 2:
        raise SnowmeltError(
            f"a comparison needs at least two arms, but {len(arms)} is given; for example plain,kd", code="arms-too-few"
        )
    seen: dict[str, str] = {}
    for arm in arms:
        if (folder := arm.name.lower()) in seen:
            raise SnowmeltError(
                f"arm {arm.name!r} is given twice; each needs a name of its own (case does not count)",
                code="arm-spelling",
            )
        seen[folder] = arm.name
    _refuse_equal(arms)
    return tuple(arms)


def base_of(arms: Sequence[Arm]) -> Arm:
    """What the others are compared with: ``plain`` where it is among them, else the first."""
    return next((arm for arm in arms if arm.name == PLAIN), arms[0])


def _own_arm(config: ExperimentConfig, text: str) -> Arm:
    name, separator, rest = text.partition(":")
    name = name.strip()
    if not separator:
        raise SnowmeltError(
            f"--arm {text}: write it as 'NAME: WORD...', for example 'hot: kd temperature.initial=8'",
            code="arm-spelling",
        )
    if is_ready_made(name):
        raise SnowmeltError(
            f"--arm {text}: {name!r} is the name of a ready-made arm; choose another", code="arm-spelling"
        )
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise SnowmeltError(f"--arm {text}: {str(error).lower()}; close the quotes", code="arm-spelling") from None
    settings = [word for word in words if "=" in word]
    ingredients = [part for word in words if "=" not in word for part in word.split("+")]
    return _checked(config, name, mix(config, name, ingredients or [CONFIG]), settings)


def _checked(config: ExperimentConfig, name: str, mixture: Mixture, settings: Sequence[str]) -> Arm:
    """The arm ``name``, if it is one: settings laid over what the ingredients ask for."""
    if not NAME.fullmatch(name) or RESERVED.fullmatch(name):
        raise SnowmeltError(
            f"arm {name!r}: its name is a folder's too; use letters, digits and + . _ - (at most 60)",
            code="arm-spelling",
        )
    try:
        given = read_overrides(settings)
    except SnowmeltError as error:
        raise SnowmeltError(f"arm {name!r}: {str(error).removeprefix('--set ')}", code=error.code) from None
    try:
        changed = with_values(config, merge(mixture.values, given))
    except SnowmeltError as error:
        raise SnowmeltError(f"arm {name!r}: {error}", code=error.code) from None
    arm = Arm(name, changed, mixture.description + (f"; set {' '.join(settings)}" if settings else ""))
    for path in SHARED:
        if _value(arm.config, path) != _value(config, path):
            raise SnowmeltError(
                f"arm {name!r}: {path} has to be the same in all arms, since seeds and images are paired; "
                "change it for the whole comparison (--set)",
                code="arm-settings",
            )
    if mixture.teaches:
        _needs_teacher(arm)
    return arm


def _needs_teacher(arm: Arm) -> None:
    if arm.config.teacher.source == "none":
        raise SnowmeltError(
            f"arm {arm.name!r} needs a teacher, but teacher.source is none; set it to auto or to a teacher, "
            "or leave this arm out",
            code="teacher-none",
        )
    distillation = arm.config.distillation
    if distillation.alpha == 0 and "alpha" not in distillation.weight_schedules:
        raise SnowmeltError(
            f"arm {arm.name!r} needs a teacher that counts, but distillation.alpha is 0; set it above",
            code="teacher-none",
        )


def _refuse_equal(arms: Sequence[Arm]) -> None:
    for position, arm in enumerate(arms):
        for other in arms[:position]:
            if _essence(other.config) == _essence(arm.config):
                raise SnowmeltError(
                    f"arms {other.name!r} and {arm.name!r} have the same settings and would give the same runs; "
                    "leave one of them out",
                    code="arm-equal",
                )


def _essence(config: ExperimentConfig) -> dict[str, Any]:
    """The settings without those that have no effect beside the others, so that equal runs are known as equal."""
    values = config.model_dump(mode="json", exclude={"name", "description", "output"})
    if not config.distills:
        schedules = values["distillation"]["weight_schedules"]
        values["distillation"] = {name: each for name, each in schedules.items() if name in TASK_WEIGHTS}
        values["teacher"] = values["temperature"] = None
    elif config.temperature.kind == "constant":
        values["temperature"] = config.temperature.initial
    elif config.temperature.kind == "piecewise":
        values["temperature"] = values["temperature"]["milestones"]
    if not config.thaw.progressive:
        values["thaw"] = {key: value for key, value in values["thaw"].items() if key not in ("start", "every")}
    return values


def _value(config: ExperimentConfig, path: str) -> Any:
    found: Any = config
    for key in path.split("."):
        found = getattr(found, key)
    return found
