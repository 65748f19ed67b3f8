"""Two runs do not write one folder, train one teacher, or ask it the same."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_experiments import overheard, tiny

from snowmelt.disk import Lock
from snowmelt.errors import SnowmeltError
from snowmelt.jobs import locking, train_experiment
from snowmelt.jobs import training as train_job
from snowmelt.jobs.caching import fill_cache
from snowmelt.jobs.locking import held, held_run, lock_of
from snowmelt.jobs.session import open_session
from snowmelt.jobs.teaching import find_teacher
from snowmelt.training import Engine

ME = f"process {os.getpid()} on "


def test_a_second_run_is_refused_before_data_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_job, "open_session", lambda config: pytest.fail("data were read"))
    config = tiny(tmp_path, "plain")
    root = tmp_path / "plain"
    lock = Lock(lock_of(root))
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(SnowmeltError) as refused:
            train_experiment(config, **options)
        assert str(refused.value).startswith(f"{root}: another run is writing there ({ME}")
        assert str(refused.value).endswith("); wait for it, or choose another name with --run-name")
    lock.release()


def test_a_run_holds_its_folder_from_the_session_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, seen = tiny(tmp_path, "plain"), []

    def watched(*arguments: Any, **options: Any) -> dict[str, Any]:
        with pytest.raises(SnowmeltError, match="another run is writing there"):
            train_experiment(config, resume=True)
        seen.append(lock_of(tmp_path / "plain").exists())
        return {}

    monkeypatch.setattr(train_job, "run_training", watched)
    overheard(train_experiment, config)
    assert seen == [True]
    assert not lock_of(tmp_path / "plain").exists()


def test_a_teacher_and_its_answers_are_waited_for_and_taken(cycle_copy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run finishes them meanwhile."""
    teacher = cycle_copy.teacher
    [cache] = (cycle_copy.output / "teacher-cache").iterdir()
    record = teacher / "summary.json"
    finished = record.read_bytes()
    record.unlink()
    training, storing = Lock(lock_of(teacher)), Lock(cache.parent / f".{cache.name[:16]}.lock")

    def finish(seconds: float) -> None:
        record.write_bytes(finished)
        (training if training._descriptor is not None else storing).release()

    monkeypatch.setattr(locking, "time", SimpleNamespace(sleep=finish))
    session, _ = overheard(open_session, cycle_copy.distilled())
    found, said = overheard(find_teacher, session)
    assert f"teacher: {teacher} is being trained by another run ({ME}" in said and said.count("this waits for it") == 1
    assert f"teacher: {teacher} is reused" in said and "trained further" not in said
    _, said = overheard(fill_cache, session, found)
    assert f"{cache.parent}: another run stores answers of this teacher ({ME}" in said
    assert "the answers to all 4 images are there" in said


def test_one_folder_by_two_names_is_one_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    engine = Engine("cpu", "32")
    with held_run(engine, tmp_path / "real"), pytest.raises(SnowmeltError), held_run(engine, tmp_path / "alias"):
        pytest.fail("both have it")


def test_where_no_lock_can_be_made_nothing_is_trained_but_stored_answers_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    engine = Engine("cpu", "32")
    with (
        pytest.raises(SnowmeltError, match=r"cannot be written .* --set output=DIR chooses another place"),
        held_run(engine, tmp_path / "file" / "run"),
    ):
        pytest.fail("nothing can lie in a file")
    with held(engine, tmp_path / "file" / ".cache.lock", "storing", needed=False):
        pass
