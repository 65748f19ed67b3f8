"""A step that runs out of memory is made again in smaller pieces, as if it had been cut so in the first place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny_runs import Recorder, ScaledSingle, same_tensors, start_run
from torch import Tensor, nn

from snowmelt.errors import SnowmeltError
from snowmelt.training import Message, TrainingRun, TrainState, fit
from snowmelt.training.events import StepEnded
from snowmelt.training.memory_notes import drop_notes, leave_note, read_notes
from snowmelt.training.out_of_memory import CarefulSteps, first_words, follow_notes, is_out_of_memory
from snowmelt.training.stages import enter_stage

BEFORE = 1  # steps until memory runs out: in the middle of the first epoch
PLENTY = 1 << 50
FEATURES: dict[str, Any] = {"feature_weight": 1.0, "feature_layers": ["encoder.3", "decoder.1"]}


def run_out_on_cuda(*_: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 1 GiB")


def run_out_for_real(*_: object) -> None:
    torch.empty(1 << 50, dtype=torch.uint8)


def begin(folder: Path, memory: str = "off", **changes: Any) -> tuple[TrainingRun, Recorder]:
    """A run whose network draws random numbers and has norms; every step has 4 images."""
    recorder = Recorder()
    training = {"epochs": 2, "batch_size": 4, **changes.pop("training", {})}
    run = start_run(
        folder, listeners=(recorder,), data={"source": "scenes:8"}, thaw={"start": 0}, training=training, **changes
    )
    limit = None if memory == "off" else PLENTY
    run.options = replace(run.options, memory=memory, memory_limit=limit)  # type: ignore[arg-type]

    def drop(module: nn.Module, _: Any, output: Tensor) -> Tensor:
        return F.dropout(output, 0.2, module.training)

    run.network.decoder.register_forward_hook(drop)
    return run, recorder


def fail_once(run: TrainingRun, recorder: Recorder, how: Any, backward: bool, piece: int = 0) -> list[int]:
    """Run out of memory in the ``piece``-th forward (or backward) pass of the step after ``BEFORE``."""
    passes: list[int] = []

    def due() -> bool:
        if len(recorder.of(StepEnded)) == BEFORE and torch.is_grad_enabled() | backward:
            passes.append(len(passes))
            return passes[-1] == piece
        return False

    def fail(_: nn.Module, __: Any, output: Tensor) -> None:
        if backward and output.requires_grad:
            output.register_hook(lambda gradient: how() if due() else None)
        elif not backward and due():
            how()

    run.network.segmentation_head.register_forward_hook(fail)
    return passes


@pytest.mark.parametrize(
    ("how", "backward", "piece", "changes"),
    [
        (run_out_on_cuda, False, 0, {"distillation": FEATURES}),
        (run_out_for_real, True, 1, {"training": {"batch_size": 2, "accumulate": 2}}),
    ],
)
def test_the_run_is_the_one_with_smaller_pieces_from_there_on(
    how: Any, backward: bool, piece: int, changes: dict[str, Any], tmp_path: Path
) -> None:
    run, recorder = begin(tmp_path / "failed", "refuse", **changes)
    passes = fail_once(run, recorder, how, backward, piece)
    half = run.options.batch_size // 2
    assert fit(run).micro_batch == half
    assert len(passes) == 1 + piece + 4 // half
    told = [message.text for message in recorder.of(Message) if "out of memory" in message.text]
    assert len(told) == 1
    assert f"epoch 0, step {BEFORE} (1 thawed block): out of memory with {2 * half} images at a time" in told[0]
    assert f"in micro-batches of {half}; the effective batch stays 4" in told[0]

    stopped = {**changes, "training": {**changes.get("training", {}), "max_steps": BEFORE}}
    fit(begin(tmp_path / "small", **stopped)[0])
    file = tmp_path / "small" / "last.ckpt"
    content = torch.load(file, weights_only=True)
    content["state"]["micro_batch"] = half
    del content["sealed"]  # whose digest no longer fits
    torch.save(content, file)
    fit(begin(tmp_path / "small", **changes)[0])
    found, reference = (torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("failed", "small"))
    assert same_tensors(found, reference)


def test_with_the_guard_off_the_run_ends_with_one_line(tmp_path: Path) -> None:
    run, recorder = begin(tmp_path)
    fail_once(run, recorder, run_out_for_real, backward=False)
    with pytest.raises(SnowmeltError) as error:
        fit(run)
    text = str(error.value)
    assert text.startswith(f"epoch 0, step {BEFORE} (1 thawed block): out of memory with 4 images at a time (")
    assert "--resume --set reactions.memory=split" in text and "\n" not in text


def ready(folder: Path) -> tuple[TrainingRun, Recorder, TrainState]:
    run, recorder = begin(folder, "split")
    run.stepper = run.engine.set_up(run.optimizer)
    state = TrainState(epoch=1)
    enter_stage(run, state)
    return run, recorder, state


def test_one_image_that_does_not_fit_ends_the_run(tmp_path: Path) -> None:
    run, recorder, state = ready(tmp_path)
    run.network.segmentation_head.register_forward_hook(run_out_on_cuda)
    with pytest.raises(SnowmeltError, match=r"out of memory with a single image at a time \(CUDA out of memory\)"):
        CarefulSteps(run).make(state, next(iter(run.train_batches)), 2.0, None)
    sizes = [message.text.split("in micro-batches of ")[1][0] for message in recorder.of(Message)]
    assert sizes == ["2", "1"]


def test_a_short_step_is_halved_from_what_it_has(tmp_path: Path) -> None:
    """Half of the batch size would be the same step again."""
    run, _, state = ready(tmp_path)
    failures = iter([True])

    def fail(*_: object) -> None:
        if next(failures, False):
            run_out_on_cuda()

    run.network.segmentation_head.register_forward_hook(fail)
    CarefulSteps(run).make(state, next(iter(run.train_batches))[:2], 2.0, None)
    assert state.micro_batch == 1


def test_any_other_error_stays_what_it_is(tmp_path: Path) -> None:
    run, _, state = ready(tmp_path)

    def fail(*_: object) -> None:
        raise RuntimeError("the shapes differ")

    run.network.segmentation_head.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="the shapes differ"):
        CarefulSteps(run).make(state, next(iter(run.train_batches)), 2.0, None)


def test_a_loss_scaler_that_was_half_way_begins_again(tmp_path: Path) -> None:
    """Memory runs out between unscaling and stepping; features that nobody read are let go."""
    run, _, state = ready(tmp_path)
    run.engine.precision = "16"
    run.engine.fabric.strategy.precision = ScaledSingle()
    assert run.engine.scaler is not None
    run.engine.scaler._init_scale = 2.0**4
    failures = iter([True])

    def fail(*_: object) -> None:
        if next(failures, False):
            run_out_on_cuda()

    run.optimizer.register_step_pre_hook(fail)
    outcome = CarefulSteps(run).make(state, next(iter(run.train_batches)), 2.0, None)
    assert bool(outcome.finite) and state.micro_batch == 2


def test_maps_of_a_pass_that_broke_off_are_let_go(tmp_path: Path) -> None:
    run = start_run(tmp_path, distillation=FEATURES)
    assert run.features is not None and run.teacher is not None
    batch = next(iter(run.train_batches))
    run.network(run.normalise(batch.images))
    run.teacher(batch)
    run.features.forget()
    for read in (run.features.project, run.features.read_teacher):
        with pytest.raises(SnowmeltError, match="no features to read"):
            read()


def test_what_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as error:
        run_out_for_real()
    assert is_out_of_memory(error.value)
    assert is_out_of_memory(torch.OutOfMemoryError()) and is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes")) and not is_out_of_memory(ValueError("std::bad_alloc"))
    assert first_words(MemoryError()) == "MemoryError"
    assert first_words(RuntimeError("a. b\nc")) == "a"
    assert first_words(RuntimeError("a" * 200), 10) == "aaaaaaa..."


def test_notes_are_read_followed_and_dropped(tmp_path: Path) -> None:
    run, recorder = begin(tmp_path)
    follow_notes(run, state := TrainState())
    assert state.micro_batch is None and read_notes(tmp_path) is None and not recorder.events
    leave_note(tmp_path, 0, 2)
    leave_note(tmp_path, 3, 1)
    assert read_notes(tmp_path) == 1
    follow_notes(run, state)
    assert state.micro_batch == 1 and len(recorder.of(Message)) == 1
    follow_notes(run, state)
    assert len(recorder.of(Message)) == 1
    drop_notes(tmp_path)
    assert not list(tmp_path.iterdir())
