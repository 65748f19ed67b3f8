"""Advice at the end of a run: where it is said and kept, and what the rules are told of the settings."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tiny_experiments import BLOCKS, overheard, tiny

from snowmelt.config import ExperimentConfig
from snowmelt.jobs import train_experiment
from snowmelt.jobs.advising import facts_of
from snowmelt.study import RunFacts

HEAD = "What this run's curves suggest"


def test_a_student_gets_it_after_its_summary_and_its_teacher_does_not(cycle: Any) -> None:
    lines = cycle.said_of_distilled.splitlines()
    [at] = [index for index, line in enumerate(lines) if line.startswith(HEAD)]
    [summary] = [index for index, line in enumerate(lines) if line.startswith("Run distilled is done")]
    assert summary < at
    root = cycle.output / "distilled"
    kept = json.loads((root / "summary.json").read_text())["advice"]
    assert len(kept) >= 1
    for line, advice in zip(lines[at + 1 :], kept, strict=False):
        assert line.startswith(f"  - {advice['kind']}: {advice['text']} ({advice['figure']})")
        assert all(f"--set {setting}" in line for setting in advice["settings"])
    log = next((root / "logs").glob("training_log_*.txt")).read_text()
    assert f"info {HEAD}" in log
    assert kept[0]["text"] in log
    assert "advice" not in json.loads((cycle.teacher / "summary.json").read_text())


@pytest.mark.usefixtures("draws_nothing")
def test_a_run_with_one_epoch_is_advised_as_any_other(tmp_path: Any) -> None:
    values = {"training": {"epochs": 1}, "thaw": {"start": 0, "every": 2}}
    record, said = overheard(train_experiment, tiny(tmp_path, "thawed", **values))
    assert [advice["kind"] for advice in record["advice"]] == ["not all thawed"]
    assert record["advice"][0]["figure"] == f"1 of {BLOCKS} blocks thawed, the last is due in epoch {2 * (BLOCKS - 1)}"
    assert said.count("  - not all thawed") == 1


def test_the_rules_are_told_what_the_settings_say() -> None:
    config = ExperimentConfig(
        thaw={"start": 7, "every": 3, "lr_scale": 0.2, "most": 2},
        temperature={"initial": 3.0},
        optimizer={"lr": 0.01},
        training={"epochs": 12, "average": 0.9},
        reactions={"thaw_guard": True, "block_warmup": 0.5},
        teacher={"epochs": 9},
    )
    assert facts_of(config, images=8, blocks=4, cut=True) == RunFacts(
        images=8,
        epochs=12,
        blocks=4,
        cut=True,
        start=7,
        every=3,
        lr_scale=0.2,
        most=2,
        guard=True,
        warmup=0.5,
        temperature=3.0,
        lr=0.01,
        average=0.9,
        teacher_epochs=9,
    )
    plain = facts_of(ExperimentConfig(distillation={"enabled": False}), images=8, blocks=4, cut=False)
    assert (plain.temperature, plain.teacher_epochs) == (None, None)
    given = ExperimentConfig(
        teacher={"source": "net.safetensors"}, temperature={"kind": "piecewise", "milestones": {0: 4}}
    )
    assert (facts_of(given, 8, 4, cut=False).temperature, facts_of(given, 8, 4, cut=False).teacher_epochs) == (
        None,
        None,
    )
