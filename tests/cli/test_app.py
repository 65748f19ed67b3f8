"""``snowmelt``: its commands and flags, where each flag goes, and how it says no."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import typer
from tiny_experiments import tiny_flags

import snowmelt.jobs
from snowmelt._version import __version__
from snowmelt.cli import app as cli
from snowmelt.cli.app import app
from snowmelt.config_manager import REFERENCE, ConfigManager
from snowmelt.errors import SnowmeltError, Stopped
from snowmelt.jobs.signals import handed_to

PROMISED = {
    "train": {
        *("--epochs", "--batch-size", "--max-steps", "--data", "--val", "--image-size", "--device", "--precision"),
        *("--resume", "--overwrite", "--run-name", "--seed", "--deterministic", "--test-only", "--set"),
    },
    "teach": {
        *("--epochs", "--batch-size", "--max-steps", "--data", "--val", "--image-size", "--device", "--precision"),
        *("--seed", "--deterministic", "--set"),
    },
    "cache": {
        *("--epochs", "--batch-size", "--max-steps", "--data", "--val", "--image-size", "--device", "--precision"),
        *("--seed", "--deterministic", "--set"),
    },
    "compare": {
        *("--arms", "--arm", "--seeds", "--budget", "--transfer", "--json", "--run-name", "--set"),
        *("--epochs", "--batch-size", "--max-steps", "--data", "--val", "--image-size", "--device", "--precision"),
    },
    "export": {
        *("--format", "--quantize", "--size", "--bake-normalisation", "--output", "--card", "--force", "--json"),
        "--license",
    },
    "evaluate": {
        *("--data", "--split", "--weights", "--worst", "--tolerance", "--device", "--output", "--json"),
        "--set",
    },
    "report": {"--open", "--output"},
    "benchmark": {"--size", "--batch", "--threads", "--rounds", "--json"},
    "check-data": {"--output", "--set", "--val", "--image-size", "--json"},
    "init": {"--output", "--force", "--set"},
    "predict": {
        *("--output", "--save", "--tile", "--overlap", "--flip", "--batch-size", "--weights", "--device", "--frames"),
        *("--overwrite", "--resume", "--json"),
    },
    "plan": {"--epochs", "--data", "--json", "--csv", "--set"},
    "configs": set(),
    "demo": set(),
}

# (flags, path of the setting, its value)
FLAGS: list[tuple[list[str], str, Any]] = [
    (["--epochs", "7"], "training.epochs", 7),
    (["--batch-size", "3"], "training.batch_size", 3),
    (["--max-steps", "9"], "training.max_steps", 9),
    (["--data", "scenes:7"], "data.source", "scenes:7"),
    (["--val", "scenes:3"], "data.val", "scenes:3"),
    (["--image-size", "96"], "data.image_size", 96),
    (["--device", "cpu"], "training.device", "cpu"),
    (["--precision", "bf16"], "training.precision", "bf16"),
    (["--precision", "32"], "training.precision", "32"),
    (["--seed", "5"], "seed", 5),
    (["--deterministic"], "training.deterministic", True),
    (["--set", "thaw.start=3"], "thaw.start", 3),
    (["--set", "thaw.start=3", "--set", "optimizer.lr=1e-4"], "optimizer.lr", 1e-4),
    (["--set", "data.classes=[sky, road]"], "data.classes", ["sky", "road"]),
    (["--set", "optimizer.clip_norm=null"], "optimizer.clip_norm", None),
]


def setting(config: Any, path: str) -> Any:
    for key in path.split("."):
        config = getattr(config, key)
    return config


def test_commands_and_flags_are_those_promised() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    flags = {
        name: {flag for parameter in command.params for flag in parameter.opts if flag.startswith("--")} - {"--help"}
        for name, command in commands.items()
    }
    assert flags == PROMISED


@pytest.mark.parametrize("arguments", [["--help"], ["-h"]])
def test_help_names_every_command(arguments: list[str], snowmelt_command: Any) -> None:
    answer = snowmelt_command(*arguments)
    assert answer.code == 0
    for name in (*PROMISED, "--version", "--install-completion", "--show-completion"):
        assert name in answer.out
    assert "First steps: 'snowmelt demo'" in answer.out


@pytest.mark.parametrize("command", PROMISED)
def test_every_command_explains_itself(command: str, snowmelt_command: Any) -> None:
    answer = snowmelt_command(command, "--help")
    assert answer.code == 0
    assert "Usage: " in answer.out
    assert all(flag in answer.out for flag in PROMISED[command])


def test_version(snowmelt_command: Any) -> None:
    answer = snowmelt_command("--version")
    assert (answer.code, answer.out, answer.err) == (0, f"snowmelt {__version__}\n", "")


@pytest.mark.parametrize(("flags", "path", "value"), FLAGS)
@pytest.mark.parametrize(("command", "job"), [("train", "train_experiment"), ("teach", "teach_experiment")])
def test_a_flag_reaches_its_setting(
    command: str, job: str, flags: list[str], path: str, value: Any, snowmelt_command: Any, asked: Any
) -> None:
    answer = snowmelt_command(command, REFERENCE, *flags)
    assert (answer.code, answer.err) == (0, "")
    name, config, _ = asked.only
    assert name == job
    assert setting(config, path) == value
    untouched = ConfigManager.get_config(REFERENCE)
    assert (config.teacher, config.name) == (untouched.teacher, REFERENCE)


@pytest.mark.parametrize(("flags", "path", "value"), [flag for flag in FLAGS if flag[0][0] in PROMISED["plan"]])
def test_a_flag_of_plan_reaches_its_setting(
    flags: list[str], path: str, value: Any, snowmelt_command: Any, asked: Any
) -> None:
    snowmelt_command("plan", REFERENCE, *flags)
    name, config, options = asked.only
    assert (name, options) == ("plan_experiment", {"form": "table"})
    assert setting(config, path) == value


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        ([], {"resume": False, "overwrite": False}),
        (["--resume"], {"resume": True, "overwrite": False}),
        (["--overwrite"], {"resume": False, "overwrite": True}),
    ],
)
def test_resume_and_overwrite(flags: list[str], options: dict[str, bool], snowmelt_command: Any, asked: Any) -> None:
    snowmelt_command("train", "plain", *flags, "--run-name", "mine")
    name, config, given = asked.only
    assert (name, given, config.name) == ("train_experiment", options, "mine")


def test_test_only_scores_and_trains_nothing(snowmelt_command: Any, asked: Any) -> None:
    snowmelt_command("train", "plain", "--test-only", "--data", "scenes:9")
    name, config, _ = asked.only
    assert (name, config.data.source) == ("score_run", "scenes:9")


def test_demo(snowmelt_command: Any, asked: Any) -> None:
    assert snowmelt_command("demo").code == 0
    assert asked.only[0] == "run_demo"


def test_configs_are_listed_and_shown(snowmelt_command: Any) -> None:
    listed = snowmelt_command("configs")
    assert listed.code == 0
    assert [line.split()[0] for line in listed.out.splitlines()] == ConfigManager.list_configs()
    shown = snowmelt_command("configs", "fine_tuning")
    assert "most: 3" in shown.out


def test_what_configs_shows_can_be_edited_and_planned(snowmelt_command: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    shown = snowmelt_command("configs", "fine_tuning").out
    path.write_text(shown.replace("most: 3", "most: 1").replace("epochs: 50", "epochs: 9"))
    plan = json.loads(snowmelt_command("plan", str(path), *tiny_flags(tmp_path), "--epochs", "9", "--json").out)
    assert [row["thawed_blocks"] for row in plan["epochs"]] == [0] * 5 + [1] * 4


def test_plan_in_three_forms(snowmelt_command: Any, tmp_path: Path) -> None:
    tiny = [*tiny_flags(tmp_path), "--epochs", "3"]
    table = snowmelt_command("plan", "unscheduled", *tiny)
    assert "T from -> to" in table.out
    plan = json.loads(snowmelt_command("plan", "unscheduled", *tiny, "--json").out)
    assert list(plan) == ["epochs", "stages"]
    assert [list(row) for row in plan["epochs"]] == [["epoch", "temperature", "thawed_blocks", "learning_rates"]] * 3
    rows = list(csv.DictReader(io.StringIO(snowmelt_command("plan", "unscheduled", *tiny, "--csv").out)))
    assert [row["temperature"] for row in rows] == ["4.0"] * 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["trian"],
        ["train"],
        ["train", "plain", "extra"],
        ["train", "plain", "--epoch", "3"],
        ["train", "plain", "--epochs", "0"],
        ["train", "plain", "--epochs", "many"],
        ["train", "plain", "--device", "tpu"],
        ["train", "plain", "--precision", "64"],
        ["train", "plain", "--image-size", "16"],
        ["train", "plain", "--max-steps", "-1"],
        ["train", "plain", "--seed", "-1"],
        ["train", "plain", "--batch_size", "3"],
        ["teach", "plain", "--resume"],
        ["plan"],
        ["--bogus"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_code_2(arguments: list[str], snowmelt_command: Any, asked: Any) -> None:
    answer = snowmelt_command(*arguments)
    assert answer.code == 2
    assert answer.out == ""
    assert "Usage: " in answer.err
    assert "Traceback" not in answer.err
    assert asked.jobs == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "plane"], "there is no experiment named 'plane'; did you mean plain"),
        (["configs", "plane"], "there is no experiment named 'plane'; did you mean plain"),
        (["train", "plain", "--set", "thaw.begin=3"], "thaw.begin: there is no such setting"),
        (["train", "plain", "--set", "thaw"], "--set thaw: write it as name=value, for example --set thaw.start=5"),
        (["train", "plain", "--set", "seed=2020-99-99"], "--set seed=2020-99-99: the value '2020-99-99' is not valid"),
        (["train", "plain", "--image-size", "100"], "data.image_size: Input should be a multiple of 32 (given 100)"),
        (["train", "plain", "--seed", str(2**64)], "seed: Input should be less than 9223372036854775808"),
        (["train", "plain", "--run-name", "a/b"], "the run's name 'a/b' is no folder name"),
        (["train", "plain", "--data", "nowhere/at/all"], "data 'nowhere/at/all': no such folder"),
        (["train", "plain", "--device", "cpu", "--precision", "16"], "precision 16 is for GPUs"),
        (["train", "plain", "--resume", "--overwrite"], "--resume and --overwrite exclude each other"),
        (["train", "plain", "--test-only"], "experiments/plain: has no checkpoints/best.safetensors to score"),
        (["train", "broken.yaml"], "broken.yaml, line 3: is not valid YAML ("),
        (["plan", "wrong.yaml"], 'wrong.yaml: feature_match_layers, position 4: "quadratic" is no kind of the list'),
        (["plan", "mine.py:gone"], "mine.py: has no attribute 'gone'"),
        (["plan", "plain", "--json", "--csv"], "--json and --csv exclude each other; choose one"),
        (["plan", "plain", "--set", "student.encoder=resnet81"], "unknown encoder 'resnet81'; did you mean"),
        (["teach", "plain"], "plain has no teacher to train"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_on_stderr_and_code_1(
    arguments: list[str], message: str, snowmelt_command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.yaml").write_text("seed: 1\nthaw: [\n  : }\n")
    strings = '["temp_scheduling", "true", "4", "1", "quadratic"]'
    (tmp_path / "wrong.yaml").write_text(f"distillation:\n  feature_match_layers: {strings}\n")
    (tmp_path / "mine.py").write_text("x = 3\n")
    answer = snowmelt_command(*arguments)
    assert answer.code == 1
    assert re.match(rf"error\[[a-z-]+\]: {re.escape(message)}", answer.err)
    assert answer.err.count("\n") == 1
    assert "Traceback" not in answer.out
    assert not (tmp_path / "experiments").exists()


def test_an_error_of_several_lines_becomes_one(snowmelt_command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise SnowmeltError("one thing\n  and another\n", code="data-spec")

    monkeypatch.setattr(snowmelt.jobs, "prepare", fail)
    assert snowmelt_command("train", "plain").err == "error[data-spec]: one thing and another\n"


def test_debug_shows_where_an_error_comes_from(snowmelt_command: Any) -> None:
    with pytest.raises(SnowmeltError, match="there is no experiment named 'plane'"):
        snowmelt_command("--debug", "train", "plane")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_command_in_one_line(
    number: signal.Signals, code: int, snowmelt_command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snowmelt.jobs, "train_experiment", lambda *_, **__: os.kill(os.getpid(), number))
    answer = snowmelt_command("train", "plain")
    assert answer.code == code and answer.out == ""
    assert answer.err == f"stopped by {number.name}; what was saved is kept, and --resume goes on from it\n"


@pytest.mark.parametrize("command", PROMISED)
def test_a_stopped_command_advises_no_flag_that_it_lacks(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["snowmelt", "--debug", command, "demo"])
    assert ("--resume" in cli._left()) == ("--resume" in PROMISED[command])


def test_a_stopped_run_says_where_in_one_process_of_several(
    snowmelt_command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object, **options: object) -> None:
        raise Stopped("stopped by SIGTERM at epoch 1, step 7; go on with --resume", signal.SIGTERM)

    monkeypatch.setattr(snowmelt.jobs, "train_experiment", stop)
    answer = snowmelt_command("train", "plain")
    assert (answer.code, answer.err) == (143, "stopped by SIGTERM at epoch 1, step 7; go on with --resume\n")
    monkeypatch.setenv("RANK", "1")
    answer = snowmelt_command("train", "plain")
    assert (answer.code, answer.err) == (143, "")


def test_a_connection_that_a_signal_has_cut_is_no_bug(snowmelt_command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process ended first, and this one was in the middle of talking to it."""

    def lose(*arguments: object, **options: object) -> None:
        with handed_to(lambda _: True):
            os.kill(os.getpid(), signal.SIGTERM)
            raise RuntimeError("connection closed by peer")

    monkeypatch.setattr(snowmelt.jobs, "train_experiment", lose)
    with pytest.raises(RuntimeError, match="peer"):  # there is no other process
        snowmelt_command("train", "plain")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert snowmelt_command("train", "plain").code == 143


def test_ctrl_c_says_how_to_go_on(snowmelt_command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(snowmelt.jobs, "train_experiment", interrupt)
    answer = snowmelt_command("train", "plain")
    assert answer.code == 130
    assert answer.err.strip() == "interrupted; what was saved is kept, and --resume goes on from it"
