"""A disk that is full, read-only or gone while training: what is left, and that the run stops or goes on."""

from __future__ import annotations

import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_experiments import overheard, tiny

from snowmelt.config import ExperimentConfig
from snowmelt.errors import SnowmeltError
from snowmelt.jobs import running, train_experiment
from snowmelt.reporting import read_metrics
from snowmelt.training import Listener
from snowmelt.training.events import Event, RunStarted, StepEnded

STEPS = 2


class At(Listener):
    """Does something when the run starts (0) or a step ends, before the others hear of it."""

    def __init__(self, deeds: dict[int, Callable[[], object]]) -> None:
        self.deeds = deeds

    def receive(self, event: Event) -> None:
        step = 0 if isinstance(event, RunStarted) else event.step if isinstance(event, StepEnded) else None
        if step in self.deeds:
            self.deeds.pop(step)()


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, Callable[[], object]]]:
    """What happens at which step, while the run trains; and no pictures at its end, which take time."""
    deeds: dict[int, Callable[[], object]] = {}
    announcer = running.Announcer

    def with_deeds(listeners: list[Listener], **options: Any) -> Any:
        return announcer([At(deeds), *listeners], **options)

    monkeypatch.setattr(running, "Announcer", with_deeds)
    monkeypatch.setattr(running, "draw_plots", lambda *_: None)
    monkeypatch.setattr(running, "draw_predictions", lambda *_: {})
    monkeypatch.setattr(running, "write_report", lambda *_: None)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield deeds
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def plain(output: Path, **training: Any) -> ExperimentConfig:
    """Three epochs of two steps."""
    return tiny(output, "plain", training={"epochs": 3, "log_every": 1, **training}, data={"store": "none"})


def limit(size: int) -> Callable[[], None]:
    """The kernel refuses, in the middle of a write, to let any file grow beyond ``size``, as a full disk does."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


UNLIMITED = resource.RLIM_INFINITY


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of which nothing was in the way."""
    output = tmp_path_factory.mktemp("whole")
    overheard(train_experiment, plain(output))
    return output / "plain"


def same_as(whole: Path, root: Path) -> None:
    for name in ("metrics.csv", "checkpoints/best.safetensors"):
        assert (root / name).read_bytes() == (whole / name).read_bytes()


def step_of(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["state"]["step"])


def test_a_full_disk_stops_the_run_in_one_line_and_leaves_the_checkpoint(tmp_path: Path, at: Any, whole: Path) -> None:
    root, at[3] = tmp_path / "plain", limit(1_000_000)
    with pytest.raises(SnowmeltError) as refused:
        overheard(train_experiment, plain(tmp_path))
    text = str(refused.value)
    assert text.startswith(f"training stopped: {root / 'checkpoints'}/") and "\n" not in text
    assert "cannot be written (file too large); allow larger files (ulimit -f), then go on with --resume: " in text
    assert "the checkpoint of epoch 1, step 2 is whole; training.on_write_failure=go_on trains on without" in text
    assert refused.value.code == "file-unwritable"
    assert not [path for path in root.rglob("*") if path.name.endswith(".tmp")]
    limit(UNLIMITED)()
    assert step_of(root / "checkpoints" / "last.ckpt") == STEPS
    record, _ = overheard(train_experiment, plain(tmp_path), resume=True)
    assert (record["step"], record["reason"]) == (6, "complete")
    same_as(whole, root)


def test_a_run_that_goes_on_warns_and_catches_up(tmp_path: Path, at: Any, whole: Path) -> None:
    """In the second epoch nothing can be written, not even a line of the log."""
    root, at[3], at[5] = tmp_path / "plain", limit(10), limit(UNLIMITED)
    record, said = overheard(train_experiment, plain(tmp_path, on_write_failure="go_on"))
    assert (record["step"], record["reason"]) == (6, "complete")
    assert "warning: epoch 2, step 4: " in said and "the run goes on and tries again at the next save" in said
    assert step_of(root / "checkpoints" / "last.ckpt") == 6
    assert step_of(root / "checkpoints" / "previous.ckpt") == STEPS
    assert [row["epoch"] for row in read_metrics(root / "metrics.csv")] == [0, 1, 2]
    [log] = (root / "logs").glob("training_log_*.txt")
    lines = log.read_text().splitlines()
    assert [line for line in lines if " step=4 " in line] and [line for line in lines if "the run goes on" in line]
    same_as(whole, root)


