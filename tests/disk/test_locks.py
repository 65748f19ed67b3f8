"""One process at a time: the kernel's lock, what a leftover file means, and file systems without locks."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from snowmelt.disk import Held, Holder, Lock, WriteError, holder_of, locks

HOLD = """
import json, os, socket, sys, fcntl
d = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(d, fcntl.LOCK_EX)
os.pwrite(d, json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": "then", "job": None}).encode(), 0)
print("held", flush=True)
sys.stdin.read()
"""

FORK = """
import os, sys
from pathlib import Path
from snowmelt.disk import Lock
lock = Lock(Path(sys.argv[1]))
if child := os.fork():
    os.waitpid(child, 0)
print(os.getpid(), flush=True)
sys.stdin.read()
"""


def leave(path: Path, holder: Holder) -> None:
    path.write_text(json.dumps(asdict(holder)))


@pytest.fixture
def ended() -> int:
    """The number of a process that has ended."""
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_the_second_is_told_who_is_there(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / ".x.lock"
    lock = Lock(path)
    assert holder_of(path) == Holder(**json.loads(path.read_text()))
    with pytest.raises(Held) as refused:
        Lock(path)
    assert f"process {os.getpid()} on {Holder.here().host}, since 2" in str(refused.value)
    lock.release()
    assert not path.exists() and holder_of(path) is None
    lock.release()  # a second time does nothing
    Lock(path).release()


def test_another_process_holds_it_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / ".x.lock"
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdin is not None
    assert child.stdout.readline() == "held\n"
    with pytest.raises(Held, match=f"process {child.pid} on") as refused:
        Lock(path)
    assert not refused.value.doubtful
    found = holder_of(path)
    assert found is not None and found.pid == child.pid
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()
    assert path.exists()  # left behind, and no reason to refuse
    Lock(path).release()


def test_a_child_that_was_forked_does_not_keep_it(tmp_path: Path) -> None:
    """Data workers outlive a killed run by seconds, in which it may be started again."""
    path = tmp_path / ".x.lock"
    parent = subprocess.Popen(
        [sys.executable, "-c", FORK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None and parent.stdin is not None
    child = int(parent.stdout.readline())
    with pytest.raises(Held):
        Lock(path)
    parent.kill()
    parent.wait()
    os.kill(child, 0)  # lives
    Lock(path).release()
    parent.stdin.close()
    parent.stdout.close()


def test_a_lock_that_was_removed_meanwhile_is_not_given_away_with_anothers(tmp_path: Path) -> None:
    path = tmp_path / ".x.lock"
    first = Lock(path)
    path.unlink()
    second = Lock(path)
    first.release()
    assert path.exists()
    with pytest.raises(Held):
        Lock(path)
    second.release()


def test_a_file_of_another_host_is_doubtful_on_a_network_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: int
) -> None:
    path = tmp_path / ".x.lock"
    leave(path, replace(Holder.here(), host="elsewhere"))
    monkeypatch.setattr(locks, "is_networked", lambda path: True)
    with pytest.raises(Held, match=rf"on elsewhere, since .*; if that has ended, remove {path}"):
        Lock(path)
    monkeypatch.setattr(locks, "is_networked", lambda path: False)
    Lock(path).release()  # this machine's kernel would know
    leave(path, replace(Holder.here(), pid=ended))
    monkeypatch.setattr(locks, "is_networked", lambda path: True)
    Lock(path).release()  # of this host: the kernel knows, too


def test_a_job_that_was_put_back_takes_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".x.lock"
    monkeypatch.setattr(locks, "is_networked", lambda path: True)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    leave(path, replace(Holder.here(), host="elsewhere"))
    monkeypatch.setenv("SLURM_JOB_ID", "78")
    with pytest.raises(Held):
        Lock(path)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    Lock(path).release()


@pytest.mark.usefixtures("without_locks")
def test_without_the_kernels_locks_the_file_speaks(tmp_path: Path, ended: int) -> None:
    path = tmp_path / ".x.lock"
    lock = Lock(path)
    with pytest.raises(Held, match="remove") as refused:
        Lock(path)
    assert refused.value.doubtful and holder_of(path) is not None
    lock.release()
    leave(path, replace(Holder.here(), pid=ended))
    assert holder_of(path) is None
    Lock(path).release()  # of this host, and that process is gone
    leave(path, replace(Holder.here(), host="elsewhere"))
    with pytest.raises(Held):
        Lock(path)
    path.write_text("")
    with pytest.raises(Held, match="held by another process"):
        Lock(path)


def test_where_no_lock_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"\.x\.lock: cannot be written \(file exists\)"):
        Lock(tmp_path / "file" / ".x.lock")
    with pytest.raises(WriteError, match="is a directory"):
        Lock(tmp_path)
    assert holder_of(tmp_path / "none" / ".x.lock") is None


@pytest.mark.parametrize(
    ("kind", "networked"),
    [("nfs4", True), ("cifs", True), ("fuse.sshfs", True), ("lustre", True), ("ext4", False), ("overlay", False)],
)
def test_what_is_networked_is_read_from_the_mounts(kind: str, networked: bool, tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    inside = tmp_path / "a b"
    inside.mkdir()
    point = str(inside).replace(" ", "\\040")
    mounts.write_text(f"1 0 8:1 / / rw - xfs /dev/x rw\n2 1 0:2 / {point} rw,relatime shared:1 - {kind} host:/x rw\n")
    assert locks.is_networked(inside / "run", mounts) is networked
    assert not locks.is_networked(tmp_path / "a bc", mounts)
    assert not locks.is_networked(inside, tmp_path / "none")


def test_a_text_that_is_no_holder_is_a_leftover(tmp_path: Path) -> None:
    path = tmp_path / ".x.lock"
    broken: Any = ["[]", "{", '{"pid": 3}', "x" * 9000]
    for text in broken:
        path.write_text(text)
        lock = Lock(path)
        assert Holder(**json.loads(path.read_text())).pid == os.getpid()
        lock.release()
        assert not path.exists()
