"""A run, a teacher and a data set are known again by what decides them, and by nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_experiments import tiny, write_data_folder

from snowmelt.build import data_digest, digest_of, identity_of, open_data, teacher_experiment
from snowmelt.build.identity import FREE_ON_RESUME, ONCE_COMPARED, flatten, later_defaults, without_later_defaults
from snowmelt.config import ExperimentConfig, with_values
from snowmelt.data import Splits, SubsetSource


def nested(path: str, value: Any) -> dict[str, Any]:
    if path == "reactions.memory_limit":  # which is refused without a use for it
        return {"reactions": {"memory": "split", "memory_limit": value}}
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


FREE = [
    ("name", "other"),
    ("description", "other"),
    ("output", "elsewhere"),
    ("data.workers", 3),
    ("data.store", "none"),
    ("data.store_folder", "elsewhere"),
    ("student.weights", "auto"),
    ("teacher.cache_folder", "elsewhere"),
    ("teacher.cache_precision", "float16"),
    ("teacher.cache_stride", 4),
    ("training.max_steps", 5),
    ("training.device", "auto"),
    ("training.threads", 2),
    ("training.checkpoint_every", 7),
    ("training.log_every", 7),
    ("training.max_skipped", 7),
    ("training.rollbacks", 1),
    ("training.rollback_scale", 0.25),
    ("training.on_write_failure", "go_on"),
    ("training.check_space", False),
    ("training.compile", True),
    ("training.deterministic", True),
    ("reactions.memory", "split"),
    ("reactions.memory_limit", 1000),
]
DECISIVE = [
    ("seed", 1),
    ("data.source", "scenes:5"),
    ("data.seed", 1),
    ("data.image_size", 96),
    ("data.augmentation", "none"),
    ("data.limit", 3),
    ("optimizer.lr", 0.5),
    ("optimizer.weight_decay", 0.5),
    ("optimizer.clip_norm", None),
    ("task.dice_weight", 0.5),
    ("task.class_weights", [1.0, 2.0]),
    ("training.batch_size", 3),
    ("training.accumulate", 2),
    ("training.precision", "bf16"),
]
OF_THE_STUDENT = [
    ("student.encoder", "resnet18"),
    ("distillation.alpha", 0.7),
    ("temperature.initial", 9.0),
    ("temperature.kind", "linear"),
    ("thaw.progressive", True),
    ("thaw.lr_scale", 0.5),
    ("thaw.norm_eval", True),
    ("training.patience", 3),
    ("training.average", 0.9),
    ("reactions.thaw_guard", True),
    ("reactions.block_warmup", 1.0),
    ("training.epochs", 9),
]
OF_THE_TEACHER = [
    ("teacher.network.encoder", "resnet18"),
    ("teacher.network.depth", 4),
    ("teacher.network.weights", "auto"),
    ("teacher.epochs", 9),
    ("teacher.lr_scale", 0.5),
    ("teacher.norm_eval", True),
]


def test_the_free_settings_are_those_tried_here() -> None:
    assert {path for path, _ in FREE} == set(FREE_ON_RESUME)


@pytest.mark.parametrize(("path", "value"), FREE)
def test_where_and_how_it_is_computed_is_free(path: str, value: Any, config: ExperimentConfig) -> None:
    changed = with_values(config, nested(path, value))
    assert changed != config
    assert identity_of(changed) == identity_of(config)
    assert path not in identity_of(config)


@pytest.mark.parametrize(("path", "value"), [*DECISIVE, *OF_THE_STUDENT, *OF_THE_TEACHER])
def test_what_decides_the_result_is_not(path: str, value: Any, config: ExperimentConfig) -> None:
    before, after = identity_of(config), identity_of(with_values(config, nested(path, value)))
    assert [key for key in before | after if before.get(key) != after.get(key)] == [path]


@pytest.mark.parametrize(("path", "value"), [("teacher.epochs", 9), ("temperature.initial", 9.0)])
def test_without_a_teacher_its_settings_decide_nothing(path: str, value: Any, config: ExperimentConfig) -> None:
    plain = with_values(config, {"distillation": {"enabled": False}})
    assert identity_of(plain) == identity_of(with_values(plain, nested(path, value)))
    assert identity_of(plain) != identity_of(config)


def teacher_name(config: ExperimentConfig, splits: Splits) -> str:
    experiment = teacher_experiment(config, splits)
    assert experiment.output == config.output / "teachers"
    return experiment.name


@pytest.mark.parametrize(("path", "value"), [*DECISIVE, *OF_THE_TEACHER])
def test_a_teacher_of_other_settings_is_another(
    path: str, value: Any, config: ExperimentConfig, splits: Splits
) -> None:
    assert teacher_name(with_values(config, nested(path, value)), splits) != teacher_name(config, splits)


@pytest.mark.parametrize(
    ("path", "value"), [*FREE, *((path, value) for path, value in OF_THE_STUDENT if path != "training.epochs")]
)
def test_a_teacher_is_the_same_for_every_student(
    path: str, value: Any, config: ExperimentConfig, splits: Splits
) -> None:
    assert teacher_name(with_values(config, nested(path, value)), splits) == teacher_name(config, splits)


def test_a_longer_student_keeps_a_teacher_whose_epochs_are_given(config: ExperimentConfig, splits: Splits) -> None:
    longer = with_values(config, {"training": {"epochs": 9}})
    assert teacher_name(longer, splits) == teacher_name(config, splits)
    opened = {"teacher": {"epochs": None}}
    assert teacher_name(with_values(longer, opened), splits) != teacher_name(with_values(config, opened), splits)


def test_a_teacher_of_other_data_is_another(config: ExperimentConfig, splits: Splits) -> None:
    fewer = replace(splits, train=SubsetSource(splits.train, [0, 1]))
    swapped = replace(splits, train=splits.val, val=splits.train)
    assert len({teacher_name(config, each) for each in (splits, fewer, swapped)}) == 3


def test_a_teacher_is_named_for_its_encoder(config: ExperimentConfig, splits: Splits) -> None:
    name = teacher_name(config, splits)
    assert name.startswith(f"{config.teacher.network.encoder}-")
    assert len(name.rsplit("-", 1)[1]) == 8


def test_the_experiment_of_a_teacher(config: ExperimentConfig, splits: Splits) -> None:
    changed = {
        "thaw": {"progressive": True, "start": 7, "most": 1, "lr_scale": 0.5},
        "teacher": {"epochs": 5, "lr_scale": 0.3, "norm_eval": True},
        "task": {"dice_weight": 0.25},
        "optimizer": {"lr": 0.02, "schedule": "constant"},
        "schedule_by_size": True,
        "seed": 11,
    }
    student = with_values(config, changed)
    teacher = teacher_experiment(student, splits)
    assert teacher.student == student.teacher.network
    assert not teacher.distills
    assert not teacher.schedule_by_size
    assert (teacher.thaw.progressive, teacher.thaw.lr_scale, teacher.thaw.most) == (False, 0.3, None)
    assert teacher.thaw.norm_eval
    of_the_student = with_values(config, {"thaw": {"norm_eval": True}})
    assert not teacher_experiment(of_the_student, splits).thaw.norm_eval
    assert (teacher.training.epochs, teacher.optimizer.schedule) == (5, "cosine")
    same = ("data", "task", "seed")
    assert [getattr(teacher, key) for key in same] == [getattr(student, key) for key in same]
    assert (teacher.optimizer.lr, teacher.training.batch_size) == (0.02, student.training.batch_size)


def test_data_are_told_apart_by_names_and_classes(tmp_path: Path) -> None:
    def digest(folder: Path, **data: Any) -> str:
        return data_digest(open_data(tiny(tmp_path, data={"source": str(folder), **data})))

    one, other = write_data_folder(tmp_path / "one"), write_data_folder(tmp_path / "other", count=7)
    assert digest(one) == digest(one) == digest(write_data_folder(tmp_path / "again"))
    different = [digest(one), digest(other), digest(one, classes=["ground", "box"]), digest(one, val_fraction=0.4)]
    assert len(set(different)) == len(different)


def test_a_digest_depends_on_values_and_not_on_their_order() -> None:
    assert digest_of({"a": 1, "b": [2, None]}) == digest_of({"b": [2, None], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})
    assert digest_of({"a": 1}) != digest_of({"b": 1})
    assert len(digest_of({})) == 8


def test_flat_settings_have_dotted_names() -> None:
    assert flatten({"a": 1, "b": {"c": {"d": [2]}, "e": {}}}) == {"a": 1, "b.c.d": [2]}


def test_a_teacher_follows_the_schedules_of_its_task(config: ExperimentConfig, splits: Splits) -> None:
    """Those of distillation are the student's; a task whose constant weights are 0 is a task for the teacher too."""
    fading = {"ce_weight": {"initial": 0.0, "final": 1.0}, "alpha": {"initial": 0.5, "final": 0.0}}
    changed = with_values(
        config,
        {"task": {"ce_weight": 0.0, "dice_weight": 0.0}, "distillation": {"weight_schedules": fading, "cwd_weight": 1}},
    )
    experiment = teacher_experiment(changed, splits)
    assert not experiment.distillation.enabled
    assert list(experiment.distillation.weight_schedules) == ["ce_weight"]
    assert experiment.distillation.weight_schedules["ce_weight"].initial == 0.0
    alone = with_values(config, {"distillation": {"weight_schedules": {"alpha": fading["alpha"]}}})
    assert teacher_name(alone, splits) == teacher_name(config, splits)


