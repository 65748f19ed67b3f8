"""What a run does of its own accord: a hold and its end, from the first rise to the last row of metrics.csv."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_runs import Recorder, mislead, network_without_batch_statistics, same_tensors, start_run

from snowmelt.training import GuardState, Message, TrainState, fit
from snowmelt.training.events import EpochEnded, EpochRecord, StageStarted
from snowmelt.training.reactions import last_thaw, out_of_patience

STEEP = {"task": {"dice_weight": 0.0}, "optimizer": {"lr": 1e-2, "warmup": 0.0}, "thaw": {"start": 2}}
GUARD = {"thaw_guard": True, "guard_patience": 1}


def run_misled(folder: Path, epochs: tuple[int, ...], **changes: Any) -> tuple[list[EpochRecord], Recorder, TrainState]:
    recorder = Recorder()
    network = network_without_batch_statistics()  # whose losses do not wait for statistics to settle
    run = start_run(folder, listeners=(recorder,), network=network, **{**STEEP, **changes})
    mislead(run, epochs)
    state = fit(run)
    return [event.record for event in recorder.of(EpochEnded)], recorder, state


def test_a_rise_holds_the_thaw_and_slows_the_newest_block(tmp_path: Path) -> None:
    """Labels are turned round in epochs 2 to 4: a hold after each of these, and its end after epoch 5."""
    records, recorder, state = run_misled(tmp_path, (2, 3, 4), training={"epochs": 8}, reactions=GUARD)
    assert [record.thawed_blocks for record in records] == [0, 0, 1, 1, 1, 1, 2, 3]
    assert [event.epoch for event in recorder.of(StageStarted)] == [0, 2, 6, 7]
    assert state.thawed_in == [2, 6, 7] and state.guard.delay == 3 and not state.guard.holding
    network = network_without_batch_statistics()
    run = start_run(tmp_path / "other", network=network, training={"epochs": 8}, **STEEP)
    scheduled = [run.schedules.learning_rates_at(epoch) for epoch in range(8)]
    newest, *others = run.schedules.blocks
    factors = [record.learning_rates[newest] / rates[newest] for record, rates in zip(records, scheduled, strict=True)]
    assert factors == [1, 1, 1, 0.5, 0.25, 0.125, 0.25, 0.5]
    for record, rates in zip(records, scheduled, strict=True):
        assert all(record.learning_rates[name] == rates[name] for name in (*others, "decoder"))


def test_what_it_does_is_told_once_as_a_warning_and_then_as_news(tmp_path: Path) -> None:
    records, recorder, _ = run_misled(tmp_path, (2, 3), training={"epochs": 5}, reactions=GUARD)
    said = [event for event in recorder.of(Message) if "validation loss" in event.text]
    assert [event.level for event in said] == ["warning", "info", "info"]
    best, loss = records[1].val["cross_entropy"], records[2].val["cross_entropy"]
    newest = "stages.3"
    assert said[0].text == (
        f"epoch 2: the task's validation loss ({loss:.4f}) has been above its lowest ({best:.4f}) for 1 epoch, while "
        f"the training loss is below what it was then: thawing waits and {newest} learns at 0.5 of its rate until it "
        "recovers"
    )
    assert "for 2 epochs, while" in said[1].text and f"thawing waits and {newest} learns at 0.25" in said[1].text
    assert said[2].text.startswith("epoch 4: ") and "is back at its lowest" in said[2].text
    assert said[2].text.endswith(": blocks that were slowed get their rates back")  # no epoch is left for a thaw


def test_blocks_that_never_learned_are_named_at_the_end(tmp_path: Path) -> None:
    records, recorder, _ = run_misled(tmp_path, (2, 3, 4), training={"epochs": 5}, reactions=GUARD)
    assert records[-1].thawed_blocks == 1
    (end,) = [event for event in recorder.of(Message) if "never learned" in event.text]
    assert end.level == "warning"
    assert end.text == (
        "the thaw guard delayed thawing by 2 epochs, so 2 of 3 planned blocks never learned; thaw.most=1 plans a run "
        "like this one, and without reactions.thaw_guard all of them thaw"
    )


def test_a_guard_that_has_no_cause_changes_no_bit(tmp_path: Path) -> None:
    ends = []
    for name, reactions in (("off", {}), ("on", {"thaw_guard": True, "guard_patience": 9})):
        run = start_run(tmp_path / name, training={"epochs": 3}, reactions=reactions)
        state = fit(run)
        ends.append((dict(run.network.state_dict()), run.optimizer.state_dict(), state.best_miou, state.sums))
    assert same_tensors(ends[0], ends[1])
    assert state.guard.best < 9 and state.guard.delay == 0  # it did look


def test_a_run_that_was_cut_in_an_epoch_judges_nothing(tmp_path: Path) -> None:
    _, _, state = run_misled(tmp_path, (2,), training={"max_steps": 5}, reactions=GUARD)
    assert state.guard.reactions == 0 and state.guard.rising == 0


def state_at(epoch: int, thawed_in: list[int], best: int = 0, **more: Any) -> TrainState:
    return TrainState(epoch=epoch, thawed_in=thawed_in, best_epoch=best, best_miou=0.5, **more)


def test_the_last_thaw_is_the_schedule_s_as_it_now_stands(tmp_path: Path) -> None:
    run = start_run(tmp_path, thaw={"start": 2, "every": 2, "most": 3}, training={"epochs": 12})  # 2, 4 and 6
    assert last_thaw(run, state_at(0, [])) == 6
    assert last_thaw(run, state_at(5, [2, 4])) == 6
    assert last_thaw(run, state_at(9, [2, 4, 6])) == 6
    assert last_thaw(run, state_at(5, [2, 4], guard=GuardState(delay=3))) == 9
    assert last_thaw(run, state_at(7, [2], guard=GuardState(delay=6))) == 10  # the third would be in epoch 12
    assert last_thaw(run, state_at(11, [2], guard=GuardState(delay=9))) == 2
    assert last_thaw(run, state_at(0, [], thaw_cap=2)) == 4
    assert last_thaw(run, state_at(0, [], thaw_cap=0)) == -1


@pytest.mark.parametrize(
    ("epoch", "best", "thawed_in", "ends"),
    [
        (6, 1, [2, 4], False),  # a plateau, but a thaw is to come
        (8, 1, [2, 4, 6], False),
        (9, 1, [2, 4, 6], False),
        (10, 1, [2, 4, 6], True),  # epochs 7, 8 and 9 brought nothing
        (10, 7, [2, 4, 6], False),
        (11, 7, [2, 4, 6], True),
        (11, -1, [2, 4, 6], False),
    ],
)
def test_patience_counts_from_the_last_thaw(
    epoch: int, best: int, thawed_in: list[int], ends: bool, tmp_path: Path
) -> None:
    thaw = {"start": 2, "every": 2, "most": 3}
    run = start_run(tmp_path, thaw=thaw, training={"epochs": 12, "patience": 3})
    assert out_of_patience(run, state_at(epoch, thawed_in, best)) is ends
    run = start_run(tmp_path, thaw=thaw, training={"epochs": 12})
    assert not out_of_patience(run, state_at(epoch, thawed_in, best))


def test_a_teacher_s_patience_takes_the_place_of_the_student_s(tmp_path: Path) -> None:
    """Its whole encoder learns from the first epoch on, so it counts from its best score alone."""
    run = start_run(tmp_path, thaw={"progressive": False}, training={"patience": 2})
    blocks = len(run.schedules.blocks)
    assert out_of_patience(run, state_at(5, [0] * blocks, best=2)) and run.options.patience == 2
    assert not out_of_patience(run, state_at(5, [0] * blocks, best=3))
