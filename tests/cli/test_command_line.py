"""The commands in processes of their own: what a shell sees, and the reference command word for word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_experiments import tiny_flags

from snowmelt._version import __version__
from snowmelt.config_manager import REFERENCE
from snowmelt.jobs import running

ROOT = Path(__file__).resolve().parent.parent.parent
MAIN = "import sys; sys.argv[0] = 'snowmelt'; from snowmelt.cli.app import main; main()"
HEAVY = ["torch", "torchvision", "timm", "segmentation_models_pytorch", "lightning_fabric", "matplotlib", "pandas"]


def shell(*command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "COLUMNS": "120", "TERM": "dumb", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"], ["trian"]], ids=" ".join)
def test_what_needs_no_torch_loads_none(arguments: list[str], tmp_path: Path) -> None:
    """``--help`` answers at once only if nothing heavy is imported on the way to it."""
    code = (
        f"import sys; sys.argv = ['snowmelt', *{arguments}]; from snowmelt.cli.app import app, run; code = run(app); "
        f"print('heavy:', [name for name in {HEAVY} if name in sys.modules]); sys.exit(code)"
    )
    answer = shell("-c", code, folder=tmp_path)
    assert answer.stdout.splitlines()[-1] == "heavy: []"
    assert answer.returncode == (2 if arguments == ["trian"] else 0)


def test_a_mistyped_name_or_setting_is_refused_before_torch_is_loaded(tmp_path: Path) -> None:
    """Whoever mistypes a name waits for an answer, not for the libraries that the command would have needed."""
    mistakes = [[command, "plane"] for command in ("train", "teach", "cache", "plan", "compare")]
    mistakes += [["check-data", "scenes:4", "--set", "data.size=3"], ["--config", "plane"]]
    mistakes += [["compare", "plain", *words] for words in (["--arms", "plane,kd"], ["--seeds", "x"])]
    mistakes += [["compare", "plain", "--arms", "plain", "--arm", "own: data.size=3"]]
    code = (
        "import sys; from snowmelt.cli.app import app, run; from snowmelt.cli.staged import staged\n"
        f"for words in {mistakes}:\n"
        "    sys.argv = ['snowmelt', *words]; print(run(staged if words[0].startswith('-') else app))\n"
        f"print('heavy:', [name for name in {HEAVY} if name in sys.modules])"
    )
    answer = shell("-c", code, folder=tmp_path)
    assert answer.stdout.splitlines() == [*["1"] * len(mistakes), "heavy: []"]
    said = answer.stderr.splitlines()
    assert sum("there is no experiment named 'plane'" in line for line in said) == 6
    assert len(said) == 10 and "".join(said).count("data.size: there is no such setting") == 2


def test_the_version(tmp_path: Path) -> None:
    answer = shell("-c", MAIN, "--version", folder=tmp_path)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, f"snowmelt {__version__}\n", "")


def test_the_shell_completes_commands(tmp_path: Path) -> None:
    words = {"_SNOWMELT_COMPLETE": "complete_bash", "COMP_WORDS": "snowmelt t", "COMP_CWORD": "1"}
    answer = shell("-c", MAIN, folder=tmp_path, **words)
    assert answer.stdout.split() == ["train", "teach"]


def test_a_mistake_is_one_line_without_a_traceback(tmp_path: Path) -> None:
    answer = shell("-c", MAIN, "train", "plane", folder=tmp_path)
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert answer.stderr.startswith(
        "error[experiment-unknown]: there is no experiment named 'plane'; did you mean plain"
    )
    assert answer.stderr.count("\n") == 1


def files_of(root: Path) -> list[str]:
    """Names of all files, without the times and numbers in those of the logs."""
    names = (str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    return sorted(
        name.split("2", 1)[0] if name.startswith("logs/training") else name.split("tfevents")[0] for name in names
    )


def settings_of(root: Path) -> dict[str, Any]:
    settings = yaml.safe_load((root / "config.yaml").read_text())
    assert settings["provenance"].pop("created")
    settings["provenance"].pop("git_commit")  # of the folder that the command was called in
    return settings


def test_the_reference_command_is_the_same_job_as_snowmelt_train(
    snowmelt_command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published line, cut to a step on small pictures; offline, without data, with nothing but its defaults.

    The one is a process of its own, as a shell would start it; the other is this one.
    """
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    script = str(ROOT / "train_distillation_staged.py")
    published = ["--config", REFERENCE, "--epochs", "50", "--batch_size", "4"]
    small = ["--max_steps", "1", "--data", "scenes:4", "--image_size", "32", "--set", "data.workers=0"]
    small += ["--set", "training.calibration_batches=1"]
    answer = shell(script, *published, *small, folder=one)
    assert answer.returncode == 0, answer.stderr
    assert ">>> EMBEDDED DATA: 4 training and 4 validation images" in answer.stdout
    assert "starts from random weights" in answer.stdout

    monkeypatch.chdir(other)
    dashed = [word.replace("_", "-") if word.startswith("--") else word for word in [*published, *small][2:]]
    assert snowmelt_command("train", REFERENCE, *dashed).code == 0

    roots = [folder / "experiments" / REFERENCE for folder in (one, other)]
    assert len(list((roots[0] / "logs").glob("training_log_*.txt"))) == 1  # where the guide's tail -f looks
    for name in ("metrics.csv", "plan.csv"):
        assert roots[0].joinpath(name).read_bytes() == roots[1].joinpath(name).read_bytes()
    assert files_of(roots[0]) == files_of(roots[1])
    assert settings_of(roots[0]) == settings_of(roots[1])
    records = [json.loads((root / "summary.json").read_text()) for root in roots]
    assert records[0] == records[1]
    teachers = [
        sorted(path.name for path in (folder / "experiments" / "teachers").iterdir()) for folder in (one, other)
    ]
    assert teachers[0] == teachers[1]
    assert len(teachers[0]) == 1


def test_a_run_through_its_life(snowmelt_command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train, be refused, go on, be finished, score, begin anew: each command is one that a person types."""
    monkeypatch.chdir(tmp_path)
    for name in ("draw_plots", "draw_predictions"):  # they take longer than so short a run
        monkeypatch.setattr(running, name, lambda *_: {})
    root = tmp_path / "runs" / "plain"
    train = ["train", "plain", *tiny_flags(tmp_path / "runs")]
    assert snowmelt_command(*train, "--max-steps", "1").code == 0
    refused = snowmelt_command(*train)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == (
        f"error[run-exists]: {root}: a run is there already; go on with --resume, move it aside with --overwrite, "
        "or choose another name with --run-name\n"
    )
    other = snowmelt_command(*train, "--resume", "--seed", "4")
    assert other.code == 1
    assert "cannot resume with other settings: seed was 0 and is now 4; give the same settings" in other.err
    resumed = snowmelt_command(*train, "--resume")
    assert resumed.code == 0
    assert "Going on with plain from epoch 0" in resumed.out
    finished = snowmelt_command(*train, "--resume")
    assert (finished.code, finished.err) == (0, "")
    assert "this run is finished" in finished.out
    scored = snowmelt_command("train", "plain", "--set", f"output={tmp_path / 'runs'}", "--test-only")
    assert scored.code == 0
    assert "plain on 4 test images" in scored.out
    assert snowmelt_command(*train, "--overwrite", "--max-steps", "1").code == 0
    assert [path.name.split(".old-")[0] for path in root.parent.glob("plain.old-*")] == ["plain"]
