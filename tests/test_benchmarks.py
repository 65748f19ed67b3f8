"""Benchmarks: who takes turns and when the clock runs; and each script once, tiny, whatever it finds."""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snowmelt.data import open_splits

ENCODER = "tu-mobilenetv3_small_050"
ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
sys.path.append(str(BENCHMARKS))
common, contest, gates, made_data, run_all, tasks = (
    import_module(name) for name in ("common", "contest", "loops.gate", "made_data", "run_all", "loops.task")
)
ALL: int = tasks.ALL


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contenders change their process to suit them; here that is the tests' process, so all of it is put back."""
    from snowmelt.jobs import running
    from snowmelt.schedules import Schedules

    for name in contest.TUNING:
        before = os.environ.get(name)
        monkeypatch.setenv(name, before or "")  # so that it is put back
        if before is None:
            monkeypatch.delenv(name)
    monkeypatch.setattr(Schedules, "thawed_at", Schedules.thawed_at)
    for name in ("make_run", "Announcer"):
        monkeypatch.setattr(running, name, getattr(running, name))
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return made_data.make_coco(tmp_path_factory.mktemp("made"), 11, width=96, height=64)


def task(data: str, folder: Path, teaching: str = "live") -> Any:
    """Tiny networks on a few pictures, loaded in this process."""
    return tasks.Task(ENCODER, ENCODER, teaching, 2, 64, 2, data, str(folder), workers=0)


def test_contenders_alternate_the_first_place_rotates_and_the_first_round_is_dropped() -> None:
    order: list[str] = []
    ticks = count()

    def turn(name: str) -> Any:
        return lambda: (order.append(name), float(next(ticks)))[1]

    values = common.alternate({name: turn(name) for name in "abc"}, rounds=3)
    assert "".join(order) == "abcbcacababc"
    assert values == {"a": [5.0, 7.0, 9.0], "b": [3.0, 8.0, 10.0], "c": [4.0, 6.0, 11.0]}


def test_quotients_are_formed_within_a_round() -> None:
    # A machine that becomes ten times as slow after the first round changes no quotient.
    found = common.ratios({"ours": [200.0, 20.0, 30.0], "theirs": [100.0, 10.0, 10.0]}, to="theirs")
    assert found["ours"] == (2.0, 2.0, 3.0)
    assert found["theirs"] == (1.0, 1.0, 1.0)


def test_a_result_says_where_it_was_measured(tmp_path: Path) -> None:
    common.write_json(tmp_path / "made" / "result.json", {"figure": 1.5})
    result = json.loads((tmp_path / "made" / "result.json").read_text())
    assert result["figure"] == 1.5
    machine = result["machine"]
    assert machine["processor"] and machine["usable"] >= 1 and machine["memory_gib"] > 0
    assert all(machine[name] for name in ("python", "torch", "torchvision", "timm", "smp", "lightning_fabric"))


def test_a_table_lines_up() -> None:
    text = common.table(["", "a", "long header"], [["first", 1.0, None], ["x", 1234.5, "7 %"]])
    assert text.splitlines() == [
        "          a  long header",
        "------------------------",
        "first  1.00            -",
        "x      1234          7 %",
    ]


