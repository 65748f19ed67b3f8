"""``train_distillation_staged.py``: the published flags, spelled with underscores, are those of ``snowmelt train``."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from snowmelt.cli.app import app
from snowmelt.cli.staged import staged
from snowmelt.config_manager import REFERENCE
from snowmelt.training import mixed_precision_for

PUBLISHED = {
    *("--config", "--epochs", "--batch_size", "--resume", "--mixed_precision", "--device", "--test_only"),
    *("--max_steps", "--data", "--image_size", "--set"),
}


def options_of(command: Any) -> set[str]:
    return {flag for parameter in command.params for flag in parameter.opts if flag.startswith("--")}


def test_the_published_flags_are_there() -> None:
    assert options_of(typer.main.get_command(staged)) >= PUBLISHED


def test_it_has_every_flag_of_train() -> None:
    train = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    own = {flag.replace("_", "-") for flag in options_of(typer.main.get_command(staged))}
    assert own - {"--config", "--mixed-precision"} == options_of(train) - {"--precision"}


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--epochs", "7", "--batch_size", "3"],
        ["--max_steps", "3", "--data", "scenes:9", "--val", "scenes:3", "--image_size", "96", "--device", "cpu"],
        ["--run_name", "mine", "--seed", "7", "--set", "thaw.start=3", "--set", "optimizer.lr=1e-4"],
        ["--resume"],
        ["--overwrite"],
        ["--test_only", "--data", "scenes:9"],
    ],
    ids=" ".join,
)
def test_it_asks_for_the_same_job(flags: list[str], staged_command: Any, snowmelt_command: Any, asked: Any) -> None:
    dashed = [flag.replace("_", "-") if flag.startswith("--") else flag for flag in flags]
    answers = [staged_command("--config", REFERENCE, *flags), snowmelt_command("train", REFERENCE, *dashed)]
    assert [(answer.code, answer.err) for answer in answers] == [(0, "")] * 2
    one, other = asked.jobs
    assert one == other


def test_mixed_precision_is_what_the_device_computes_in(staged_command: Any, asked: Any) -> None:
    staged_command("--config", REFERENCE, "--mixed_precision", "--device", "cpu")
    staged_command("--config", REFERENCE, "--mixed_precision")
    staged_command("--config", REFERENCE)
    precisions = [config.training.precision for _, config, _ in asked.jobs]
    assert precisions == ["bf16", mixed_precision_for("auto"), "auto"]


@pytest.mark.parametrize("arguments", [[], ["plain"], ["--config"], ["--config", "plain", "--batch-size", "3"]])
def test_wrong_usage_ends_with_code_2(arguments: list[str], staged_command: Any, asked: Any) -> None:
    answer = staged_command(*arguments)
    assert answer.code == 2
    assert "Error" in answer.err
    assert "Traceback" not in answer.err
    assert asked.jobs == []


def test_a_mistake_is_one_line_and_code_1(staged_command: Any) -> None:
    answer = staged_command("--config", "plane")
    assert answer.code == 1
    assert answer.err.startswith("error[experiment-unknown]: there is no experiment named 'plane'; did you mean plain")
    assert answer.err.count("\n") == 1
