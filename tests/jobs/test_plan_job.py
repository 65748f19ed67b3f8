"""``plan``: a table for a person, JSON and CSV for a script, and a word about what the run will not come to."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from tiny_experiments import overheard, tiny, write_data_folder

from snowmelt.config import ExperimentConfig, with_values
from snowmelt.config_manager import REFERENCE, ConfigManager
from snowmelt.errors import SnowmeltError
from snowmelt.jobs import plan_experiment

STAGE = {
    *("epochs", "first_epoch", "last_epoch", "temperature_from", "temperature_to"),
    *("thawed_blocks", "learns", "learning_rates", "trainable_parameters"),
}


def planned(config: ExperimentConfig, form: str = "table") -> str:
    return overheard(plan_experiment, config, form)[1]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def test_json_has_the_published_form() -> None:
    plan = json.loads(planned(ConfigManager.get_config(REFERENCE), "json"))
    assert list(plan) == ["epochs", "stages"]
    assert len(plan["epochs"]) == 50
    for epoch, row in enumerate(plan["epochs"]):
        assert list(row) == ["epoch", "temperature", "thawed_blocks", "learning_rates"]
        assert row["epoch"] == epoch
        assert list(row["learning_rates"]) == ["decoder", *(f"blocks.{index}" for index in range(6, -1, -1))]
    assert plan["epochs"][0]["temperature"] == 4.0
    assert plan["epochs"][30]["temperature"] == pytest.approx(1 + 1.5 * (1 + math.cos(math.pi * 30 / 49)))
    assert len(plan["stages"]) == 8
    assert all(set(stage) == STAGE for stage in plan["stages"])
    assert [stage["epochs"] for stage in plan["stages"]][:2] == ["0-9", "10-14"]


def test_csv_has_a_row_for_every_epoch(tmp_path: Path) -> None:
    config = tiny(tmp_path, "thawed", thaw={"start": 1, "every": 1}, training={"epochs": 4})
    rows = list(csv.DictReader(io.StringIO(planned(config, "csv"))))
    assert [(row["epoch"], row["thawed_blocks"]) for row in rows] == [("0", "0"), ("1", "1"), ("2", "2"), ("3", "3")]
    assert {row["temperature"] for row in rows} == {""}
    assert list(rows[0])[:4] == ["epoch", "temperature", "thawed_blocks", "lr/decoder"]
    exact = json.loads(planned(config, "json"))["epochs"]
    assert [float(row["lr/decoder"]) for row in rows] == [row["learning_rates"]["decoder"] for row in exact]


def test_the_table_shows_the_stages_of_the_reference() -> None:
    text = planned(ConfigManager.get_config(REFERENCE))
    rows = [line.split() for line in text.splitlines() if line.strip()[:1].isdigit()]
    assert [(row[0], row[1], row[3], row[4]) for row in rows] == [
        ("0-9", "4.00", "3.70", "0"),
        ("10-14", "3.70", "3.36", "1"),
        ("15-19", "3.36", "2.93", "2"),
        ("20-24", "2.93", "2.45", "3"),
        ("25-29", "2.45", "1.98", "4"),
        ("30-34", "1.98", "1.56", "5"),
        ("35-39", "1.56", "1.24", "6"),
        ("40-49", "1.24", "1.00", "7"),
    ]
    assert "+ blocks.6" in text
    assert "everything, stem included" in text
    assert "1.00e-04" in text
    assert "5,839,309" in text  # trainable parameters of the last stage
    assert "Over the run every rate follows 'trapezoid': warm-up, constant, and from epoch 40 down to 0.01" in text
    assert "ends before" not in text


def test_the_plan_of_a_run_without_a_teacher_has_no_temperature(tmp_path: Path) -> None:
    config = tiny(tmp_path, "plain")
    assert "T from" not in planned(config)
    plan = json.loads(planned(config, "json"))
    assert [row["temperature"] for row in plan["epochs"]] == [None, None]
    assert [stage["temperature_from"] for stage in plan["stages"]] == [None]


@pytest.mark.parametrize(
    ("images", "length", "thaws"),
    [
        (999, 100, [0, 20, 30, 40, 50, 60, 70, 80]),
        (1000, 50, [0, 10, 15, 20, 25, 30, 35, 40]),
        (10_001, 50, [0, 5, 8, 11, 14, 17, 20, 23]),
    ],
)
def test_auto_chooses_by_what_was_measured_and_says_so(images: int, length: int, thaws: list[int]) -> None:
    config = with_values(ConfigManager.get_config("auto"), {"data": {"source": f"scenes:{images}"}})
    assert f"auto: {images} training images: {length} epochs, whole encoder learns from epoch 0" in planned(config)
    [stage] = json.loads(planned(config, "json"))["stages"]
    assert (stage["first_epoch"], stage["last_epoch"]) == (0, length - 1)
    config = with_values(config, {"thaw": {"progressive": True}})
    stages = json.loads(planned(config, "json"))["stages"]
    assert [stage["first_epoch"] for stage in stages] == thaws


@pytest.mark.parametrize(
    ("encoder", "thaw", "note"),
    [
        ("resnet18", {"start": 1, "every": 3}, None),  # four blocks: the last thaws in epoch 10
        ("resnet18", {"start": 9, "every": 1}, "ends before the whole encoder learns"),
        ("resnet18", {"start": 9, "every": 1, "most": 2}, None),
        ("resnet18", {"start": 9, "every": 2, "most": 2}, "ends before 2 blocks learn"),
        ("resnet18", {"start": 11}, "Nothing thaws: the first thaw is at epoch 11, and the run has 11."),
        ("resnet18", {"start": 11, "most": 0}, None),
        ("resnet18", {"progressive": False}, None),
        ("tu-mobilenetv3_small_050", {"start": 1, "every": 3}, "ends before the whole encoder learns"),
    ],
)
def test_what_the_run_will_not_come_to_is_said(
    encoder: str, thaw: dict[str, Any], note: str | None, tmp_path: Path
) -> None:
    config = tiny(tmp_path, "thawed", student={"encoder": encoder}, training={"epochs": 11})
    text = planned(with_values(config, {"thaw": {"every": 1, **thaw}}))
    expected = "" if note is None else note
    assert expected in text
    assert ("ends before" in text or "Nothing thaws" in text) == (note is not None)


def test_the_shape_of_the_rate_is_told(tmp_path: Path) -> None:
    text = planned(tiny(tmp_path, optimizer={"schedule": "cosine"}))
    assert "Over the run every rate follows 'cosine'." in text


def test_norms_that_keep_their_statistics_are_told(tmp_path: Path) -> None:
    line = "Batch norms of the encoder keep the statistics that they come with (thaw.norm_eval)."
    config = tiny(tmp_path, "thawed")
    assert line not in planned(config)
    assert line in planned(with_values(config, {"thaw": {"norm_eval": True}}))


def test_an_average_of_the_weights_is_told(tmp_path: Path) -> None:
    config = tiny(tmp_path, "thawed")
    assert "average of the weights" not in planned(config)
    line = "Scores are those of an average of the weights (training.average 0.99)."
    assert line in planned(with_values(config, {"training": {"average": 0.99}}))


def test_what_may_turn_out_otherwise_is_marked_and_explained(tmp_path: Path) -> None:
    thaw = {"start": 1, "every": 2, "most": 2}
    config = tiny(tmp_path, "thawed", thaw=thaw, training={"epochs": 8})
    plain, rows = planned(config), planned(config, "json")
    assert "*" not in plain and "conditional" not in rows
    changes: dict[str, Any] = {"thaw_guard": True, "memory": "delay", "block_warmup": 0.5}
    reacting = with_values(config, {"reactions": changes, "training": {"patience": 2}})
    text = planned(reacting)
    assert [line.split()[0] for line in text.splitlines() if line.strip()[:1].isdigit()] == ["0", "1-2*", "3-7*"]
    assert text.splitlines()[-3:] == [
        "* begins later, or never, while validation loss rises and training loss falls (reactions.thaw_guard) and "
        "where memory does not suffice for it (reactions.memory).",
        "A block that thaws reaches its rate over 0.5 epochs (reactions.block_warmup).",
        "The run may end after epoch 5 or a later one, when 2 epochs have brought no better score (training.patience).",
    ]
    assert [stage.get("conditional") for stage in json.loads(planned(reacting, "json"))["stages"]] == [None, True, True]
    assert planned(reacting, "csv") == planned(config, "csv")
    assert "may end" not in planned(with_values(config, {"training": {"patience": 4}}))
    warmed = with_values(config, {"reactions": {"block_warmup": 1.0}})
    assert json.loads(planned(warmed, "json")) == json.loads(rows)
    assert "reaches its rate over 1 epoch (" in planned(warmed)


def test_nothing_is_written(tmp_path: Path) -> None:
    planned(tiny(tmp_path / "runs"))
    assert not list(tmp_path.iterdir())


def test_a_plan_of_data_that_are_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SnowmeltError, match="no such folder"):
        planned(tiny(tmp_path, data={"source": str(tmp_path / "nowhere")}))


def test_a_plan_counts_the_images_and_classes_of_a_folder(tmp_path: Path) -> None:
    root = write_data_folder(tmp_path / "set", count=8, classes=3)
    config = tiny(tmp_path, "auto", data={"source": str(root)})
    assert "auto: 7 training images: " in planned(config)
    three = json.loads(planned(config, "json"))["stages"][0]["trainable_parameters"]
    two = json.loads(planned(tiny(tmp_path, "auto"), "json"))["stages"][0]["trainable_parameters"]
    assert three - two == 2 * (8 * 9 + 1)


def test_weights_that_move_are_shown(tmp_path: Path) -> None:
    moving = {"alpha": {"kind": "linear", "initial": 0.8, "final": 0.2}}
    text = planned(tiny(tmp_path, distillation={"weight_schedules": moving}))
    rows = text[text.index("Weights of the losses") :].splitlines()
    assert [line.split() for line in rows if line.strip()[:1].isdigit()] == [["0", "0.8"], ["1", "0.2"]]
    assert "Weights of the losses" not in planned(tiny(tmp_path))