@pytest.mark.parametrize("goes_on", [False, True])
def test_the_disk_is_full_before_the_first_step(goes_on: bool, tmp_path: Path, at: Any, whole: Path) -> None:
    at[0], at[2] = limit(1_000_000), limit(UNLIMITED)
    config = plain(tmp_path, on_write_failure="go_on" if goes_on else "stop")
    if not goes_on:
        with pytest.raises(
            SnowmeltError, match=r"good\.ckpt: cannot be written .*then start again: there is no checkpoint"
        ):
            overheard(train_experiment, config)
        return
    record, said = overheard(train_experiment, config)
    assert record["step"] == 6
    assert "warning: epoch 0, step 0: " in said and "good.ckpt: cannot be written" in said
    same_as(whole, tmp_path / "plain")


def test_a_run_that_could_never_save_again_fails_at_its_end(tmp_path: Path, at: Any) -> None:
    root, at[3] = tmp_path / "plain", limit(1_000_000)
    with pytest.raises(SnowmeltError, match=r"its last state could not be saved .* --resume") as refused:
        overheard(train_experiment, plain(tmp_path, on_write_failure="go_on"))
    assert str(refused.value).startswith(f"{root / 'checkpoints'}: the run came to its end")
    limit(UNLIMITED)()
    assert step_of(root / "checkpoints" / "last.ckpt") == STEPS
    assert not (root / "summary.json").exists()  # so that it can be gone on with


@pytest.mark.parametrize("goes_on", [False, True])
def test_the_folder_disappears(goes_on: bool, tmp_path: Path, at: Any) -> None:
    root = tmp_path / "plain"
    at[3] = lambda: shutil.rmtree(root)
    config = plain(tmp_path, on_write_failure="go_on" if goes_on else "stop")
    if not goes_on:
        with pytest.raises(SnowmeltError, match=r"the log has disappeared.*; bring the folder back, then start again"):
            overheard(train_experiment, config)
        assert not root.exists()  # nothing is left behind in its place
        return
    record, said = overheard(train_experiment, config)
    assert record["step"] == 6 and "has disappeared while training, and is made anew" in said
    assert step_of(root / "checkpoints" / "last.ckpt") == 6
    assert [row["epoch"] for row in read_metrics(root / "metrics.csv")] == [0, 1, 2]  # the rows of before, too
    assert (root / "config.yaml").exists() and (root / "checkpoints" / "best.safetensors").exists()


def test_a_file_in_the_place_of_a_folder(tmp_path: Path, at: Any) -> None:
    """What root meets instead of a folder that may not be written."""
    root = tmp_path / "plain"

    def replace() -> None:
        (root / "checkpoints").rename(root / "away")
        (root / "checkpoints").write_text("")

    at[3] = replace
    with pytest.raises(SnowmeltError, match=r"checkpoints: cannot be written \(it has disappeared\)"):
        overheard(train_experiment, plain(tmp_path))
    assert step_of(root / "away" / "last.ckpt") == STEPS


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real, small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here (not root, or no such rights); limits of files stand in")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_real_disk_is_full(disk: Path, at: Any) -> None:
    def fill() -> None:
        with (disk / "other").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(bytes(4096))

    at[3] = fill
    with pytest.raises(SnowmeltError, match=r"no space left on device\); free some space, then go on with --resume"):
        overheard(train_experiment, plain(disk, check_space=False))
    checkpoints = disk / "plain" / "checkpoints"
    assert step_of(checkpoints / "last.ckpt") == STEPS
    assert not [path for path in checkpoints.iterdir() if ".tmp" in path.name]


def test_a_real_folder_becomes_read_only(disk: Path, at: Any) -> None:
    checkpoints = str(disk / "plain" / "checkpoints")

    def forbid() -> None:
        subprocess.run(["mount", "--bind", checkpoints, checkpoints], check=True)
        subprocess.run(["mount", "-o", "remount,ro,bind", checkpoints], check=True)

    at[3] = forbid
    with pytest.raises(SnowmeltError, match=r"read-only file system\); make the folder writable, then go on"):
        overheard(train_experiment, plain(disk, check_space=False))
    subprocess.run(["umount", checkpoints], check=True)
    assert step_of(disk / "plain" / "checkpoints" / "last.ckpt") == STEPS
