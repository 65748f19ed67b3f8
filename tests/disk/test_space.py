"""Room is looked for before it is needed: what goes to one disk is taken together."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from snowmelt.disk import Need, check_space
from snowmelt.errors import SnowmeltError


@pytest.fixture(autouse=True)
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100_000_000))


def test_what_goes_to_one_disk_is_taken_together(tmp_path: Path) -> None:
    needs = [Need("the teacher", tmp_path / "a", 60_000_000), Need("the student", tmp_path / "new" / "b", 40_000_000)]
    check_space(needs, "buy a disk")
    needs.append(Need("answers", tmp_path, 2_000_000))
    with pytest.raises(SnowmeltError) as refused:
        check_space(needs, "buy a disk")
    assert str(refused.value) == (
        f"{tmp_path}: about 102 MB are needed there (the teacher 60 MB, the student 40 MB, answers 2 MB), "
        "but 100 MB are free; buy a disk"
    )
    assert refused.value.code == "disk-full"


def test_two_disks_are_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    stat = Path.stat

    def elsewhere(path: Path, **options: bool) -> object:
        found = stat(path, **options)
        return SimpleNamespace(st_dev=-1, st_mode=found.st_mode) if path.name == "other" else found

    monkeypatch.setattr(Path, "stat", elsewhere)
    check_space([Need("a", tmp_path, 60_000_000), Need("b", tmp_path / "other", 60_000_000)], "buy a disk")
