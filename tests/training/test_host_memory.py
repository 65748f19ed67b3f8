"""What control groups leave a process, read from files as Linux writes them."""

from __future__ import annotations

from pathlib import Path

from snowmelt.training.host_memory import cgroup_rooms, host_room, read_kib

GIB = 1 << 30


def write(folder: Path, **files: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")
    return folder


def rooms(tmp_path: Path, membership: str) -> list[int]:
    (tmp_path / "cgroup").write_text(membership)
    return list(cgroup_rooms(tmp_path / "cgroup", tmp_path / "mounted"))


def test_the_second_version_with_a_limit_above(tmp_path: Path) -> None:
    top = tmp_path / "mounted"
    write(top, cgroup__controllers="memory")  # the root of all has no limit
    write(top / "user", memory__max=8 * GIB, memory__current=7 * GIB)
    write(top / "user" / "job", memory__max="max", memory__current=GIB)
    write(top / "user" / "job" / "own", memory__max=4 * GIB, memory__current=3 * GIB)
    (top / "user" / "job" / "own" / "memory.stat").write_text(f"anon 5\ninactive_file {GIB // 2}\nfile 7\n")
    assert rooms(tmp_path, "0::/user/job/own\n") == [GIB + GIB // 2, GIB]


def test_the_first_version(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "mounted" / "memory" / "job",
        memory__limit_in_bytes=2 * GIB,
        memory__usage_in_bytes=GIB,
        memory__stat="total_inactive_file 4096",
    )
    assert folder.is_dir()
    assert rooms(tmp_path, "9:cpu,cpuacct:/elsewhere\n4:memory:/job\n0::/\n") == [GIB + 4096]


def test_a_container_that_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    write(tmp_path / "mounted", memory__max=GIB, memory__current=1000)
    assert rooms(tmp_path, "0::/on/the/host\n") == [GIB - 1000]
    assert rooms(tmp_path, "0::/../outside\n") == [GIB - 1000]


def test_no_groups_at_all(tmp_path: Path) -> None:
    assert list(cgroup_rooms(tmp_path / "none", tmp_path)) == []


def test_the_machine_has_room() -> None:
    assert 0 < host_room() < 1 << 50


def test_lines_of_kibibytes(tmp_path: Path) -> None:
    file = tmp_path / "status"
    file.write_text("Name:\tpython\nVmHWM:\t    2096 kB\nVmHWMore:\t1 kB\n")
    assert read_kib(file, "VmHWM") == 2096 * 1024
    assert read_kib(file, "VmRSS") is None