def test_settings_that_came_later_are_at_their_default_in_a_run_of_before(config: ExperimentConfig) -> None:
    """So its checkpoint goes on, and its teacher is found by the name that it had."""
    later, identity = later_defaults(), identity_of(config)
    assert {"reactions.thaw_guard", "training.patience", "training.average", "thaw.norm_eval"} <= later.keys()
    assert {key: identity[key] for key in later} == later
    before = without_later_defaults(identity)
    assert before == {**ONCE_COMPARED, **{key: value for key, value in identity.items() if key not in later}}
    changed = identity_of(with_values(config, {"training": {"average": 0.9}}))
    assert without_later_defaults(changed) == {**before, "training.average": 0.9}


def test_a_teacher_of_before_is_found_by_the_name_that_it_had(tmp_path: Path) -> None:
    # Its data are generated, so the name is the same everywhere; its decoder is smp's, as it was then.
    config = tiny(tmp_path, "demo", teacher={"network": {"decoder_channels": None}})
    assert teacher_name(config, open_data(config)) == "tu-mobilenetv3_small_050-4752dfc1"


def test_a_teacher_has_no_reactions_but_to_memory(config: ExperimentConfig, splits: Splits) -> None:
    reacting = {"training": {"patience": 3, "average": 0.9}, "reactions": {"thaw_guard": True, "memory": "split"}}
    teacher = teacher_experiment(with_values(config, reacting), splits)
    assert (teacher.reactions.memory, teacher.reactions.memory_limit) == ("split", None)
    expected = {key: value for key, value in later_defaults().items() if not key.startswith("teacher.")}
    assert expected.items() <= identity_of(teacher).items()
