from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from snowmelt.errors import SnowmeltError
from snowmelt.reporting import RunFolder, TextLog, read_text_log
from snowmelt.schedules import WeightSchedule
from snowmelt.training.events import EpochEnded, Event, Message


def feed(folder: RunFolder, events: list[Event]) -> Path:
    before = set(folder.logs.glob("training_log_*.txt"))
    log = TextLog(folder)
    for event in events:
        log.receive(event)
    log.close()
    (path,) = set(folder.logs.glob("training_log_*.txt")) - before
    return path


def test_name_and_start_block(folder: RunFolder, fake_run: Callable) -> None:
    path = feed(folder, fake_run(classes=4).whole())
    assert re.fullmatch(r"training_log_\d{8}_\d{6}\.txt", path.name)
    text = path.read_text()
    for words in (
        "start name=fake",
        "device=cpu precision=32 effective_batch=4 parameters=6251469",
        "classes=background,person,traffic_light,dog_small",
        "groups=decoder,blocks.6,",
        "stage epoch=2 thawed_blocks=1 trainable_parameters=2000 learns=decoder,blocks.6",
        "step=1 in_epoch=0 step_in_epoch=1 loss/total=1",
        "iou/traffic_light=absent",
        "end reason=complete",
        "Best mIoU",
    ):
        assert words in text
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +\S", line) for line in text.splitlines())


def test_figures_read_back_equal_the_schedule(folder: RunFolder, fake_run: Callable) -> None:
    run = fake_run(epochs=50, start=10, every=5)
    rows = read_text_log(feed(folder, run.whole()))
    assert [row["epoch"] for row in rows] == list(range(50))
    for epoch, row in enumerate(rows):
        record = run.record(epoch)
        assert row["temperature"] == record.temperature  # exactly
        assert row["thawed_blocks"] == record.thawed_blocks
        assert {name: row[f"lr/{name}"] for name in record.learning_rates} == record.learning_rates
        for key, value in (("miou", record.miou), ("val/task", record.val["task"]), ("images_per_second", 40.0)):
            assert row[key] == pytest.approx(value, rel=1e-5)
        assert row["teacher_miou"] == 0.8
        assert row["best"] is True


def test_every_line_is_there_at_once(folder: RunFolder, fake_run: Callable) -> None:
    """Read before the file is closed, as `tail -f` does, and as a killed run would leave it."""
    run = fake_run()
    log = TextLog(folder)
    seen = 0
    for event in run.whole():
        log.receive(event)
        (path,) = folder.logs.glob("*.txt")
        text = path.read_text()
        assert text.endswith("\n")
        assert len(text.splitlines()) > seen
        seen = len(text.splitlines())
    log.close()


def test_messages_before_the_start_and_repeated_at_the_end(folder: RunFolder, fake_run: Callable) -> None:
    warning = Message("encoder weights are random\n(no network)", "warning")
    lines = feed(folder, [warning, Message("hello"), *fake_run().whole()]).read_text().splitlines()
    assert lines[0].endswith(" warning encoder weights are random")
    assert lines[2].endswith(" info hello")
    assert any(line.endswith("- encoder weights are random") for line in lines[-5:])


def test_a_resume_begins_a_new_file(folder: RunFolder, fake_run: Callable) -> None:
    run = fake_run()
    first = feed(folder, [run.started(), *run.epoch(0)])
    second = feed(folder, run.rest(1, 1))
    assert first != second
    assert "left before its end" in first.read_text()
    assert "resume name=fake" in second.read_text()
    assert [row["epoch"] for row in read_text_log(second)] == [1, 2, 3, 4, 5]


def test_what_is_made_again_is_void_in_older_logs(folder: RunFolder, fake_run: Callable) -> None:
    """Three starts: one that came far, one that did not come to a checkpoint, and one to the end."""
    run = fake_run()
    first = feed(folder, [run.started(), *run.epoch(0), *run.epoch(1)])
    before = first.read_text()
    with first.open("a") as file:
        file.write("2026-01-01 00:00:00 step=99 in_ep")  # cut in the middle of a line
    second = feed(folder, run.rest(1, 1)[:3])
    feed(folder, run.rest(1, 1))
    text = "\n".join(path.read_text() for path in sorted(folder.logs.glob("*.txt")))
    for topic, whole in (("step", range(run.steps * run.epochs)), ("epoch", range(run.epochs))):
        found = re.findall(rf"^\S+ \S+ {topic}=(\d+) ", text, re.MULTILINE)
        assert sorted(set(map(int, found))) == [number + (topic == "step") for number in whole]
        assert topic == "epoch" or len(found) == len(set(found))
    assert [row["epoch"] for row in read_text_log(first)] == [0]
    assert " void step=99 in_ep" in first.read_text() and " void step=" in second.read_text()
    assert first.read_text().replace(" void ", " ").startswith(before)  # nothing else has changed


def test_no_teacher_no_temperature(folder: RunFolder, fake_run: Callable) -> None:
    row = read_text_log(feed(folder, fake_run(teacher=False).whole()))[0]
    assert row.keys().isdisjoint({"temperature", "teacher_miou", "agreement"})
    assert row["thawed_blocks"] == 0


def test_partial_and_skipped(folder: RunFolder, fake_run: Callable) -> None:
    run = fake_run()
    record = replace(run.record(0, step_in_epoch=1), skipped_steps=1, train={"total": float("nan")})
    row = read_text_log(feed(folder, [run.started(), EpochEnded(record)]))[0]
    assert row["complete"] is False
    assert row["skipped_steps"] == 1
    assert row["train/total"] != row["train/total"]


def test_nothing_said_nothing_written(folder: RunFolder) -> None:
    TextLog(folder).close()
    assert list(folder.logs.iterdir()) == []


def test_unreadable_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(SnowmeltError, match=r"x\.txt"):
        read_text_log(tmp_path / "x.txt")


def test_weights_are_exact_too(folder: RunFolder, fake_run: Callable) -> None:
    schedules = {"alpha": WeightSchedule("cosine", 0.8, 0.2), "kl": WeightSchedule("linear", 1.0, 0.0)}
    feed(folder, fake_run(weights=schedules).whole())
    [path] = folder.logs.glob("training_log_*.txt")
    rows = read_text_log(path)
    assert [row["alpha"] for row in rows] == [schedules["alpha"].at(epoch, 6) for epoch in range(6)]
    assert [row["weights/kl"] for row in rows] == [schedules["kl"].at(epoch, 6) for epoch in range(6)]
