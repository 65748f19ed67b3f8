"""The parts of ``compare``: seeds as typed, equal seconds, a run at another length, and locks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_experiments import overheard, tiny

from snowmelt.config import with_values
from snowmelt.errors import SnowmeltError
from snowmelt.jobs import CompareRequest, read_names, read_seeds
from snowmelt.jobs.comparing import budget as budgets
from snowmelt.jobs.comparing import job
from snowmelt.jobs.comparing.layout import CompareFolder
from snowmelt.jobs.comparing.scaling import with_epochs


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("3", (0, 1, 2)), ("1", (0,)), ("0,1,4", (0, 1, 4)), (" 7, 5 ", (7, 5)), ("4,", (4,)), ("0,", (0,))],
)
def test_seeds_are_a_number_of_them_or_a_list(text: str, seeds: tuple[int, ...]) -> None:
    assert read_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "a", "1,a", ",", "1,,2", "2,2", "9999999999"])
def test_what_are_no_seeds_is_refused(text: str) -> None:
    with pytest.raises(SnowmeltError, match="--seeds"):
        read_seeds(text)


def test_arms_stand_between_commas() -> None:
    assert read_names("plain, kd,cooled+thaw") == ("plain", "kd", "cooled+thaw")
    assert read_names("") == ()


def test_a_run_at_another_length_keeps_the_shares_of_its_schedules(tmp_path: Path) -> None:
    config = tiny(
        tmp_path,
        "published_temperatures",
        training={"epochs": 50},
        reactions={"block_warmup": 2.0},
        distillation={
            "adaptive": True,
            "adaptive_epochs": 10,
            "weight_schedules": {"alpha": {"kind": "piecewise", "milestones": {0: 0.5, 49: 0.1}}},
        },
    )
    half = with_epochs(config, 25)
    assert (half.training.epochs, half.thaw.start, half.thaw.every) == (25, 5, 2)
    assert (half.optimizer.warmup, half.reactions.block_warmup) == (0.5, 1.0)
    assert half.temperature.milestones[24] == 1.0  # in the last epoch, as before
    assert min(half.temperature.milestones) == 0
    assert half.distillation.weight_schedules["alpha"].milestones == {0: 0.5, 24: 0.1}
    assert half.distillation.adaptive_epochs == 5
    assert with_epochs(config, 50) == config
    assert with_epochs(with_values(config, {"thaw": {"start": 1, "every": 1}}), 1).thaw.every == 1


@given(
    limit=st.floats(0.01, 200),
    costs=st.lists(st.floats(0.5, 2), min_size=7, max_size=7),
    start=st.integers(0, 20),
    every=st.integers(1, 9),
)
def test_epochs_are_the_most_that_fit(limit: float, costs: list[float], start: int, every: int) -> None:
    config = tiny(Path("x"), "thawed", thaw={"start": start, "every": every}, training={"epochs": 20})
    times = budgets.StageTimes(dict(enumerate(sorted(costs))), blocks=6)
    found = budgets.epochs_within(limit, config, times)
    assert found == 1 or times.run(with_epochs(config, found)) <= limit
    assert times.run(with_epochs(config, found + 1)) > limit


def test_equal_seconds_by_real_steps_told_before_and_decided_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budgets, "STEPS", 1)
    config = tiny(tmp_path, "thawed", name="x", thaw={"start": 2, "every": 9}, training={"epochs": 6})
    slow = "slow: plain data.image_size=128"
    request = CompareRequest(config, ("plain", "thaw"), (slow,), (0,), budget="seconds")
    material, said = overheard(job._prepare, request)
    assert "As many epochs as fit into the time of plain" in said
    path = tmp_path / "x-compare" / "budget.json"
    decided = json.loads(path.read_text())
    assert list(decided) == ["plain", "thaw", "slow"]
    assert decided["plain"]["epochs"] == 6
    arms = {ready.name: ready.config for ready in material.taught.arms}
    for name, each in decided.items():
        assert arms[name].training.epochs == each["epochs"] >= 1
        assert each["seconds"] <= decided["plain"]["seconds"] or each["epochs"] == 1
    assert not [path for path in (tmp_path / "x-compare").rglob("*") if path.name == "checkpoints"]
    assert any("take equal time, by a prediction" in note for note in material.notes)

    decided["slow"]["epochs"] = 3  # as if it had been measured so
    path.write_text(json.dumps(decided))
    material, said = overheard(job._prepare, request)
    assert "trying the stages" not in said
    assert material.taught.arms[-1].config.training.epochs == 3
    _, said = overheard(job._prepare, replace(request, own=(slow + " seed=0",), arms=("plain",)))
    assert "trying the stages" not in said


def test_runs_are_found_by_arm_and_seed(tmp_path: Path) -> None:
    folder = CompareFolder(tmp_path)
    for name in ("kd-seed0", "kd-seed12", "kd+thaw-seed3", "kd-seedx", "kd-seed4"):
        (tmp_path / name).mkdir()
        if name != "kd-seed4":
            (tmp_path / name / "config.yaml").write_text("{}")
    assert folder.seeds_of("kd") == [0, 12]
    assert folder.seeds_of("kd+thaw") == [3]
    assert CompareFolder(tmp_path / "none").seeds_of("kd") == []
