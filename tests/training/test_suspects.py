"""Steps that were skipped are told with their images, without waiting for them and whatever was cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Recorder, start_run

from snowmelt.data import Batch
from snowmelt.errors import SnowmeltError
from snowmelt.training import Engine, Message, TrainingRun, TrainState, fit
from snowmelt.training.causes import FINE, GRADIENT, LOSS, OVERFLOW, TEACHER
from snowmelt.training.suspects import MOST_KEPT, MOST_STEPS, MOST_TOLD, Suspects

BAD = 4  # the picture about which the teacher says nothing finite


def spoilt(run: TrainingRun, bad: set[int]) -> TrainingRun:
    teacher = run.teacher
    assert teacher is not None

    def answer(batch: Batch) -> torch.Tensor:
        hit = torch.tensor([index in bad for index in batch.indices.tolist()])
        return torch.where(hit[:, None, None, None], torch.nan, teacher(batch))

    run.teacher = answer
    run.teacher_name = "Tiny"
    run.name_of = "picture-{}.jpg".format
    return run


def warnings_of(recorder: Recorder) -> list[str]:
    found = [event.text for event in recorder.of(Message) if event.level == "warning"]
    return [text for text in found if "not finite" in text]


def test_the_images_of_a_skipped_step_are_named_when_its_flag_is_read(tmp_path: Path) -> None:
    recorder = Recorder()
    state = fit(spoilt(start_run(tmp_path, listeners=(recorder,), training={"log_every": 2, "epochs": 2}), {BAD}))
    told = warnings_of(recorder)
    assert len(told) == 2 and state.skipped_in_a_row <= 1
    for epoch, text in enumerate(told):
        assert text == (
            f"epoch {epoch}: teacher output (Tiny) not finite in 1 step up to step {2 * epoch + 2}, which changed "
            f"nothing; images in it: picture-{BAD}.jpg"
        )


def test_a_run_that_goes_on_says_what_was_skipped_before_the_cut(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"log_every": 99, "epochs": 1}
    first, second = Recorder(), Recorder()
    every = set(range(6))
    fit(spoilt(start_run(tmp_path, listeners=(first,), training={**changes, "max_steps": 1}), every))
    (before,) = warnings_of(first)
    state = fit(start_run(tmp_path, listeners=(second,), training=changes))
    (after,) = warnings_of(second)
    assert after.startswith("before the cut, 1 step up to epoch 0 was skipped as not finite;")
    assert after.rpartition(": ")[2] == before.rpartition(": ")[2].replace("picture-", "scene-00000").replace(
        ".jpg", ""
    )
    assert state.suspects == []  # the epoch is over, and its last step was good


def test_a_run_that_stops_names_images_of_the_row(tmp_path: Path) -> None:
    run = spoilt(start_run(tmp_path, training={"max_skipped": 3}), set(range(6)))
    with pytest.raises(SnowmeltError, match=r"3 steps in a row.* the last of which were (picture-\d.jpg(, )?){6}$"):
        fit(run)


def test_few_warnings_and_the_rest_for_the_log_alone(tmp_path: Path) -> None:
    recorder = Recorder()
    run = spoilt(start_run(tmp_path, listeners=(recorder,), training={"max_skipped": 99}), set(range(6)))
    state = fit(run)
    assert len(warnings_of(recorder)) == state.skip_warnings == 5
    assert sum("not finite" in event.text for event in recorder.of(Message)) == 8


def test_what_is_kept_is_bounded_and_the_newest() -> None:
    engine, state = Engine("cpu", "32"), TrainState()
    suspects = Suspects(engine, 2)
    good, bad, sound = torch.tensor(FINE), torch.tensor(GRADIENT), torch.ones(2, dtype=torch.bool)
    for step in range(MOST_STEPS + 3):
        suspects.add(torch.tensor([2 * step, -1]), good if step % 2 else bad, sound)
    skipped = suspects.read(state)
    newest = [2 * step for step in range(MOST_STEPS + 3) if step % 2 == 0][-MOST_TOLD:]
    counts = {"gradient": MOST_STEPS // 2}
    assert skipped == (MOST_STEPS // 2, newest, counts, {"gradient": 1})  # without the fillers
    assert suspects.read(state) == (0, [], {}, state.row_causes)
    for step in range(MOST_KEPT):
        suspects.add(torch.tensor([step, step + 1]), bad, sound)
        suspects.read(state)
    assert len(state.suspects) == MOST_KEPT and state.suspects[-2:] == [MOST_KEPT - 1, MOST_KEPT]


def test_the_longest_row_is_told_with_its_causes_though_it_is_over() -> None:
    state, suspects, sound = TrainState(), Suspects(Engine("cpu", "32"), 1), torch.ones(1, dtype=torch.bool)
    image = torch.tensor([0])

    def see(*causes: int) -> None:
        for cause in causes:
            suspects.add(image, torch.tensor(cause), sound)

    see(LOSS, FINE, TEACHER)
    assert suspects.read(state).row == {"loss": 1} and state.row_causes == {"teacher output": 1}
    see(LOSS, OVERFLOW, TEACHER, FINE, GRADIENT)
    skipped = suspects.read(state)
    assert skipped.row == {"teacher output": 2, "loss": 1} and state.row_causes == {"gradient": 1}
    assert skipped.steps == 4 and skipped.causes["gradient at the loss scale of fp16"] == 1


def test_images_about_which_nothing_is_known_stand_for_the_whole_step() -> None:
    state, suspects = TrainState(), Suspects(Engine("cpu", "32"), 3)
    for sound in ([True, True, True], [True, False, True]):
        suspects.add(torch.tensor([7, 8, 9]), torch.tensor(LOSS), torch.tensor(sound))
    assert suspects.read(state).images == [7, 8, 9, 8]
