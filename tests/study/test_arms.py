"""Arms differ from the experiment in what their words say, and in nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from snowmelt.config import ExperimentConfig, with_values
from snowmelt.config_manager import CONFIGS, REFERENCE
from snowmelt.errors import SnowmeltError
from snowmelt.study import base_of, make_arms

EXPERIMENT = ExperimentConfig(
    name="mine",
    output=Path("there"),
    seed=3,
    student={"encoder": "tu-mobilenetv2_100"},
    temperature={"kind": "linear", "initial": 5.0, "final": 0.5},
    thaw={"start": 7, "every": 2, "lr_scale": 0.3, "most": 4},
    optimizer={"lr": 2e-3},
)
ALL = ("plain", "kd", "cooled", "t1", "t2.5", "thaw", "kd+thaw", "t4+thaw", "cooled+thaw")


def settings_of(config: ExperimentConfig) -> dict[str, Any]:
    """What arms change, as values; all the rest as one."""
    values = config.model_dump()
    picked = {
        "teacher": config.distills,
        "temperature": values.pop("temperature"),
        "progressive": values["thaw"].pop("progressive"),
    }
    values["distillation"].pop("enabled")
    return {**picked, "rest": values}


def only(config: ExperimentConfig, word: str, filler: str = "t99+thaw") -> ExperimentConfig:
    return make_arms(config, [word, filler])[0].config


def test_arms_change_what_they_say_and_leave_the_rest() -> None:
    arms = {arm.name: settings_of(arm.config) for arm in make_arms(EXPERIMENT, ALL)}
    own = settings_of(EXPERIMENT)
    assert all(arm["rest"] == own["rest"] for arm in arms.values())
    taught = {name: arm["teacher"] for name, arm in arms.items()}
    assert [name for name, given in taught.items() if not given] == ["plain", "thaw"]
    assert {name for name, arm in arms.items() if arm["progressive"]} == {
        "thaw",
        "kd+thaw",
        "t4+thaw",
        "cooled+thaw",
    }
    constant = {name: arm["temperature"]["initial"] for name, arm in arms.items() if taught[name]}
    assert constant == {"kd": 5, "cooled": 5, "t1": 1, "t2.5": 2.5, "kd+thaw": 5, "t4+thaw": 4, "cooled+thaw": 5}
    kinds = {name: arm["temperature"]["kind"] for name, arm in arms.items() if taught[name]}
    assert {name for name, kind in kinds.items() if kind != "constant"} == {"cooled", "cooled+thaw"}
    assert arms["cooled"]["temperature"] == own["temperature"]


def test_an_arm_knows_its_teacher_and_whether_it_has_both_schedules() -> None:
    arms = make_arms(EXPERIMENT, ALL)
    assert [arm.name for arm in arms if arm.teacher] == [name for name in ALL if name not in ("plain", "thaw")]
    assert [arm.name for arm in arms if arm.schedule] == ["cooled+thaw"]
    (piecewise, _) = make_arms(
        with_values(EXPERIMENT, {"temperature": {"kind": "piecewise", "milestones": {0: 3.0, 9: 3.0}}}),
        ["config", "plain"],
    )
    assert not piecewise.schedule  # it never moves


def test_config_is_the_experiment_as_it_is() -> None:
    assert only(EXPERIMENT, "config", "plain") == EXPERIMENT


def test_the_named_experiments_are_what_the_words_say() -> None:
    """The registered arms of the reference, made of words: equal in all that has an effect."""
    reference = CONFIGS[REFERENCE]
    for word, name in (("plain", "plain"), ("kd", "unscheduled"), ("cooled", "cooled"), ("thaw", "thawed")):
        made, named = settings_of(only(reference, word)), settings_of(CONFIGS[name])
        assert (made["teacher"], made["progressive"]) == (named["teacher"], named["progressive"]), word
        if made["teacher"]:
            assert made["temperature"] == named["temperature"], word


@pytest.mark.parametrize(
    ("temperature", "first"),
    [
        ({"kind": "piecewise", "milestones": {10: 3.0, 4: 6.0}}, 6.0),
        ({"kind": "constant", "initial": 3.0}, 3.0),
        ({"kind": "exponential", "initial": 2.0}, 2.0),
    ],
)
def test_distillation_stays_at_the_first_temperature(temperature: dict[str, Any], first: float) -> None:
    config = only(with_values(EXPERIMENT, {"temperature": temperature}), "kd", "plain")
    assert [config.temperature.schedule().at(epoch, 20) for epoch in (0, 10, 19)] == [first] * 3


def test_a_constant_temperature_is_cooled_by_a_cosine_to_one() -> None:
    arm = make_arms(with_values(EXPERIMENT, {"temperature": {"kind": "constant", "initial": 3.0}}), ["cooled", "kd"])[0]
    schedule = arm.config.temperature.schedule()
    assert (schedule.kind, schedule.at(0, 9), schedule.at(8, 9)) == ("cosine", 3.0, 1.0)
    assert "cosine 3 to 1 in place of the constant" in arm.description
    with pytest.raises(SnowmeltError, match="nothing to cool; set temperature"):
        make_arms(with_values(EXPERIMENT, {"temperature": {"kind": "constant", "initial": 1.0}}), ["cooled", "plain"])


def test_a_teacher_that_is_off_is_switched_on_and_pictures_without_masks_are_left_out() -> None:
    off = ExperimentConfig(distillation={"enabled": False})
    assert only(off, "kd", "plain").distills
    unlabelled = with_values(EXPERIMENT, {"data": {"unlabelled": "more"}})
    plain, thaw, kd = make_arms(unlabelled, ["plain", "thaw", "kd"])
    assert (plain.config.data.unlabelled, thaw.config.data.unlabelled) == (None, None)
    assert kd.config.data.unlabelled == "more"
    assert "no pictures without masks" in plain.description and "no pictures" not in kd.description


def test_descriptions_are_one_line_each_and_tell_arms_apart() -> None:
    arms = make_arms(EXPERIMENT, ALL, ["hot: cooled+thaw temperature.initial=8"])
    assert len({arm.description for arm in arms}) == len(arms)
    assert not any("\n" in arm.description for arm in arms)
    assert arms[0].description == "no teacher, whole encoder learns from epoch 0"
    assert arms[-2].description.endswith("first block thaws at epoch 7, one more every 2, encoder rate x 0.3")
    assert arms[-1].description.endswith("set temperature.initial=8")
    by_size = make_arms(with_values(EXPERIMENT, {"schedule_by_size": True}), ["thaw", "plain"])[0]
    assert by_size.description == "no teacher, thaw by the number of training images"


def test_own_arms_are_words_and_settings() -> None:
    own = [
        "hot: cooled+thaw temperature.initial=8",
        "slow : optimizer.lr=1e-4",
        "words: kd thaw distillation.alpha=0.7",
        "steps: thaw cooled 'temperature.milestones={0: 4, 3: 2}' temperature.kind=piecewise",
    ]
    _, hot, slow, words, steps = make_arms(EXPERIMENT, ["plain"], own)
    assert (hot.name, hot.config.temperature.initial, hot.config.temperature.kind) == ("hot", 8, "linear")
    assert slow.config == with_values(EXPERIMENT, {"optimizer": {"lr": 1e-4}})
    assert (words.config.distillation.alpha, words.config.thaw.progressive) == (0.7, True)
    assert words.config.temperature.kind == "constant"
    assert steps.config.temperature.milestones == {0: 4, 3: 2}


def test_a_setting_may_name_the_teacher_that_a_word_asks_for() -> None:
    alone = with_values(EXPERIMENT, {"teacher": {"source": "none"}})
    plain, taught = make_arms(alone, ["plain"], ["taught: kd teacher.source=auto"])
    assert not plain.teacher and taught.teacher
    with pytest.raises(SnowmeltError, match="arm 'kd' needs a teacher, but"):
        make_arms(alone, ["plain", "kd"])


def test_the_base_is_plain_or_else_the_first() -> None:
    assert base_of(make_arms(EXPERIMENT, ["kd", "thaw", "plain"])).name == "plain"
    assert base_of(make_arms(EXPERIMENT, ["kd", "thaw"])).name == "kd"


@pytest.mark.parametrize(
    ("names", "own", "said"),
    [
        (["plain", "warm"], [], "arm 'warm': there is no ingredient 'warm'; known: plain, kd"),
        (["plain", "kd+"], [], "there is no ingredient ''"),
        (["plain", "t"], [], "there is no ingredient 't'"),
        (["plain", "t0"], [], "temperature 0 is not positive"),
        (["plain+thaw", "kd"], [], "'plain' stands alone"),
        (["config+thaw", "kd"], [], "'config' stands alone"),
        (["kd+cooled", "plain"], [], "kd and cooled are two temperatures"),
        (["thaw+thaw", "plain"], [], "'thaw' is given twice"),
        (["plain", "kd", "kd"], [], "arm 'kd' is given twice"),
        (["plain", "kd", "t5"], [], "arms 'kd' and 't5' have the same settings"),
        (["plain", "t1", "t1.0"], [], "arms 't1' and 't1.0' have the same settings"),
        (["kd+thaw", "thaw+kd"], [], "have the same settings"),
        (["config", "cooled+thaw"], [], "arms 'config' and 'cooled+thaw' have the same settings"),
        (["plain"], ["bare: plain temperature.initial=7"], "arms 'plain' and 'bare' have the same settings"),
        (["plain"], ["bare: plain thaw.start=2"], "have the same settings"),
        (["kd"], ["late: kd temperature.final=0.7"], "have the same settings"),
        (["plain"], ["a: kd", "A: thaw"], "arm 'A' is given twice"),
        (["plain"], [], "at least two arms, but 1 is given"),
        (["plain"], ["hot kd"], "write it as 'NAME: WORD...'"),
        (["plain"], [": kd"], "arm '': its name is a folder's too"),
        (["plain"], ["a/b: kd"], "arm 'a/b': its name"),
        (["plain"], ["..: kd"], "its name"),
        (["plain"], ["nul: kd"], "its name"),
        (["plain"], ["x.: kd"], "its name"),
        (["plain"], ["a b: kd"], "its name"),
        (["kd"], ["plain: thaw"], "'plain' is the name of a ready-made arm"),
        (["plain"], ["x: kd 'thaw.start=1"], "no closing quotation; close the quotes"),
        (["plain"], ["x: kd thaw.begin=1"], "arm 'x': thaw.begin: there is no such setting"),
        (["plain"], ["x: kd =1"], "arm 'x': =1: write it as name=value"),
        (["plain"], ["x: warm"], "arm 'x': there is no ingredient 'warm'"),
        (["plain"], ["x: kd seed=4"], "arm 'x': seed has to be the same in all arms"),
        (["plain"], ["x: kd data.source=scenes:9"], "data.source has to be the same"),
        (["plain"], ["x: kd data.seed=9"], "data.seed has to be the same"),
        (["plain"], ["x: kd distillation.alpha=0"], "needs a teacher that counts, but distillation.alpha is 0"),
    ],
)
def test_what_is_no_comparison_is_refused_in_one_line(names: list[str], own: list[str], said: str) -> None:
    with pytest.raises(SnowmeltError) as caught:
        make_arms(EXPERIMENT, names, own)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_with_an_effect_make_arms_differ() -> None:
    own = ["far: thaw.most=2", "less: plain data.limit=9", "last: cooled temperature.final=0.7"]
    assert len(make_arms(EXPERIMENT, ["plain", "config", "cooled"], own)) == 6
