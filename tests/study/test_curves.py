"""Odd tables: what is absent or no number silences the rules that need it, and what is said can be applied."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

from advice_tables import FACTS, FALLING, RISING, kinds, table
from hypothesis import given, settings
from hypothesis import strategies as st

from snowmelt.config import ExperimentConfig, merge, read_overrides
from snowmelt.study import Advice, RunFacts, advise
from snowmelt.study.advice import MOST, RULES


def test_tables_with_nothing_in_them_do_no_harm() -> None:
    assert advise([], FACTS) == []
    assert advise([{}], FACTS) == []
    assert advise([{"epoch": 0}, {"epoch": "x", "miou": "y", "thawed_blocks": None}], FACTS) == []
    assert kinds(table()[:1], replace(FACTS, epochs=1, start=0)) == ["not all thawed"]
    lone = [{"epoch": epoch, "miou": score, "thawed_blocks": 4} for epoch, score in enumerate(RISING)]
    assert kinds(lone) == ["slow", "slow, by the guide"]
    assert kinds(lone[::-1]) == kinds(lone)  # in any order


def test_losses_and_scores_of_nothing_divide_nothing() -> None:
    none = [0.0] * 20
    assert kinds(table(none, none, none)) == []
    infinite = [*FALLING[:5], math.inf, *FALLING[6:]]
    assert kinds(table(train=infinite, val=infinite)) == []
    assert kinds(table(train=[*FALLING[:5], 0.0, *FALLING[6:]])) == ["jump at a thaw"]
    assert kinds(table([5e-324 * (epoch + 1) for epoch in range(20)])) == []


def test_a_partial_epoch_and_one_without_a_score_are_passed_over() -> None:
    rows = table()
    rows.append({**rows[-1], "epoch": 20, "complete": False, "miou": 0.1})
    rows.append({**rows[-1], "epoch": 21, "complete": True, "miou": math.nan})
    assert advise(rows, FACTS) == []


NUMBERS = st.one_of(st.none(), st.just(math.nan), st.floats(0, 1), st.sampled_from([0, 0.0, 5e-324, 1e300, math.inf]))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_numbers_break_it_and_what_it_says_can_be_applied(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 24))
    names = ["miou", "train/cross_entropy", "val/cross_entropy", "train/dice", "val/dice", "teacher_miou", "lr/decoder"]
    rows = [
        {"epoch": epoch, "step": 400 * epoch, "thawed_blocks": data.draw(st.integers(0, 5))}
        | {name: data.draw(NUMBERS) for name in names}
        for epoch in range(count)
    ]
    facts = RunFacts(
        images=data.draw(st.sampled_from([10, 5000])),
        epochs=data.draw(st.sampled_from([1, 24, 200])),
        blocks=data.draw(st.sampled_from([0, 4, 7])),
        progressive=data.draw(st.booleans()),
        start=data.draw(st.sampled_from([0, 10, 30])),
        most=data.draw(st.sampled_from([None, 0, 2])),
        guard=data.draw(st.booleans()),
        temperature=data.draw(st.sampled_from([None, 1.0, 4.0])),
        teacher_epochs=data.draw(st.sampled_from([None, 5])),
    )
    check(advise(rows, facts))


def check(given_advice: list[Advice]) -> None:
    """At most four, no setting twice, nothing excluded, no NaN, one line each, and all of it holds as settings."""
    assert len(given_advice) <= MOST
    settings = list(itertools.chain.from_iterable(advice.settings for advice in given_advice))
    paths = [setting.split("=")[0] for setting in settings]
    assert len(set(paths)) == len(paths)
    against = {rule.kind: rule.against for rule in RULES}
    for advice in given_advice:
        assert not {other.kind for other in given_advice} & set(against[advice.kind])
        assert "\n" not in advice.line()
        assert "nan" not in advice.figure
        json.dumps(advice.to_json(), allow_nan=False)
    applied = ExperimentConfig(**merge({"name": "again"}, read_overrides(settings)))
    for setting in settings:
        section, field = setting.split("=")[0].split(".")
        assert field in getattr(applied, section).model_fields_set
