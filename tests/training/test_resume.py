"""A run that was cut anywhere and resumed equals the uninterrupted one, bit for bit on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import mislead, network_without_batch_statistics, same_tensors, start_run

from snowmelt.reporting import MetricTables, RunFolder, read_metrics
from snowmelt.training import TrainState, fit

STEPS = 2  # of an epoch: 6 images in batches of 3


def train(
    root: Path, max_steps: int | None = None, poor_teacher: bool = False, misled: tuple[int, ...] = (), **changes: Any
) -> TrainState:
    folder = RunFolder(root)
    run = start_run(
        folder.checkpoints, listeners=(MetricTables(folder),), **{"training": {"max_steps": max_steps}, **changes}
    )
    if misled:
        mislead(run, misled)
    if poor_teacher:
        run.teacher = run.examiner = lambda batch: torch.ones(len(batch), 1, 64, 64)  # sees persons everywhere
    state = fit(run)
    run.announcer.close()
    return state


def assert_same_end(root: Path, reference: Path) -> None:
    names = ("last.ckpt", "last.safetensors", "best.safetensors")
    checkpoints = [RunFolder(folder).checkpoints for folder in (root, reference)]
    left, right = (torch.load(folder / names[0], weights_only=True) for folder in checkpoints)
    assert same_tensors(left["network"], right["network"])
    assert same_tensors(left["optimizer"], right["optimizer"])
    assert same_tensors(left["average"], right["average"])
    assert left["state"] == right["state"]
    assert RunFolder(root).metrics_file.read_bytes() == RunFolder(reference).metrics_file.read_bytes()
    assert (checkpoints[0] / names[2]).read_bytes() == (checkpoints[1] / names[2]).read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("resume") / "whole"
    train(root)
    return root


# Blocks thaw at epochs 1, 2 and 3 of 4: each is cut one step before, in the middle, and at the end.
@pytest.mark.parametrize("cut", [STEPS - 1, STEPS, STEPS + 1, 2 * STEPS, 2 * STEPS + 1, 3 * STEPS, 3 * STEPS + 1])
def test_cut_at_a_thaw(cut: int, tmp_path: Path, uninterrupted: Path) -> None:
    assert train(tmp_path / "run", max_steps=cut).step == cut
    train(tmp_path / "run")
    assert_same_end(tmp_path / "run", uninterrupted)


def test_cut_after_every_single_step(tmp_path: Path, uninterrupted: Path) -> None:
    for step in range(1, 4 * STEPS):
        train(tmp_path / "run", max_steps=step)
    train(tmp_path / "run")
    assert_same_end(tmp_path / "run", uninterrupted)


def test_stochastic_depth_is_drawn_the_same_after_a_cut(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"student": {"encoder": "timm-efficientnet-b0"}, "thaw": {"progressive": False}}
    for name, cuts in (("whole", [None]), ("cut", [1, 3, None])):
        for cut in cuts:
            train(tmp_path / name, **changes, training={"epochs": 2, "max_steps": cut})
    assert_same_end(tmp_path / "cut", tmp_path / "whole")


EVERYTHING: dict[str, Any] = {
    "features": {"distillation": {"feature_weight": 1.0, "feature_layers": ["encoder.3", "decoder.1"]}},
    "weights": {
        "distillation": {
            "weight_schedules": {
                "alpha": {"kind": "cosine", "initial": 0.9, "final": 0.1},
                "dice_weight": {"kind": "linear", "initial": 0.0, "final": 1.0},
            }
        }
    },
    "stored": {"stored": True, "unlabelled": True},
    "norms": {"thaw": {"norm_eval": True}},
}


@pytest.mark.parametrize("what", EVERYTHING)
def test_whatever_is_switched_on_goes_on_where_it_was(what: str, tmp_path: Path) -> None:
    changes = EVERYTHING[what]
    for name, cuts in (("whole", [None]), ("cut", [1, STEPS, STEPS + 1, None])):
        for cut in cuts:
            train(tmp_path / name, max_steps=cut, **changes)
    assert_same_end(tmp_path / "cut", tmp_path / "whole")
    assert_same_projections(tmp_path / "cut", tmp_path / "whole", there=what == "features")


def assert_same_projections(root: Path, reference: Path, there: bool) -> None:
    files = [RunFolder(folder).checkpoints / "last.ckpt" for folder in (root, reference)]
    left, right = (torch.load(file, weights_only=True)["projections"] for file in files)
    assert same_tensors(left, right) and (left is not None) == there


def test_a_fade_goes_on_where_it_was(tmp_path: Path) -> None:
    ends = []
    for name, cuts in (("whole", [None]), ("cut", [1, STEPS, STEPS + 1, 2 * STEPS, None])):
        for cut in cuts:
            adaptive = {"adaptive": True, "adaptive_epochs": 2}
            state = train(tmp_path / name, max_steps=cut, poor_teacher=True, distillation=adaptive)
        ends.append(state.fade_from)
    assert_same_end(tmp_path / "cut", tmp_path / "whole")
    assert ends[0] is not None and ends[0] < 3


REACTING: dict[str, Any] = {
    "misled": (2, 3),
    "thaw": {"start": 1, "every": 2, "lr_scale": 0.5},
    "task": {"dice_weight": 0.0},
    "optimizer": {"lr": 1e-2, "warmup": 0.0},
    "reactions": {"thaw_guard": True, "guard_patience": 1, "block_warmup": 1.5},
}
REACTING_EPOCHS = {"epochs": 7, "average": 0.7, "patience": 9}


def react(root: Path, cuts: Sequence[int | None]) -> TrainState:
    for cut in cuts:
        changes = {**REACTING, "training": {**REACTING_EPOCHS, "max_steps": cut}}
        # A network whose losses do not wait for norm statistics to settle, so that they rise and fall when they should.
        state = train(root, network=network_without_batch_statistics(), **changes)
    return state


@pytest.fixture(scope="module")
def reacting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blocks thaw in epochs 1, 5 and, were there one more, 7; the second waits from the end of epoch 2 to that of 4."""
    root = tmp_path_factory.mktemp("reacting") / "whole"
    state = react(root, [None])
    assert (state.thawed_in, state.guard.delay, state.guard.holding) == ([1, 5], 2, False)
    assert state.guard.reactions == 2 and state.guard.factors[0] == 1.0
    return root


def test_reactions_go_on_where_they_were(tmp_path: Path, reacting: Path) -> None:
    """Cut after every single step: before, in, at and after the hold and the thaw that it delays."""
    state = react(tmp_path / "run", [*range(1, 7 * STEPS), None])
    assert state.guard.delay == 2
    assert_same_end(tmp_path / "run", reacting)
    rows = read_metrics(RunFolder(reacting).metrics_file)
    assert [row["thawed_blocks"] for row in rows] == [0, 1, 1, 1, 1, 2, 2]


@pytest.mark.parametrize("cut", [3 * STEPS, 5 * STEPS])
def test_cut_once_at_a_hold_and_at_the_thaw_that_it_delayed(cut: int, tmp_path: Path, reacting: Path) -> None:
    react(tmp_path / "run", [cut, None])
    assert_same_end(tmp_path / "run", reacting)
