"""``snowmelt cache``, and runs that read their teacher's answers from a cache."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_experiments import overheard, tiny, write_data_folder

from snowmelt.build import open_data
from snowmelt.config import with_values
from snowmelt.errors import SnowmeltError
from snowmelt.jobs import cache_teacher, caching, running, score_run, train_experiment
from snowmelt.jobs.pictures import draw_predictions
from snowmelt.models import load_weights
from snowmelt.reporting import RunFolder
from snowmelt.teachers import FittedTeacher

pytestmark = pytest.mark.usefixtures("draws_nothing")


def cached(cycle: Any, **values: Any) -> Any:
    return cycle.distilled(**{"name": "cached", "teacher": {"source": str(cycle.teacher)}, **values})


def metrics(config: Any) -> list[dict[str, str]]:
    return list(csv.DictReader((config.output / config.name / "metrics.csv").read_text().splitlines()))


def test_answers_are_computed_beforehand_and_what_they_cost_is_shown(cycle_copy: Any) -> None:
    config = cached(
        cycle_copy, teacher={"source": str(cycle_copy.teacher), "cache_folder": str(cycle_copy.output / "c")}
    )
    report, said = overheard(cache_teacher, config)
    assert report.images == 4
    assert "teacher cache: 4 images asked in" in said and "stride" in said
    assert "->" in said and "bytes an image" in said
    report, said = overheard(cache_teacher, config)
    assert report.images == 0
    assert "the answers to all 4 images are there" in said


def test_a_run_reads_the_cache_and_asks_nobody_while_it_trains(
    cycle_copy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    overheard(cache_teacher, cached(cycle_copy))
    asked: list[int] = []
    original = FittedTeacher.__call__

    def counted(self: FittedTeacher, images: torch.Tensor) -> torch.Tensor:
        asked.append(len(images))
        return original(self, images)

    monkeypatch.setattr(FittedTeacher, "__call__", counted)
    monkeypatch.setattr(running, "draw_predictions", draw_predictions)  # in this test
    config = cached(cycle_copy)
    record, _ = overheard(train_experiment, config)
    assert record["teacher_mode"] == "cached"
    # Once about the four validation images, and once about those whose predictions are drawn.
    assert sum(asked) == 8
    assert RunFolder(config.output / config.name).read_config()["teacher"]["mode"] == "cached"
    assert all(float(row["train/kl"]) > 0 for row in metrics(config))


def test_live_and_cached_differ_and_each_is_the_same_again(cycle_copy: Any) -> None:
    losses = {}
    for name, mode in (("a", "live"), ("b", "live"), ("c", "cached"), ("d", "cached")):
        config = cached(cycle_copy, name=name, teacher={"source": str(cycle_copy.teacher), "mode": mode})
        overheard(train_experiment, config)
        losses[name] = [row["train/kl"] for row in metrics(config)]
    assert losses["a"] == losses["b"] != losses["c"] == losses["d"]


def test_a_cached_run_goes_on_as_if_it_had_not_been_cut(cycle_copy: Any) -> None:
    overheard(train_experiment, cached(cycle_copy, name="whole"))
    overheard(train_experiment, cached(cycle_copy, name="cut", training={"max_steps": 3}))
    overheard(train_experiment, cached(cycle_copy, name="cut"), resume=True)
    states = [
        load_weights(cycle_copy.output / name / "checkpoints" / "last.safetensors")[0] for name in ("whole", "cut")
    ]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_a_resumed_run_keeps_its_mode(cycle_copy: Any) -> None:
    live = {"source": str(cycle_copy.teacher), "mode": "live"}
    overheard(train_experiment, cached(cycle_copy, teacher=live, training={"max_steps": 1}))
    record, said = overheard(train_experiment, cached(cycle_copy, training={"max_steps": 2}), resume=True)
    assert record["teacher_mode"] == "live" and "asked live" in said
    other = {"source": str(cycle_copy.teacher), "mode": "cached"}
    with pytest.raises(SnowmeltError, match=r"teacher\.mode was 'live' and is now 'cached'"):
        overheard(train_experiment, cached(cycle_copy, teacher=other, training={"max_steps": 3}), resume=True)


def test_a_resumed_run_keeps_its_encoding(cycle_copy: Any) -> None:
    overheard(train_experiment, cached(cycle_copy, training={"max_steps": 1}))
    folders = list((cycle_copy.output / "teacher-cache").iterdir())
    assert len(folders) == 1
    for about in folders[0].glob("cache.json"):
        about.write_text(about.read_text().replace('"stride": 1', '"stride": 8'))  # another table, another choice
    with pytest.raises(SnowmeltError, match=r"digest of the teacher was .* uint8-s1-.* and is .* uint8-s8-"):
        overheard(train_experiment, cached(cycle_copy, training={"max_steps": 2}), resume=True)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"distillation": {"enabled": False}}, "has no teacher to cache"),
        ({"teacher": {"mode": "live"}}, "asks its teacher live .teacher.mode says so."),
        (
            {"distillation": {"feature_weight": 1.0, "feature_layers": ["decoder"]}},
            "asks its teacher live .features are matched.",
        ),
    ],
)
def test_where_there_is_nothing_to_cache_it_says_so(
    cycle: Any, values: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "open_session", lambda config: pytest.fail("a teacher would be trained first"))
    config = with_values(cached(cycle), values)
    with pytest.raises(SnowmeltError, match=said):
        overheard(cache_teacher, config)


def test_images_without_masks_join_and_their_teacher_never_sees_them(cycle_copy: Any, tmp_path: Path) -> None:
    more = write_data_folder(tmp_path / "more", count=5, classes=3) / "images"
    config = cycle_copy.distilled(name="joined", teacher={"source": "auto"}, data={"unlabelled": str(more)})
    teachers = set((cycle_copy.output / "teachers").iterdir())
    record, said = overheard(train_experiment, config)
    assert set((cycle_copy.output / "teachers").iterdir()) == teachers  # the same teacher as without them
    assert "5 unlabelled images join the 4 labelled ones" in said
    assert "teacher cache: 5 images asked" in said and "9 are used" in said  # four were stored by the first run
    assert record["step"] == 2 * 4  # two epochs of nine images, two at a time; the last step takes the odd one
    rows = metrics(config)
    assert all(float(row["train/task"]) > 0 and float(row["train/kl"]) > 0 for row in rows)
    assert record["data"] == train_record(cycle_copy)["data"]  # comparable with runs on the labelled images alone


def test_unlabelled_images_that_are_left_out_are_named_in_the_summary(cycle: Any, tmp_path: Path) -> None:
    root = write_data_folder(tmp_path / "set")
    more = write_data_folder(tmp_path / "more", count=3, classes=3) / "images"
    held_out = open_data(tiny(tmp_path, data={"source": str(root)})).val.name(0)
    shutil.copy(root / "images" / held_out, more / "again.png")
    data = {"source": str(root), "unlabelled": str(more)}
    config = tiny(tmp_path / "runs", teacher={"source": str(cycle.teacher)}, data=data, training={"max_steps": 1})
    _, said = overheard(train_experiment, config)
    note = "1 of the unlabelled images are validation images too and are left out"
    assert "3 unlabelled images join the 5 labelled ones" in said
    assert f"warning: {note}" in said and f"  - {note}" in said
    [log] = (config.output / config.name / "logs").glob("training_log_*.txt")
    assert note in log.read_text()


def test_features_are_matched_live_and_scored_without(cycle_copy: Any) -> None:
    matching = {"feature_weight": 1.0, "feature_layers": ["encoder.3", "decoder"]}
    config = cached(cycle_copy, name="matched", distillation=matching)
    record, _ = overheard(train_experiment, config)
    assert record["teacher_mode"] == "live"
    assert all(float(row["val/feature"]) > 0 for row in metrics(config))
    score, _ = overheard(score_run, config)  # the projections are gone, so the features cannot be scored
    assert "kl" in score.terms and "feature" not in score.terms


def test_a_layer_that_the_student_lacks_is_named_before_a_teacher_is_trained(tmp_path: Path) -> None:
    matching = {"feature_weight": 1.0, "feature_layers": ["encoder.9"]}
    config = tiny(tmp_path, "unscheduled", distillation=matching)
    with pytest.raises(SnowmeltError, match=r"encoder\.9"):
        overheard(train_experiment, config)
    assert not (tmp_path / "teachers").exists()


def train_record(cycle: Any) -> dict[str, Any]:
    from snowmelt.jobs.records import read_record

    record = read_record(cycle.output / "plain")
    assert record is not None
    return record
