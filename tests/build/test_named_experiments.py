"""Every registered experiment is built with its own networks, and steps once as its plan says."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from snowmelt.build import BuiltTeaching, make_network, make_plan_of, make_run, open_data, settle, teacher_experiment
from snowmelt.config import ExperimentConfig, NetworkConfig, with_values
from snowmelt.config_manager import ConfigManager
from snowmelt.teachers import LiveTeaching, NetworkTeacher
from snowmelt.training import Announcer, Engine, EpochRecord, Event, Listener, fit
from snowmelt.training.events import EpochEnded

NAMES = ConfigManager.list_configs()
SMALL: dict[str, Any] = {
    "data": {"source": "scenes:4", "image_size": 64, "workers": 0},
    "student": {"weights": "none"},
    "teacher": {"network": {"weights": "none"}},
    "training": {"batch_size": 2, "max_steps": 1, "device": "cpu", "precision": "32", "calibration_batches": 1},
}

MakeTeacher = Callable[[NetworkConfig], NetworkTeacher]


class Records(Listener):
    def __init__(self) -> None:
        self.records: list[EpochRecord] = []

    def receive(self, event: Event) -> None:
        if isinstance(event, EpochEnded):
            self.records.append(event.record)


@pytest.fixture(scope="module")
def make_untaught_teacher(engine: Engine) -> MakeTeacher:
    """A teacher's network with random weights, built once for all experiments that name it."""
    made: dict[str, NetworkTeacher] = {}

    def make(settings: NetworkConfig) -> NetworkTeacher:
        key = settings.model_dump_json()
        if key not in made:
            built = make_network(settings, 1, seed=1)
            made[key] = NetworkTeacher(built.network, built.normalisation, engine.autocast)
        return made[key]

    return make


def test_there_are_experiments_to_try() -> None:
    assert len(NAMES) >= 13


@pytest.mark.parametrize("name", NAMES)
def test_each_is_built_and_steps_once(
    name: str, engine: Engine, make_untaught_teacher: MakeTeacher, tmp_path: Path
) -> None:
    config: ExperimentConfig = with_values(ConfigManager.get_config(name), {**SMALL, "output": str(tmp_path)})
    splits = open_data(config)
    settled, _ = settle(config, len(splits.train), len(splits.classes))
    teaching = None
    if settled.distills:
        live = LiveTeaching(make_untaught_teacher(settled.teacher.network))
        teaching = BuiltTeaching(live, live, "untaught")
    seen = Records()
    run = make_run(settled, splits, engine, tmp_path, teaching=teaching, announcer=Announcer([seen]))
    before = {key: value.detach().clone() for key, value in run.network.named_parameters()}

    state = fit(run)

    assert (state.step, state.epoch, state.step_in_epoch) == (1, 0, 1)
    planned = make_plan_of(settled).epochs[0]
    learns = {"decoder", *run.thaw.blocks[: planned.thawed_blocks]}
    names = {id(parameter): key for key, parameter in run.network.named_parameters()}
    for group in run.optimizer.param_groups:
        moved = [key for p in group["params"] if not torch.equal(p, before[key := names[id(p)]])]
        assert bool(moved) == (group["name"] in learns), f"{group['name']}: {moved[:3]}"
        assert group["lr"] == planned.learning_rates[group["name"]]
    [record] = seen.records
    assert not record.complete
    assert record.temperature == planned.temperature
    assert (record.temperature is None) == (not settled.distills)
    assert ("kl" in record.train) == settled.distills
    assert all(math.isfinite(value) for value in (*record.train.values(), *record.val.values()))
    assert record.skipped_steps == 0
    assert run.checkpoints.best.is_file()


@pytest.mark.parametrize("name", [name for name in NAMES if ConfigManager.get_config(name).distills])
def test_the_teacher_of_each_is_larger_and_learns_as_a_whole(name: str) -> None:
    config = with_values(ConfigManager.get_config(name), {**SMALL})
    experiment = teacher_experiment(config, open_data(config))
    assert experiment.student == config.teacher.network
    assert experiment.student.encoder != config.student.encoder
    assert not experiment.distills
    plan = make_plan_of(experiment)
    assert len(plan.stages) == 1
    teacher, student = plan.stages[0].trainable_parameters, make_plan_of(config).stages[-1].trainable_parameters
    assert teacher is not None
    assert student is not None
    assert teacher > 1.5 * student
