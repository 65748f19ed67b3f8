"""The same mistake has the same code, made with a command or with a call."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_experiments import tiny, tiny_flags, write_data_folder

from snowmelt.config import ExperimentConfig
from snowmelt.config_manager import ConfigManager
from snowmelt.data import CocoSource, open_folder, open_splits
from snowmelt.errors import CODES, SnowmeltError
from snowmelt.jobs import prepare, read_seeds, read_size, read_tile, report_run, teach_experiment
from snowmelt.jobs.opening import open_run
from snowmelt.losses import Objective
from snowmelt.models import build_network, load_weights
from snowmelt.reporting import RunFolder
from snowmelt.schedules import TemperatureSchedule
from snowmelt.study import make_arms
from snowmelt.teachers import find_kind
from snowmelt.training import resolve_precision

STRINGS = ["temp_scheduling", "true", "4", "1", "quadratic"]


def of_config(name: str) -> ExperimentConfig:
    return ConfigManager.get_config(name)


# Code, the command's arguments, and library calls that make the same mistake. All run in a folder made by `mistakes`.
MISTAKES: list[tuple[str, list[str], list[Callable[[], Any]]]] = [
    ("experiment-unknown", ["plan", "plane"], [lambda: of_config("plane")]),
    (
        "settings-unknown",
        ["plan", "plain", "--set", "thaw.strat=1"],
        [lambda: ExperimentConfig(thaw={"strat": 1}), lambda: prepare("plain", overrides=["thaw.strat=1"])],  # type: ignore[arg-type]
    ),
    (
        "settings-value",
        ["plan", "plain", "--set", "temperature.initial=-1"],
        [lambda: ExperimentConfig(temperature={"initial": -1}), lambda: TemperatureSchedule(initial=-1)],  # type: ignore[arg-type]
    ),
    (
        "settings-value",
        ["plan", "plain", "--set", "temperature.kind=cosin"],
        [lambda: ExperimentConfig(temperature={"kind": "cosin"}), lambda: TemperatureSchedule("cosin")],  # type: ignore[arg-type]
    ),
    (
        "settings-value",
        ["plan", "plain", "--set", "distillation.alpha=2"],
        [lambda: ExperimentConfig(distillation={"alpha": 2}), lambda: Objective(alpha=2)],  # type: ignore[arg-type]
    ),
    (
        "settings-ten-strings",
        ["plan", "strings.yaml"],
        [lambda: of_config("strings.yaml"), lambda: ExperimentConfig(distillation={"feature_match_layers": STRINGS})],  # type: ignore[arg-type]
    ),
    ("settings-file", ["plan", "broken.yaml"], [lambda: of_config("broken.yaml")]),
    (
        "schedule-milestones",
        ["plan", "plain", "--set", "temperature.kind=piecewise"],
        [lambda: ExperimentConfig(temperature={"kind": "piecewise"}), lambda: TemperatureSchedule("piecewise")],  # type: ignore[arg-type]
    ),
    ("option-value", ["plan", "plain", "--set", "seed"], [lambda: prepare("plain", overrides=["seed"])]),
    ("option-value", ["predict", "run", "--tile", "100"], [lambda: read_tile("100", None)]),
    ("option-value", ["export", "run", "--size", "wide"], [lambda: read_size("wide")]),
    ("option-value", ["compare", "plain", "--seeds", "x"], [lambda: read_seeds("x")]),
    (
        "encoder-unknown",
        ["plan", "plain", "--set", "student.encoder=resnet81"],
        [lambda: build_network("unet", "resnet81")],
    ),
    ("data-folder-missing", ["train", "plain", "--data", "nowhere"], [lambda: open_splits("nowhere")]),
    ("data-folder-missing", ["check-data", "nowhere"], [lambda: open_folder(Path("nowhere"))]),
    ("mask-size", ["train", "sizes"], [lambda: open_folder(Path("sizes"))["train"].check()]),
    ("image-unreadable", ["train", "cut"], [lambda: open_folder(Path("cut"))["train"].check()]),
    ("mask-missing", ["train", "maskless"], [lambda: open_folder(Path("maskless"))]),
    (
        "annotation-file",
        ["train", "coco:sizes/images:list.json"],
        [lambda: CocoSource(Path("sizes/images"), Path("list.json"), ())],
    ),
    ("teacher-none", ["teach", "plain"], [lambda: teach_experiment(of_config("plain"))]),
    ("file-missing", ["train", "teacher"], [lambda: find_kind("gone.onnx"), lambda: load_weights(Path("gone.pt"))]),
    ("precision-unavailable", ["train", "precision"], [lambda: resolve_precision("16", "cpu")]),
    ("run-missing", ["evaluate", "nothing"], [lambda: open_run("nothing"), lambda: report_run("nothing")]),
    ("run-exists", ["train", "there"], [lambda: RunFolder.create("runs/unscheduled")]),
    ("arms-too-few", ["compare", "plain", "--arms", "kd"], [lambda: make_arms(of_config("plain"), ["kd"])]),
]


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mistakes")
    (root / "strings.yaml").write_text(json.dumps({"distillation": {"feature_match_layers": STRINGS}}))
    (root / "broken.yaml").write_text("thaw: [\n  : }\n")
    (root / "list.json").write_text("[]")
    for name in ("sizes", "cut", "maskless"):
        write_data_folder(root / name, count=3)
    Image.new("L", (8, 8)).save(root / "sizes/masks/001.png")
    (root / "cut/images/001.png").write_bytes((root / "cut/images/001.png").read_bytes()[:100])
    (root / "maskless/masks/001.png").unlink()
    RunFolder.create(root / "runs/unscheduled").write_config(tiny(root / "runs").model_dump())
    return root


def flags_of(arguments: list[str], root: Path) -> list[str]:
    """``train`` with a word in place of an experiment: a tiny one, with that mistake."""
    if arguments[0] != "train" or "--data" in arguments:
        return arguments
    special = {
        "teacher": ["--set", "teacher.source=gone.onnx", "--run-name", "other"],
        "precision": ["--precision", "16", "--run-name", "other"],
        "there": [],
    }
    flags = special.get(arguments[1], ["--data", arguments[1], "--run-name", "other"])
    return ["train", "unscheduled", *tiny_flags(root / "runs"), *flags]


@pytest.mark.parametrize(
    ("code", "arguments", "calls"), MISTAKES, ids=[" ".join(arguments) for _, arguments, _ in MISTAKES]
)
def test_a_command_and_a_call_give_one_code(
    code: str,
    arguments: list[str],
    calls: list[Callable[[], Any]],
    mistakes: Path,
    snowmelt_command: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(mistakes)
    assert code in CODES
    answer = snowmelt_command(*flags_of(arguments, mistakes))
    assert answer.code == 1
    assert answer.err.startswith(f"error[{code}]: ")
    for call in calls:
        with pytest.raises(SnowmeltError) as refused:
            call()
        assert refused.value.code == code
