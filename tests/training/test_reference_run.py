"""The reference experiment over its whole 50 epochs: what was planned is what happened, in every log."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import plan_rows, start_run

from snowmelt.build import parameter_counts
from snowmelt.config import with_values
from snowmelt.config_manager import REFERENCE, ConfigManager
from snowmelt.models import encoder_blocks, unreached_parameters
from snowmelt.reporting import MetricTables, RunFolder, TensorBoardLog, TextLog, read_metrics, read_text_log
from snowmelt.schedules import make_plan
from snowmelt.training import Listener, TrainingRun, fit
from snowmelt.training.events import EpochEnded, Event

PUBLISHED = [0] * 10 + [1] * 5 + [2] * 5 + [3] * 5 + [4] * 5 + [5] * 5 + [6] * 5 + [7] * 10


class Watcher(Listener):
    """Notes after each epoch which entries of the student's state changed in it."""

    def __init__(self) -> None:
        self.network: torch.nn.Module | None = None
        self.before: dict[str, torch.Tensor] = {}
        self.changed: list[set[str]] = []

    def watch(self, network: torch.nn.Module) -> None:
        self.network = network

    def snapshot(self) -> dict[str, torch.Tensor]:
        assert self.network is not None
        return {name: value.clone() for name, value in self.network.state_dict().items()}

    def receive(self, event: Event) -> None:
        if type(event).__name__ == "StageStarted" and not self.before:
            self.before = self.snapshot()  # after the calibration, before the first step
        if isinstance(event, EpochEnded):
            now = self.snapshot()
            self.changed.append({name for name in now if not torch.equal(now[name], self.before[name])})
            self.before = now


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingRun, RunFolder, Watcher]:
    folder = RunFolder.create(tmp_path_factory.mktemp("reference") / REFERENCE)
    config = with_values(
        ConfigManager.get_config(REFERENCE),
        {
            "data": {"source": "scenes:4", "image_size": 64, "workers": 0},
            "student": {"weights": "none"},
            "training": {"batch_size": 2, "device": "cpu", "precision": "32", "calibration_batches": 2},
        },
    )
    assert config.training.epochs == 50
    watcher = Watcher()
    listeners = (MetricTables(folder), TextLog(folder), TensorBoardLog(folder), watcher)
    run = start_run(folder.checkpoints, config, listeners=listeners)
    watcher.watch(run.network)
    folder.write_plan(make_plan(run.schedules, parameter_counts(run.thaw)))
    fit(run)
    run.announcer.close()
    return run, folder, watcher


def test_the_plan_is_the_published_one(reference: tuple[TrainingRun, RunFolder, Watcher]) -> None:
    assert [row.thawed_blocks for row in plan_rows(reference[0])] == PUBLISHED


def test_metrics_equal_the_plan_row_by_row(reference: tuple[TrainingRun, RunFolder, Watcher]) -> None:
    run, folder, _ = reference
    rows = read_metrics(folder.metrics_file)
    assert len(rows) == 50
    for row, planned in zip(rows, plan_rows(run), strict=True):
        assert (row["epoch"], row["step"]) == (planned.epoch, 2 * (planned.epoch + 1))
        assert (row["temperature"], row["thawed_blocks"]) == (planned.temperature, planned.thawed_blocks)
        assert {f"lr/{name}": rate for name, rate in planned.learning_rates.items()} == {
            key: value for key, value in row.items() if key.startswith("lr/")
        }


def test_plan_csv_equals_metrics(reference: tuple[TrainingRun, RunFolder, Watcher]) -> None:
    _, folder, _ = reference
    shared = ("epoch", "temperature", "thawed_blocks")
    planned, logged = read_metrics(folder.plan_file), read_metrics(folder.metrics_file)
    for left, right in zip(planned, logged, strict=True):
        assert [left[key] for key in shared] == [right[key] for key in shared]


def test_the_text_log_equals_the_plan(reference: tuple[TrainingRun, RunFolder, Watcher]) -> None:
    run, folder, _ = reference
    (log,) = folder.logs.glob("training_log_*.txt")
    rows = read_text_log(log)
    assert len(rows) == 50
    for row, planned in zip(rows, plan_rows(run), strict=True):
        assert (row["temperature"], row["thawed_blocks"]) == (planned.temperature, planned.thawed_blocks)
        assert all(row[f"lr/{name}"] == rate for name, rate in planned.learning_rates.items())


def test_tensorboard_equals_the_plan(reference: tuple[TrainingRun, RunFolder, Watcher]) -> None:
    run, folder, _ = reference
    events = EventAccumulator(str(folder.logs), size_guidance={"scalars": 0})
    events.Reload()

    def series(tag: str) -> list[float]:
        scalars = events.Scalars(tag)
        assert [item.step for item in scalars] == list(range(50))
        return [item.value for item in scalars]

    planned = plan_rows(run)
    assert series("temperature") == pytest.approx([row.temperature for row in planned], rel=1e-6)
    assert series("thawed_blocks") == [row.thawed_blocks for row in planned]
    for name in planned[0].learning_rates:
        assert series(f"lr/{name}") == pytest.approx([row.learning_rates[name] for row in planned], rel=1e-6)


def test_in_every_epoch_exactly_the_planned_parameters_and_buffers_changed(
    reference: tuple[TrainingRun, RunFolder, Watcher],
) -> None:
    run, _, watcher = reference
    blocks = encoder_blocks(run.network)
    state = run.network.state_dict()
    unreached = {name.rsplit(".", 1)[0] for name in unreached_parameters(run.network)}
    dead = {name for name in state if name.rsplit(".", 1)[0] in unreached}
    assert dead, "conv_head of this encoder is never reached"
    decoder = {name for name in state if not name.startswith("encoder.")}
    for epoch, thawed in enumerate(PUBLISHED):
        frozen = owned(state, blocks[thawed:])
        expected = (decoder | owned(state, blocks[:thawed])) - dead
        assert not watcher.changed[epoch] & (frozen | dead), epoch
        assert watcher.changed[epoch] == expected, epoch


def owned(state: dict[str, Any], blocks: list[Any]) -> set[str]:
    """Names of the parameters and buffers of the modules in ``blocks``."""
    modules = {name.rsplit(".", 1)[0] for block in blocks for name in block.parameters}
    return {name for name in state if name.rsplit(".", 1)[0] in modules}


def test_moments_survive_every_thaw(reference: tuple[TrainingRun, RunFolder, Watcher]) -> None:
    run, _, _ = reference
    steps = {
        group["name"]: {int(run.optimizer.state[parameter]["step"]) for parameter in group["params"]}
        for group in run.optimizer.param_groups
    }
    assert steps.pop("decoder") == {100}
    learned = [{2 * (50 - 10 - 5 * index)} for index in range(7)]
    assert list(steps.values()) == learned
