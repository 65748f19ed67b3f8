from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from snowmelt.reporting import RunFolder, TensorBoardLog, event_file
from snowmelt.training.events import Event


def feed(folder: RunFolder, events: list[Event]) -> None:
    log = TensorBoardLog(folder)
    for event in events:
        log.receive(event)
    log.close()


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        tag: [(point.step, point.value) for point in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]
    }


def test_scalars_by_epoch(folder: RunFolder, fake_run: Callable) -> None:
    run = fake_run(classes=3)
    feed(folder, run.whole())
    scalars = read(folder.logs)
    assert set(scalars) == {
        "temperature",
        "thawed_blocks",
        *(f"lr/{name}" for name in ("decoder", *run.schedules.blocks)),
        *(f"loss/{part}/{term}" for part in ("train", "val") for term in ("total", "task", "distill")),
        "miou",
        "iou/background",
        "iou/person",  # the absent class has no point
        "teacher_miou",
        "agreement",
        "skipped_steps",
        "speed/seconds",
        "speed/images_per_second",
        "speed/peak_memory_mb",
    }
    for tag, of_record in (
        ("temperature", lambda record: record.temperature),
        ("thawed_blocks", lambda record: record.thawed_blocks),
        ("lr/blocks.3", lambda record: record.learning_rates["blocks.3"]),
        ("loss/val/task", lambda record: record.val["task"]),
    ):
        assert [step for step, _ in scalars[tag]] == list(range(6))
        expected = [of_record(run.record(epoch)) for epoch in range(6)]
        assert [value for _, value in scalars[tag]] == pytest.approx(expected, rel=1e-6)


def test_steps_have_their_own_axis(folder: RunFolder, fake_run: Callable) -> None:
    feed(folder, fake_run().whole())
    scalars = read(folder.logs / "steps")
    assert [step for step, _ in scalars["step/loss/total"]] == list(range(1, 13))
    assert [value for _, value in scalars["step/loss/total"]] == pytest.approx([1 / n for n in range(1, 13)])
    assert {"step/lr/decoder", "step/temperature", "step/thawed_blocks"} <= set(scalars)


@pytest.mark.parametrize(("epoch", "step"), [(1, 1), (2, 0), (3, 1)])
def test_resume_leaves_no_gap_and_no_double(folder: RunFolder, fake_run: Callable, epoch: int, step: int) -> None:
    """The first part went further than the checkpoint; TensorBoard must show each epoch and step once."""
    run = fake_run()
    before: list[Event] = [run.started()]
    for each in range(epoch + 1):
        before += run.epoch(each)
    before += run.epoch(epoch + 1, last=1)
    feed(folder, before)
    feed(folder, run.rest(epoch, step))
    scalars = read(folder.logs)
    assert [point for point, _ in scalars["miou"]] == list(range(6))
    speeds = [value for _, value in scalars["speed/images_per_second"]]
    assert speeds == [40.0] * epoch + [7.0] * (6 - epoch)
    assert [point for point, _ in read(folder.logs / "steps")["step/loss/total"]] == list(range(1, 13))


def test_flushed_each_epoch(folder: RunFolder, fake_run: Callable) -> None:
    run = fake_run()
    log = TensorBoardLog(folder)
    for event in (run.started(), *run.epoch(0)):
        log.receive(event)
    assert [point for point, _ in read(folder.logs)["miou"]] == [0]  # not closed yet
    log.close()
    log.close()


def test_no_teacher(folder: RunFolder, fake_run: Callable) -> None:
    feed(folder, fake_run(teacher=False).whole())
    assert set(read(folder.logs)).isdisjoint({"temperature", "teacher_miou", "agreement"})


def test_images(folder: RunFolder, fake_run: Callable) -> None:
    log = TensorBoardLog(folder)
    panel = np.random.default_rng(0).integers(0, 256, (10, 20, 3), np.uint8)
    log.add_images(0, {"early": panel})  # before the start: nowhere to go, no error
    log.receive(fake_run().started())
    log.add_images(3, {"photo": panel})
    log.close()
    accumulator = EventAccumulator(str(folder.logs)).Reload()
    assert accumulator.Tags()["images"] == ["predictions/photo"]
    (image,) = accumulator.Images("predictions/photo")
    assert (image.step, image.width, image.height) == (3, 20, 10)
    with Image.open(io.BytesIO(image.encoded_image_string)) as picture:
        assert np.array_equal(np.asarray(picture), panel)


def test_images_of_a_run_that_goes_on_are_not_doubled(folder: RunFolder, fake_run: Callable) -> None:
    """A run that was cut by --max-steps has drawn already; what it draws at its real end takes their place.

    So it is where a run was cut between its pictures and its outcome: it goes on with no epoch left.
    """
    run, panel = fake_run(), np.zeros((10, 20, 3), np.uint8)
    for events in ([run.started(), *run.epoch(0), *run.epoch(1)], run.rest(2), run.rest(run.epochs)):
        log = TensorBoardLog(folder)
        for event in events:
            log.receive(event)
        log.add_images(run.epochs, {"photo": panel})
        log.close()
    (image,) = EventAccumulator(str(folder.logs)).Reload().Images("predictions/photo")
    assert image.step == 6


def test_event_files_never_share_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(event_file.time, "time", lambda: 1000.25)
    monkeypatch.setattr(event_file.time, "sleep", slept.append)
    event_file._wait_for_a_new_name(tmp_path)
    (tmp_path / "events.out.tfevents.0000000999.host.1.0").touch()
    event_file._wait_for_a_new_name(tmp_path)
    assert slept == []
    (tmp_path / "events.out.tfevents.0000001000.host.1.1").touch()
    event_file._wait_for_a_new_name(tmp_path)
    assert slept == [0.75]
