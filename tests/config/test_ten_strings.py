"""The published list: both examples mean exactly what the guide says, and every mistake is pointed at."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowmelt.config import (
    DistillationConfig,
    ExperimentConfig,
    TemperatureConfig,
    ThawConfig,
    read_ten_strings,
)
from snowmelt.errors import SnowmeltError

REFERENCE = ["temp_scheduling", "true", "4.0", "1.0", "cosine", "progressive_unfreeze", "true", "10", "5", "0.1"]
SECOND = ["temp_scheduling", "true", "5.0", "0.5", "linear", "progressive_unfreeze", "true", "15", "3", "0.05"]
COOLING, THAWING = REFERENCE[:5], REFERENCE[5:]

DOORS: dict[str, Callable[[Any], object]] = {
    "the reader": read_ten_strings,
    "its section": lambda strings: DistillationConfig(feature_match_layers=strings),
    "the experiment": lambda strings: ExperimentConfig(
        distillation=DistillationConfig(feature_match_layers=strings),
    ),
    "plain data": lambda strings: ExperimentConfig(distillation={"feature_match_layers": strings}),
}


def experiment(strings: list[str]) -> ExperimentConfig:
    return ExperimentConfig(distillation=DistillationConfig(feature_match_layers=strings))


def replaced(position: int, value: Any) -> list[Any]:
    return [*REFERENCE[:position], value, *REFERENCE[position + 1 :]]


@pytest.mark.parametrize(
    ("strings", "temperature", "thaw"),
    [
        (
            REFERENCE,
            TemperatureConfig(kind="cosine", initial=4.0, final=1.0),
            ThawConfig(progressive=True, start=10, every=5, lr_scale=0.1),
        ),
        (
            SECOND,
            TemperatureConfig(kind="linear", initial=5.0, final=0.5),
            ThawConfig(progressive=True, start=15, every=3, lr_scale=0.05),
        ),
        (
            [*COOLING[:4], "exponential"],
            TemperatureConfig(kind="exponential", initial=4.0, final=1.0),
            ThawConfig(progressive=False, lr_scale=0.1),
        ),
        (
            THAWING,
            TemperatureConfig(kind="constant", initial=4.0),
            ThawConfig(progressive=True, start=10, every=5, lr_scale=0.1),
        ),
    ],
    ids=["the reference", "the second example", "cooling alone", "thawing alone"],
)
def test_a_list_gives_typed_settings(strings: list[str], temperature: TemperatureConfig, thaw: ThawConfig) -> None:
    config = experiment(strings)
    assert config.temperature == temperature
    assert config.thaw == thaw
    assert config.distillation == DistillationConfig()  # read once: the typed form is all that is left
    assert {"temperature", "thaw"} <= config.model_fields_set


def test_a_tuple_is_a_list_too() -> None:
    assert read_ten_strings(tuple(SECOND)) == read_ten_strings(SECOND)


def test_without_a_list_the_typed_settings_stay_as_they_are() -> None:
    config = ExperimentConfig(distillation=DistillationConfig(feature_match_layers=[]), thaw=ThawConfig(start=3))
    assert (config.temperature, config.thaw) == (TemperatureConfig(), ThawConfig(start=3))


def test_cooling_off_is_a_constant_initial_temperature() -> None:
    config = experiment([*replaced(1, "false")[:2], "2.5", "1.0", "linear", *THAWING])
    schedule = config.temperature.schedule()
    assert [schedule.at(epoch, 50) for epoch in range(50)] == [2.5] * 50
    assert config.thaw.progressive


def test_thawing_off_is_a_whole_encoder_from_epoch_0_at_the_given_scale() -> None:
    config = experiment([*COOLING, "progressive_unfreeze", "false", "10", "5", "0.03"])
    schedule = config.thaw.schedule()
    assert [schedule.blocks_at(epoch, 7) for epoch in range(50)] == [7] * 50
    assert schedule.lr_scale == 0.03
    assert config.temperature.kind == "cosine"


WRONG: dict[int, list[tuple[str, str]]] = {
    0: [
        ("temp_schedule", 'where "temp_scheduling" or "progressive_unfreeze" is expected'),
        ("TEMP_SCHEDULING", "is expected"),
        ("", "is expected"),
        ("true", "is expected"),
    ],
    1: [(word, 'neither "true" nor "false"') for word in ("yes", "1", "", " true", "cosine")],
    2: [
        ("hot", 'initial temperature "hot" is not a number'),
        ("", "is not a number"),
        ("4,0", "is not a number"),
        *((word, "must be positive and finite") for word in ("0", "-1", "nan", "inf", "-inf")),
    ],
    3: [
        ("cold", 'final temperature "cold" is not a number'),
        ("cosine", "is not a number"),
        *((word, "must be positive and finite") for word in ("0.0", "-0.5", "nan", "inf")),
    ],
    4: [
        ("quadratic", 'use one of "linear", "cosine", "exponential"'),
        ("Cosine", "is no kind of the list"),
        ("", "is no kind of the list"),
        ("1.0", "is no kind of the list"),
        ("constant", "available in the typed settings"),
        ("piecewise", "available in the typed settings"),
    ],
    5: [
        ("progressive", 'where "progressive_unfreeze" is expected'),
        ("", "is expected"),
        ("temp_scheduling", "twice"),
    ],
    6: [(word, 'neither "true" nor "false"') for word in ("on", "0", "", "10")],
    7: [
        ("ten", 'first thaw epoch "ten" is not a whole number'),
        ("10.0", "is not a whole number"),
        ("", "is not a whole number"),
        ("nan", "is not a whole number"),
        ("-1", "epochs count from 0"),
    ],
    8: [
        ("five", 'epochs per block "five" is not a whole number'),
        ("2.5", "is not a whole number"),
        ("0", "at least 1"),
        ("-5", "at least 1"),
    ],
    9: [
        ("slow", 'encoder learning-rate scale "slow" is not a number'),
        ("", "is not a number"),
        *((word, "must be positive and finite") for word in ("0", "-0.1", "nan", "inf")),
    ],
}
WRONG_AT = [(position, value, reason) for position, cases in WRONG.items() for value, reason in cases]


def test_no_position_is_left_out() -> None:
    assert sorted(WRONG) == list(range(len(REFERENCE)))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("position", "value", "reason"), WRONG_AT)
def test_a_wrong_string_is_refused_with_its_position(door: str, position: int, value: str, reason: str) -> None:
    assert_refused(door, replaced(position, value), position, reason)


@pytest.mark.parametrize(("position", "value", "reason"), [case for case in WRONG_AT if case[0] in (2, 3, 4, 7, 8, 9)])
def test_what_is_switched_off_is_checked_too(position: int, value: str, reason: str) -> None:
    off = replaced(position, value)
    off[1] = off[6] = "false"
    assert_refused("the experiment", off, position, reason)


@pytest.mark.parametrize(("position", "value", "reason"), [case for case in WRONG_AT if case[0] > 5])
def test_positions_count_in_the_list_as_given(position: int, value: str, reason: str) -> None:
    assert_refused("the experiment", replaced(position, value)[5:], position - 5, reason)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("value", [True, 4, 4.0, None, ["true"]], ids=repr)
@pytest.mark.parametrize("position", range(10))
def test_what_is_no_string_is_refused(door: str, position: int, value: Any) -> None:
    assert_refused(door, replaced(position, value), position, "not a string; write it in quotes")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("strings", [REFERENCE[:count] for count in (1, 2, 3, 4, 6, 7, 8, 9)], ids=len)
def test_a_list_that_is_too_short_is_refused_where_it_ends(door: str, strings: list[str]) -> None:
    mark = "temp_scheduling" if len(strings) < 5 else "progressive_unfreeze"
    assert_refused(door, strings, len(strings), f'missing; "{mark}" is followed by 4 strings')


@pytest.mark.parametrize("count", range(1, 5))
def test_half_of_the_second_half_is_too_short(count: int) -> None:
    assert_refused("the experiment", THAWING[:count], count, "missing")


@pytest.mark.parametrize(
    ("strings", "position", "reason"),
    [
        ([*REFERENCE, "more"], 10, "too much"),
        ([*REFERENCE, ""], 10, "too much"),
        ([*REFERENCE, *COOLING], 10, '"temp_scheduling" stands in the list twice'),
        ([*REFERENCE, *THAWING], 10, '"progressive_unfreeze" stands in the list twice'),
        ([*COOLING, *COOLING], 5, '"temp_scheduling" stands in the list twice'),
        ([*THAWING, *THAWING], 5, '"progressive_unfreeze" stands in the list twice'),
        ([*THAWING, *COOLING], 5, '"temp_scheduling" stands before "progressive_unfreeze"'),
        ([*COOLING, "more"], 5, 'where "progressive_unfreeze" is expected'),
        ([*THAWING, "more"], 5, "too much"),
    ],
)
@pytest.mark.parametrize("door", DOORS)
def test_too_much_twice_and_the_wrong_order(door: str, strings: list[str], position: int, reason: str) -> None:
    assert_refused(door, strings, position, reason)


@pytest.mark.parametrize("strings", ["temp_scheduling", {"temp_scheduling": "true"}, 4.0], ids=repr)
@pytest.mark.parametrize("door", ["the reader", "its section"])
def test_what_is_no_list_is_refused(door: str, strings: Any) -> None:
    with pytest.raises(SnowmeltError, match=r"feature_match_layers.*list"):
        DOORS[door](strings)


@pytest.mark.parametrize("section", ["temperature", "thaw"])
@pytest.mark.parametrize("strings", [REFERENCE, COOLING, THAWING], ids=["both", "cooling", "thawing"])
def test_a_list_beside_typed_settings_is_refused(strings: list[str], section: str) -> None:
    typed: dict[str, Any] = {"temperature": TemperatureConfig(), "thaw": ThawConfig()}
    distillation = DistillationConfig(feature_match_layers=strings)
    with pytest.raises(SnowmeltError, match=f"feature_match_layers and {section} are both given"):
        ExperimentConfig(distillation=distillation, **{section: typed[section]})


words = st.sampled_from([*REFERENCE, *SECOND, "false", "", "-1", "nan", "0", "piecewise"]) | st.text(max_size=5)


@given(st.lists(words, max_size=12) | st.just(REFERENCE).flatmap(lambda r: st.permutations(r)))
def test_any_list_is_read_or_refused_at_a_position_within_it(strings: list[str]) -> None:
    try:
        read_ten_strings(strings)
    except SnowmeltError as error:
        found = re.match(r"feature_match_layers, position (\d+): \S", str(error))
        assert found is not None
        assert 0 <= int(found[1]) <= len(strings)
    else:
        assert len(strings) in (0, 5, 10)


numbers = st.floats(0.01, 100)


@given(
    on=st.tuples(st.booleans(), st.booleans()),
    ends=st.tuples(numbers, numbers),
    kind=st.sampled_from(["linear", "cosine", "exponential"]),
    start=st.integers(0, 99),
    every=st.integers(1, 99),
    scale=numbers,
)
def test_whatever_is_written_is_what_the_run_does(
    on: tuple[bool, bool], ends: tuple[float, float], kind: Any, start: int, every: int, scale: float
) -> None:
    cool, thaw = (str(flag).lower() for flag in on)
    strings = ["temp_scheduling", cool, *map(repr, ends), kind, "progressive_unfreeze", thaw, str(start), str(every)]
    config = experiment([*strings, repr(scale)])
    initial, final = ends
    typed = TemperatureConfig(kind=kind, initial=initial, final=final)
    assert config.temperature == (typed if on[0] else TemperatureConfig(kind="constant", initial=initial))
    assert config.thaw.lr_scale == scale
    assert config.thaw.schedule().blocks_at(start, 7) == (1 if on[1] else 7)
    assert config.thaw.schedule().blocks_at(start + every, 7) == (2 if on[1] else 7)


def assert_refused(door: str, strings: list[Any], position: int, reason: str) -> None:
    with pytest.raises(SnowmeltError) as refused:
        DOORS[door](strings)
    text = str(refused.value)
    assert text.startswith(f"feature_match_layers, position {position}: ")
    assert reason in text
    assert "\n" not in text
