"""What a resumed run keeps: its teacher, its first weights' origin, its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_experiments import overheard, tiny, write_data_folder

from snowmelt.build import make_network
from snowmelt.config import with_values
from snowmelt.errors import SnowmeltError
from snowmelt.jobs import prepare, train_experiment
from snowmelt.jobs.running import adopt_choices
from snowmelt.models import load_weights, save_weights
from snowmelt.reporting import read_metrics

pytestmark = pytest.mark.usefixtures("draws_nothing")


def test_a_student_keeps_the_teacher_that_it_began_with(tmp_path: Path) -> None:
    """A teacher cut by max_steps is not trained further for the second half of its student."""
    cut = tiny(tmp_path, training={"max_steps": 2, "epochs": 3})
    overheard(train_experiment, cut)
    whole = with_values(cut, {"training": {"max_steps": None}})
    record, said = overheard(train_experiment, whole, resume=True)
    assert "stays as it was when the student began" in said
    assert record["reason"] == "complete"
    rows = read_metrics(tmp_path / cut.name / "metrics.csv")
    assert len(rows) == 3
    assert len({row["teacher_miou"] for row in rows}) == 1


def test_another_teacher_in_the_same_place_is_refused(tmp_path: Path) -> None:
    config = tiny(tmp_path, training={"epochs": 2, "max_steps": 1})
    built = make_network(config.teacher.network, 1, seed=5)
    weights = tmp_path / "teacher.safetensors"
    save_weights(weights, built.network, {})
    config = with_values(config, {"teacher": {"source": str(weights)}})
    overheard(train_experiment, config)
    save_weights(weights, make_network(config.teacher.network, 1, seed=6).network, {})
    with pytest.raises(SnowmeltError, match="digest of the teacher was"):
        overheard(train_experiment, with_values(config, {"training": {"max_steps": None}}), resume=True)


def test_an_image_that_is_gone_is_noticed(tmp_path: Path) -> None:
    data = write_data_folder(tmp_path / "data", count=8)
    config = tiny(tmp_path / "runs", "plain", data={"source": str(data)}, training={"epochs": 2, "max_steps": 1})
    overheard(train_experiment, config)
    gone = sorted((data / "images").iterdir())[0]
    gone.unlink()
    (data / "masks" / f"{gone.stem}.png").unlink()
    with pytest.raises(SnowmeltError, match="digest of the data's names was"):
        overheard(train_experiment, with_values(config, {"training": {"max_steps": None}}), resume=True)


def test_auto_weights_stay_what_they_were_when_the_run_began(cycle: Any, tmp_path: Path) -> None:
    config = cycle.distilled()
    today = with_values(config, {"student": {"weights": "auto"}, "teacher": {"network": {"weights": "auto"}}})
    adopted = adopt_choices(cycle.output / config.name, today)
    assert (adopted.student.weights, adopted.teacher.network.weights) == ("none", "none")
    assert adopt_choices(tmp_path / "nothing here", today) == today


@pytest.mark.parametrize("name", ["teacher.safetensors", "teacher.pth"])
def test_the_state_dict_of_a_plain_network_teaches(name: str, tmp_path: Path) -> None:
    config = tiny(tmp_path, training={"epochs": 1, "max_steps": 1})
    state = make_network(config.teacher.network, 1, seed=5).network.state_dict()
    contiguous = {key: value.contiguous() for key, value in state.items()}
    if name.endswith(".pth"):
        torch.save(contiguous, tmp_path / name)
    else:
        save_file(contiguous, tmp_path / name)
    record, said = overheard(train_experiment, with_values(config, {"teacher": {"source": str(tmp_path / name)}}))
    assert record["distills"] and name in said


def test_classes_of_a_teacher_in_another_order_are_put_in_order(tmp_path: Path) -> None:
    data = write_data_folder(tmp_path / "data", count=8, classes=3)
    changes: dict[str, Any] = {"data": {"source": str(data), "classes": ["ground", "cat", "dog"]}}
    config = tiny(tmp_path / "runs", training={"max_steps": 1}, **changes)
    overheard(train_experiment, config)
    best = tmp_path / "runs" / config.name / "checkpoints" / "best.safetensors"
    assert load_weights(best)[1]["classes"] == ["ground", "cat", "dog"]
    swapped = with_values(
        config,
        {
            "name": "swapped",
            "data": {"classes": ["ground", "dog", "cat"]},
            "teacher": {"source": str(best), "network": config.student.model_dump()},
        },
    )
    _, said = overheard(train_experiment, swapped)
    assert "its classes are those of the data in another order, and are put in order: ground, cat, dog" in said


def test_a_name_that_no_file_system_takes_is_refused_in_a_line() -> None:
    with pytest.raises(SnowmeltError, match="the run's name has 300 characters"):
        prepare("plain", run_name="x" * 300)