class Clock:
    """Every step takes one second, every break a thousand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def drive(gate: Any, clock: Clock, steps_per_epoch: int) -> None:
    """An endless loop of two images a step, until the gate ends it."""
    with pytest.raises(SystemExit):
        while True:
            clock.now += 1000
            for _ in range(steps_per_epoch):
                clock.now += 1
                gate.passed(2)
            gate.pause()


@pytest.mark.parametrize("steps_per_epoch", [2, 3, 7, 100])
def test_the_gate_counts_granted_steps_and_no_break(steps_per_epoch: int) -> None:
    clock, said = Clock(), io.StringIO()
    asked = [{"steps": 5, "cold": 3}, {"steps": 1, "cold": 1}, {"steps": 8, "cold": 0}]
    gate = gates.Gate(
        requests=io.StringIO("".join(json.dumps(each) + "\n" for each in asked)), answers=said, clock=clock
    )
    gate.about = {"blocks": 4}
    drive(gate, clock, steps_per_epoch)
    ready, *turns = [json.loads(line) for line in said.getvalue().splitlines()]
    assert ready == {"blocks": 4}
    assert turns == [{"seconds": steps, "images": 2 * steps} for steps in (5, 1, 8)]


def test_the_gate_asks_for_a_thaw_when_the_number_changes() -> None:
    clock, asked = Clock(), [0, 0, None, 3, -1]
    requests = "".join(json.dumps({"steps": 1, "cold": 1, "thawed": thawed}) + "\n" for thawed in asked)
    gate = gates.Gate(requests=io.StringIO(requests), answers=io.StringIO(), clock=clock)
    thaws: list[int] = []
    gate.thaw = thaws.append
    drive(gate, clock, steps_per_epoch=100)
    assert thaws == [0, 3, -1]


def test_made_pictures_have_their_regions_and_are_the_same_again(tmp_path: Path) -> None:
    splits = [
        open_splits(made_data.make_coco(tmp_path / name, 3, classes=4, width=96, height=64), val_fraction=0.4).train
        for name in ("one", "two")
    ]
    assert len(splits[0].classes) == 4
    first, second = (source.load(0) for source in splits)
    assert first.image.shape == (64, 96, 3)
    assert (first.image == second.image).all() and (first.mask == second.mask).all()
    labels = np.unique(np.stack([splits[0].load(index).mask for index in range(len(splits[0]))]))
    assert {0} < set(labels.tolist()) <= {0, 1, 2, 3}


def test_all_scripts_that_are_to_be_run_are_there() -> None:
    scripts = {benchmark.script for benchmark in run_all.BENCHMARKS}
    assert {script for script in scripts if not (BENCHMARKS / script).is_file()} == set()
    names = [benchmark.name for benchmark in run_all.BENCHMARKS]
    assert len(names) == len(set(names))


def test_a_quick_run_keeps_the_question_and_shrinks_the_sizes() -> None:
    found = run_all.training("x", "--teacher", "cached", "--size", "640", "--schedule", "--batch", "16")
    assert found.quick[-3:] == ("--teacher", "cached", "--schedule")
    assert "640" not in found.quick and "16" not in found.quick


def test_each_loop_makes_the_steps_that_it_was_granted(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    teachings = {"floor": "live", "usual": "live", "well_written": "live", "snowmelt_job": "cached"}
    for loop, teaching in teachings.items():
        asked = [{"steps": 2, "cold": 1, "thawed": thawed} for thawed in (0, ALL)]
        said = io.StringIO()
        gate = gates.Gate(requests=io.StringIO("".join(json.dumps(each) + "\n" for each in asked)), answers=said)
        module = import_module(f"loops.{loop}")
        monkeypatch.setattr(module, "Gate", lambda *_, gate=gate: gate)
        with pytest.raises(SystemExit), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lightning's advice; a contender is a process of its own otherwise
            module.main(task(data, tmp_path / loop, teaching))
        _, *turns = [json.loads(line) for line in said.getvalue().splitlines()]
        assert [turn["images"] for turn in turns] == [4, 4], loop
    stages = [line for line in capsys.readouterr().out.splitlines() if line.startswith("From epoch")]
    assert ["thawed blocks: 6" in stage for stage in stages] == [True, False, True]
    assert "this learns: decoder (thawed blocks: 0" in stages[1]


def test_a_contender_answers_from_a_process_of_its_own(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--pair", f"{ENCODER}:{ENCODER}", "--contenders", "floor", "--rounds", "1", "--steps", "1", "--size", "64"]
    result, said = outcome("training_speed", [*given, "--batch", "2", "--data", data], tmp_path, monkeypatch, capsys)
    assert result["images_per_second"]["floor"] > 0
    assert "teacher live, whole encoder thawed" in said and "\nfloor " in said


def test_a_contender_that_fails_is_named_with_its_last_words(data: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"(?s)No module named loops.elsewhere.*the contender some ended"):
        contest.Contender("some", "elsewhere", task(data, tmp_path), tmp_path / "log")


def test_stages_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = import_module("stages")

    def here(pair: str, thawed: int, arguments: argparse.Namespace) -> int:
        return stages.peak_of(argparse.Namespace(**{**vars(arguments), "peak_of": thawed}))

    monkeypatch.setattr(stages, "measure_peak", here)  # otherwise in a process of its own
    given = ["--pair", f"{ENCODER}:{ENCODER}", "--rounds", "1", "--steps", "1", "--thawed", "0", "--size", "64"]
    result, said = outcome("stages", [*given, "--batch", "2"], tmp_path, monkeypatch, capsys)
    [measured] = result["pairs"].values()
    kept = measured["activation_bytes"]
    assert 0 < kept["0"] < kept["6"]
    assert list(measured["student_seconds"]) == list(measured["whole_seconds"]) == ["0", "6"]
    assert "6 of 6" in said


def test_what_is_kept_for_the_gradient_is_counted_once(data: str, tmp_path: Path) -> None:
    resident = import_module("loops.resident_step")
    half, whole = (
        resident.ResidentStep(replace(task(data, tmp_path / str(batch)), batch=batch)).kept_bytes(6) for batch in (2, 4)
    )
    # Everything that belongs to a picture doubles; weights, which do not, would show as a smaller quotient.
    assert whole / half == pytest.approx(2, rel=0.02)


def test_an_epoch_is_taken_apart(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    overhead = import_module("overhead")
    for owner, names in watched(overhead):
        for name in names:
            monkeypatch.setattr(owner, name, getattr(owner, name))  # so that it is put back
    given = ["--pair", f"{ENCODER}:{ENCODER}", "--data", data, "--epochs", "1", "--teacher", "none", "--size", "64"]
    result, said = outcome("overhead", [*given, "--batch", "2"], tmp_path, monkeypatch, capsys)
    seconds = result["seconds"]
    assert all(seconds[part] > 0 for part in ("training steps", "validation", "listeners", "metrics", "checkpoints"))
    [share] = result["overhead_shares"]
    whole = sum(result["epochs"][0].values())
    assert share == pytest.approx(1 - sum(seconds[part] for part in overhead.PARTS[:3]) / whole)
    assert "teacher none, encoder frozen" in said


def watched(overhead: Any) -> list[tuple[Any, list[str]]]:
    """What the stopwatch is put into."""
    found: list[tuple[Any, list[str]]] = []
    recorder = argparse.Namespace(wrap=lambda owner, name, part: found.append((owner, [name])))
    enter, end = overhead.loop.enter_stage, overhead.loop.end_epoch
    overhead.watch(recorder)
    overhead.loop.enter_stage, overhead.loop.end_epoch = enter, end
    return [*found, (overhead.loop, ["enter_stage", "end_epoch"])]


def test_all_are_run_and_what_is_there_stays(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, str(BENCHMARKS / "run_all.py"), "--quick", "--only", "scale", "--out", str(tmp_path)]
    outcomes = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    # "scaling" is another word that "scale" does not begin.
    assert [line.split()[:3] for line in outcomes[0].splitlines() if line.startswith("scale ")] == [
        ["scale", "scale.py", "done"]
    ]
    assert "there already" in outcomes[1]
    assert (tmp_path / "scale.txt").read_text() in (tmp_path / "tables.txt").read_text()


def outcome(
    script: str, given: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[dict[str, Any], str]:
    """What a script writes and prints."""
    target = folder / "result.json"
    monkeypatch.setattr(sys, "argv", [script, *given, "--json", str(target)])
    import_module(script).main()
    result: dict[str, Any] = json.loads(target.read_text())
    return result, capsys.readouterr().out
