"""The table and the JSON of a comparison, cell by cell."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_comparisons import CLASSES, arm, compare, matrices, run, teacher

from snowmelt.errors import SnowmeltError
from snowmelt.study import Comparison, mean_iou_of, paired_difference, spread_of

PLAIN = arm("plain", [0.70, 0.71, 0.72])
BOTH = arm("cooled+thaw", [0.80, 0.82, 0.81])


def whole(**values: Any) -> Comparison:
    return compare(PLAIN, arm("kd", [0.75, 0.74, 0.76]), BOTH, **{"teacher": teacher(0.9), **values})


def row(comparison: Comparison, name: str) -> dict[str, Any]:
    return next(each for each in comparison.rows() if each["arm"] == name)


def test_a_row_is_what_its_seeds_say() -> None:
    found = row(whole(), "cooled+thaw")
    made = np.stack([each.matrices for each in BOTH.runs])
    base = np.stack([each.matrices for each in PLAIN.runs])
    difference = paired_difference(made, base)
    assert (found["seeds"], found["epochs"], found["teacher"]) == (3, 3, True)
    assert (found["miou"], found["deviation"]) == (spread_of(made).mean, spread_of(made).deviation)
    names = {"difference": "estimate", "low": "low", "high": "high", "relative": "relative"}
    assert {name: found[name] for name in names} == {name: getattr(difference, names[name]) for name in names}
    whole_teacher = float(mean_iou_of(teacher(0.9).matrices.sum(0)))
    assert found["share_of_teacher"] == pytest.approx(found["miou"] / whole_teacher)
    assert found["images_per_second"] == 41 and found["val_miou"] == pytest.approx(0.81)
    assert (found["train_seconds"], found["train_seconds_with_teacher"]) == (30, 30 + 3660)
    assert found["last_gap"] == pytest.approx(0.1)
    assert found["agreement"] is None and found["transfer"] is None


def test_the_base_differs_from_nothing_and_pays_no_teacher() -> None:
    found = row(whole(), "plain")
    assert [found[name] for name in ("difference", "low", "high", "relative")] == [None] * 4
    assert found["train_seconds_with_teacher"] == found["train_seconds"] == 30


@pytest.mark.parametrize(
    ("values", "expected"),
    [({"cache_seconds": None}, 3630), ({"training_seconds": None}, None), ({}, 3690)],
)
def test_what_a_teacher_cost_is_added_where_it_is_known(values: dict[str, Any], expected: float | None) -> None:
    assert row(whole(teacher=teacher(0.9, **values)), "kd")["train_seconds_with_teacher"] == expected


def test_time_to_the_bases_best_is_that_of_the_seeds_that_get_there() -> None:
    comparison = whole()  # the base's best are 0.70, 0.71 and 0.72: 0.71 in the mean
    plain, both = row(comparison, "plain"), row(comparison, "cooled+thaw")
    assert (plain["seconds_to_base_best"], plain["seeds_not_reaching"]) == (20, 1)
    assert (both["seconds_to_base_best"], both["seeds_not_reaching"]) == (20, 0)
    slow = arm("slow", [0.5, 0.6])
    assert [row(compare(PLAIN, slow), "slow")[key] for key in ("seconds_to_base_best", "seeds_not_reaching")] == [
        None,
        2,
    ]
    early = replace(BOTH, runs=(run(0, 0.8, val_curve=(0.71, 0.6, 0.5)), run(1, 0.8)))
    assert row(compare(PLAIN, early), "cooled+thaw")["seconds_to_base_best"] == 15


def test_equal_seeds_reach_their_own_mean() -> None:
    same = arm("plain", [0.1, 0.1, 0.1])  # three of these are 0.30000000000000004
    assert row(compare(same, BOTH), "plain")["seeds_not_reaching"] == 0


def test_only_seeds_that_both_have_are_paired() -> None:
    cut = replace(BOTH, runs=BOTH.runs[:0:-1])  # seeds 2 and 1, in that order
    found = compare(PLAIN, cut).differences["cooled+thaw"]
    assert found is not None
    expected = paired_difference(*(np.stack([each.runs[seed].matrices for seed in (1, 2)]) for each in (BOTH, PLAIN)))
    assert found == expected
    other = replace(BOTH, runs=(run(7, 0.8),))
    assert compare(PLAIN, other).differences == {"cooled+thaw": None}
    assert row(compare(PLAIN, other), "cooled+thaw")["difference"] is None


def test_a_second_data_set_says_what_was_retained() -> None:
    elsewhere = matrices(0.5, images=8)
    runs = tuple(replace(each, transfer=elsewhere) for each in BOTH.runs)
    base = replace(PLAIN, runs=tuple(replace(each, transfer=matrices(0.4, images=8)) for each in PLAIN.runs))
    found = row(
        compare(base, replace(BOTH, runs=runs), teacher=teacher(0.9, transfer=matrices(0.6, images=8))), "cooled+thaw"
    )
    there, low, high = (float(mean_iou_of(matrices(right, images=8).sum(0))) for right in (0.5, 0.4, 0.6))
    assert found["transfer"] == pytest.approx(there)
    assert found["transfer_of_base"] == pytest.approx(there / low)
    assert found["transfer_of_teacher"] == pytest.approx(there / high)
    partly = compare(PLAIN, replace(BOTH, runs=(runs[0], BOTH.runs[1])))
    assert row(partly, "cooled+thaw")["transfer"] is None


def test_json_has_everything_and_no_nan() -> None:
    one = compare(arm("plain", [0.7]), arm("kd", [0.8]), teacher=teacher(0.9, training_seconds=None), notes=("so",))
    for comparison in (whole(), one):
        text = json.dumps(comparison.to_dict(), allow_nan=False)
        read = json.loads(text)
        assert read == comparison.to_dict()
        assert [each["arm"] for each in read["arms"]] == [each.name for each in comparison.arms]
        assert set(read["iou"]["kd"]) == set(CLASSES)
        assert len(read["runs"]) == sum(len(each.runs) for each in comparison.arms)
        assert read["verdict"]["sentences"] == list(comparison.verdict.sentences)
        assert read["statistics"] == {"level": 0.95, "resamples": 2000, "seed": 0}
    assert one.to_dict()["arms"][0]["deviation"] is None and one.to_dict()["notes"] == ["so"]
    assert one.to_dict()["differences"]["kd"]["seed_se"] is None


def test_iou_by_class_leaves_out_seeds_without_the_class() -> None:
    first, second = run(0, 0.7), run(1, 0.8)
    without = first.matrices.copy()
    without[:, 2], without[:, :, 2] = 0, 0
    comparison = compare(replace(PLAIN, runs=(replace(first, matrices=without), second)), BOTH)
    found = comparison.to_dict()["iou"]["plain"]
    of_second = second.matrices.sum(0)
    assert found["shoe"] == pytest.approx(
        of_second[2, 2] / (of_second[2].sum() + of_second[:, 2].sum() - of_second[2, 2])
    )
    never = replace(PLAIN, runs=(replace(first, matrices=without),))
    assert compare(never, BOTH).to_dict()["iou"]["plain"]["shoe"] is None


def test_a_row_of_numpy_numbers_becomes_plain() -> None:
    odd = replace(PLAIN.runs[0], agreement=np.float32(0.5), images_per_second=np.float64(math.inf), epochs=np.int64(3))
    found = row(compare(replace(PLAIN, runs=(odd,)), BOTH), "plain")
    assert (found["agreement"], found["images_per_second"], found["epochs"]) == (0.5, None, 3)
    assert json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("arms", "base", "said"),
    [
        ((PLAIN, BOTH), "kd", "no arm 'kd'"),
        ((PLAIN, replace(BOTH, runs=())), "plain", "'cooled\\+thaw' has no finished"),
    ],
)
def test_what_is_no_comparison_is_refused(arms: Any, base: str, said: str) -> None:
    with pytest.raises(SnowmeltError, match=said):
        compare(*arms, base=base)
