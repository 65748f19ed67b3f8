"""Advice: each rule's case and its neighbour, and what excludes what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from advice_tables import FACTS, FALLING, LEVEL, RISING, kinds, one, table

from snowmelt.study import RunFacts, advise, rules
from snowmelt.study.advice import RULES


def test_nothing_to_say_is_nothing() -> None:
    assert advise(table(), FACTS) == []


# Overfitting

TURNED = [1.0 - 0.05 * min(epoch, 10) + 0.02 * max(0, epoch - 10) for epoch in range(20)]  # 0.50 at best, 0.68 at last


def test_overfitting_holds_the_thaw_and_lowers_the_encoders_rate() -> None:
    advice = one(table(val=TURNED))
    assert (advice.kind, advice.source) == ("overfitting", "guide")
    assert advice.settings == ("reactions.thaw_guard=true", "thaw.lr_scale=0.05")
    assert "validation loss 0.5100 around epoch 10 and 0.6700 at the end" in advice.figure  # means of two epochs
    assert "published advice, unmeasured" in advice.line()


def test_overfitting_takes_training_loss_that_falls_and_a_rise_that_counts() -> None:
    assert kinds(table(train=TURNED, val=TURNED)) == []  # the training loss rises too: no overfitting
    best = [1.0 - 0.05 * min(epoch, 10) for epoch in range(20)]
    assert kinds(table(val=[*best[:-2], 0.52, 0.52])) == []  # 4 % above
    assert kinds(table(val=[*best[:-2], 0.53, 0.53])) == ["overfitting"]  # 6 % above
    assert kinds(table(val=[*best[:-1], 0.54])) == []  # one epoch alone


def test_overfitting_is_not_read_off_totals() -> None:
    rows = [{**row, "val/total": loss, "val/task": loss} for row, loss in zip(table(), TURNED, strict=True)]
    assert advise(rows, FACTS) == []
    without = [{key: value for key, value in row.items() if not key.endswith("dice")} for row in table(val=TURNED)]
    assert kinds(without) == ["overfitting"]  # what both parts have is judged


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (replace(FACTS, guard=True), ("thaw.start=8", "thaw.lr_scale=0.05")),
        (replace(FACTS, lr_scale=0.05), ("reactions.thaw_guard=true",)),
        (replace(FACTS, progressive=False), ("thaw.lr_scale=0.05",)),
    ],
)
def test_overfitting_leaves_out_what_was_in_use(facts: RunFacts, expected: tuple[str, ...]) -> None:
    assert one(table(val=TURNED), facts).settings == expected


def test_overfitting_with_every_remedy_in_use_says_nothing() -> None:
    assert advise(table(val=TURNED), replace(FACTS, progressive=False, lr_scale=0.01)) == []


# Slow, and what the guide says of it


def test_a_score_that_rises_to_the_end_asks_for_epochs_and_the_guide_for_heat() -> None:
    slow, guide = advise(table(RISING), FACTS)
    assert (slow.kind, slow.source, slow.settings) == ("slow", "curve", ("training.epochs=30",))
    assert "on average 22.7 % higher" in slow.figure  # 0.54 after 0.44
    assert (guide.kind, guide.source) == ("slow, by the guide", "guide")
    assert guide.settings == ("temperature.initial=5.0", "thaw.start=20")


def test_the_guides_later_thaw_is_left_out_where_it_would_come_too_late() -> None:
    facts = replace(FACTS, every=5)  # 20 + 3 * 5 = 35 lies behind the thirty epochs
    assert advise(table(RISING), facts)[1].settings == ("temperature.initial=5.0",)
    assert kinds(table(RISING), replace(facts, temperature=None)) == ["slow"]
    assert kinds(table(RISING), replace(FACTS, start=20, every=1, epochs=40, temperature=5.0)) == ["slow"]


def test_a_rise_that_a_falling_rate_brings_is_not_slowness() -> None:
    cooled = [*LEVEL[:16], 0.52, 0.53, 0.54, 0.55]
    rows = table(cooled)
    assert kinds(rows) == ["slow", "slow, by the guide"]
    for row in rows[16:]:
        row["lr/decoder"] = 1e-4
    assert kinds(rows) == []


def test_a_run_that_was_cut_is_neither_slow_nor_short_of_thaws() -> None:
    assert advise(table(RISING, thawed=[0] * 20), replace(FACTS, cut=True, start=30)) == []


# Small data, fine-tuning, teacher

SMALL = replace(FACTS, images=999)


def test_small_data_thaw_later_slower_and_lower() -> None:
    advice = one(table(), SMALL)
    assert (advice.kind, advice.source) == ("small data", "guide")
    settings = ("thaw.start=20", "thaw.every=10", "thaw.lr_scale=0.01", "training.epochs=63")  # last thaw in 50
    assert advice.settings == settings
    assert "999 training images" in advice.figure


@pytest.mark.parametrize(
    "facts",
    [
        FACTS,
        replace(SMALL, images=1000),
        replace(SMALL, start=20, every=10, lr_scale=0.01),
        replace(SMALL, start=30, every=12, lr_scale=0.005),
        replace(SMALL, progressive=False),
        replace(SMALL, most=0),
    ],
)
def test_small_data_says_nothing_to_others_and_to_those_that_thawed_so(facts: RunFacts) -> None:
    assert advise(table(thawed=[4] * 20), facts) == []


def test_small_data_names_only_what_differs() -> None:
    assert one(table(), replace(SMALL, every=10, lr_scale=0.01, epochs=80)).settings == ("thaw.start=20",)


def test_a_score_that_is_final_from_the_start_is_fine_tuning() -> None:
    advice = one(table([0.4, 0.495, *[0.499] * 18]))
    assert (advice.kind, advice.source) == ("fine-tuning", "guide")
    assert advice.settings == ("temperature.initial=2.0", "thaw.most=3", "thaw.lr_scale=0.05")
    assert kinds(table([0.4, 0.49, *[0.499] * 18])) == []
    done = replace(FACTS, temperature=2.0, most=3, lr_scale=0.05)
    assert advise(table([0.499] * 20, thawed=[3] * 20), done) == []


def test_a_teacher_that_is_no_better_is_trained_longer_or_replaced() -> None:
    advice = one(table(teacher_miou=0.5), replace(FACTS, teacher_epochs=30))
    assert (advice.kind, advice.settings) == ("weak teacher", ("teacher.epochs=60",))
    given = one(table(teacher_miou=0.5))
    assert given.settings == ()
    assert given.text.endswith("take a stronger one")
    assert advise(table(teacher_miou=0.51), FACTS) == []
    assert advise(table(teacher_miou=None), FACTS) == []


# Thaws


def test_a_thaw_after_which_the_score_fell_for_good_is_named() -> None:
    fell = [*LEVEL[:8], *[0.47] * 12]  # the third block thaws in epoch 8
    advice = one(table(fell))
    assert (advice.kind, advice.settings) == ("fell after a thaw", ("thaw.most=2",))
    assert "blocks.1 in epoch 8" in advice.text
    assert advice.figure == "best mIoU 0.5000 before, 0.4700 after"
    assert kinds(table([*fell[:10], *[0.5] * 10])) == []  # it came back
    assert kinds(table([*LEVEL[:8], *[0.495] * 12])) == []  # by a hair
    early = [*LEVEL[:6], *[0.47] * 14]
    assert "blocks.2 in epoch 6" in one(table(early)).text  # later thaws are not to blame
    assert kinds(table(early, thawed=[4] * 20)) == []
    assert kinds(table(early, thawed=[0] * 10 + [1] * 10), replace(FACTS, most=1)) == []  # it fell long before


def test_a_jump_of_the_training_loss_at_a_thaw_asks_for_a_warm_up() -> None:
    def loss(step: float) -> list[float]:
        return [*FALLING[:6], *[value + step for value in FALLING[6:]]]  # the second block thaws in epoch 6

    advice = one(table(train=loss(0.2)))
    assert (advice.kind, advice.settings) == ("jump at a thaw", ("reactions.block_warmup=1.0",))
    assert "blocks.2 in epoch 6" in advice.text
    assert advice.figure == "training loss 0.9000 in the epoch before, 1.0800 in it"
    wide = replace(FACTS, warmup=1.5, every=4)
    assert one(table(train=loss(0.2)), wide).settings == ("reactions.block_warmup=3.0",)
    warm = replace(FACTS, warmup=float(FACTS.every))
    assert one(table(train=loss(0.2)), replace(warm, every=FACTS.every + 1)).settings == (
        f"reactions.block_warmup={FACTS.every + 1:.1f}",
    )
    assert one(table(train=loss(0.2)), warm).settings == (f"thaw.lr_scale={FACTS.lr_scale / 2}",)
    assert kinds(table(train=loss(0.1))) == []
    assert kinds(table(train=[*FALLING[:3], *[value + 0.2 for value in FALLING[3:]]])) == []  # no thaw there


def test_a_run_that_ends_before_its_last_thaw_is_too_short() -> None:
    facts = replace(FACTS, start=10, every=5)  # blocks in 10, 15, 20 and 25
    advice = one(table(thawed=[0] * 10 + [1] * 5 + [2] * 5), facts)
    assert (advice.kind, advice.settings) == ("not all thawed", ("training.epochs=32",))
    assert advice.figure == "2 of 4 blocks thawed, the last is due in epoch 25"
    assert advise(table(thawed=[0] * 10 + [1] * 5 + [2] * 5), replace(facts, most=2)) == []


def test_a_thaw_that_was_held_is_no_lack_of_epochs() -> None:
    assert advise(table(thawed=[0] * 10 + [1] * 10), FACTS) == []


# Unrest


def shaken(size: float) -> list[float]:
    return [value + size * (epoch % 2) for epoch, value in enumerate(LEVEL)]


def test_a_score_that_jumps_to_and_fro_asks_for_an_average_or_a_lower_rate() -> None:
    advice = one(table(shaken(0.03)))
    assert (advice.kind, advice.settings) == ("unstable", ("training.average=0.999",))
    assert kinds(table(shaken(0.01))) == []
    assert one(table(shaken(0.03)), replace(FACTS, average=0.99)).settings == ("optimizer.lr=0.0005",)
    short = [{**row, "step": row["epoch"] + 1} for row in table(shaken(0.03))]
    assert one(short).settings == ("optimizer.lr=0.0005",)  # an average over more steps than there are
    medium = [{**row, "step": 30 * (row["epoch"] + 1)} for row in table(shaken(0.03))]
    assert one(medium).settings == ("training.average=0.99",)


# Together


def test_no_advice_contradicts_another() -> None:
    assert kinds(table(RISING, val=TURNED), SMALL) == ["overfitting"]  # not: longer
    (overfitting,) = advise(table(val=TURNED), SMALL)  # nor to thaw over more epochs, as small sets are
    assert "thaw.lr_scale=0.05" in overfitting.settings
    assert kinds(table(RISING), SMALL) == ["slow", "slow, by the guide"]  # not: a lower rate
    short = table(RISING, thawed=[0] * 20)
    assert kinds(short, replace(SMALL, start=20)) == ["not all thawed"]  # not: later


def test_an_exclusion_names_rules_that_stand_above() -> None:
    names = [rule.kind for rule in RULES]
    assert len(set(names)) == len(names)
    for index, rule in enumerate(RULES):
        assert set(rule.against) <= set(names[:index])


def test_the_document_lists_every_rule_with_its_source_and_thresholds() -> None:
    text = (Path(__file__).parents[2] / "docs" / "advice.md").read_text()
    lines = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    assert [(cells[0].strip(), cells[-1].strip()) for cells in lines] == [(rule.kind, rule.source) for rule in RULES]
    shares = {"fell after a thaw": rules.FALL, "overfitting": rules.RISE, "jump at a thaw": rules.JUMP}
    shares |= {"unstable": rules.UNREST, "slow": rules.STILL_RISING, "fine-tuning": rules.HAIR}
    for cells in lines:
        share = shares.get(cells[0].strip())
        assert share is None or f"{100 * share:.0f} %" in cells[1]
