from __future__ import annotations

import subprocess
from enum import Enum
from pathlib import Path

import pytest

from snowmelt.errors import SnowmeltError
from snowmelt.reporting import RunFolder
from snowmelt.reporting.provenance import git_commit, package_versions


class Kind(Enum):
    SOFT = "soft"


def begin(path: Path) -> RunFolder:
    folder = RunFolder.create(path)
    folder.write_config({"seed": 1})
    return folder


def test_layout(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "experiments" / "mine")
    assert folder.name == "mine"
    files = (folder.config_file, folder.plan_file, folder.metrics_file, folder.timing_file, folder.report_file)
    assert [path.name for path in files] == ["config.yaml", "plan.csv", "metrics.csv", "timing.csv", "report.html"]
    assert sorted(path.name for path in folder.root.iterdir()) == ["checkpoints", "logs", "plots", "predictions"]
    for path in (folder.logs, folder.checkpoints, folder.plots, folder.predictions):
        assert path.is_dir()
    assert not folder.is_run


def test_a_run_is_never_overwritten_silently(tmp_path: Path) -> None:
    begin(tmp_path / "run")
    with pytest.raises(SnowmeltError, match=r"--resume.*--overwrite.*--run-name"):
        RunFolder.create(tmp_path / "run")


def test_a_checkpoint_alone_makes_a_run(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    RunFolder.create(tmp_path / "run")  # nothing in it yet: no harm
    (folder.checkpoints / "last.safetensors").write_bytes(b"x")
    with pytest.raises(SnowmeltError, match="a run is there already"):
        RunFolder.create(tmp_path / "run")


def test_overwrite_moves_aside_and_keeps_everything(tmp_path: Path) -> None:
    for turn in range(3):  # within a second or not: names must not collide
        folder = RunFolder.create(tmp_path / "run", overwrite=True)
        assert not folder.is_run
        folder.write_config({"turn": turn})
    old = sorted(path for path in tmp_path.iterdir() if path.name.startswith("run.old-"))
    assert sorted(RunFolder(path).read_config()["turn"] for path in old) == [0, 1]
    assert folder.read_config() == {"turn": 2}


def test_resume_keeps_the_run_and_begins_one_where_none_is(tmp_path: Path) -> None:
    begin(tmp_path / "run")
    assert RunFolder.create(tmp_path / "run", resume=True).read_config() == {"seed": 1}
    assert not RunFolder.create(tmp_path / "new", resume=True).is_run


def test_contradictions_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SnowmeltError, match="exclude each other"):
        RunFolder.create(tmp_path / "run", resume=True, overwrite=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(SnowmeltError, match="is a file"):
        RunFolder.create(tmp_path / "file")
    with pytest.raises(SnowmeltError, match="cannot be made"):
        RunFolder.create(tmp_path / "file" / "run")


def test_config_round_trip(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    settings = {
        "classes": ("background", "人"),
        "rate": 1e-05,
        "milestones": {0: 4.0, 10: 3.5},
        "flag": "true",
        "data": Path("a/b"),
        "kind": Kind.SOFT,
        "none": None,
    }
    folder.write_config(settings, {"snowmelt": "9.9"})
    assert folder.read_config() == {
        "classes": ["background", "人"],
        "rate": 1e-05,
        "milestones": {0: 4.0, 10: 3.5},
        "flag": "true",
        "data": "a/b",
        "kind": "soft",
        "none": None,
    }
    assert folder.read_provenance()["versions"] == {"snowmelt": "9.9"}
    assert [path.name for path in folder.root.iterdir() if "tmp" in path.name] == []


def test_config_names_versions_and_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "work"
    repository.mkdir()
    monkeypatch.chdir(repository)
    folder = RunFolder.create(tmp_path / "run")
    folder.write_config({})
    assert folder.read_provenance()["git_commit"] is None
    assert {"python", "snowmelt", "torch"} <= folder.read_provenance()["versions"].keys()

    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    Path("file").write_text("1")
    subprocess.run([*git, "add", "file"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert git_commit(repository) == head
    subprocess.run([*git, "tag", "-a", "v1", "-m", "x"], check=True)
    Path("file").write_text("2")
    folder.write_config({})
    assert folder.read_provenance()["git_commit"] == f"{head}-dirty"


def test_no_git_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(tmp_path) is None
    assert package_versions()["torch"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "is this a run folder"), ("a: [", "not valid YAML"), ("- 1", "holds a list")],
)
def test_bad_config_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    folder = RunFolder.create(tmp_path / "run")
    if content is not None:
        folder.config_file.write_text(content)
    with pytest.raises(SnowmeltError, match=message) as caught:
        folder.read_config()
    assert "config.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_provenance_is_reserved(tmp_path: Path) -> None:
    with pytest.raises(SnowmeltError, match="provenance"):
        RunFolder.create(tmp_path / "run").write_config({"provenance": 1})
