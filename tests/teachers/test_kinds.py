"""A teacher's source is told apart by its prefix, else by what lies there; whatever is no teacher gets an answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from snowmelt.errors import SnowmeltError
from snowmelt.teachers import KINDS, Kind, OpenOptions, find_kind


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize("kind", ["run", "weights", "onnx", "hf", "maps"])
def test_a_prefix_wins_whatever_lies_there(kind: str, tmp_path: Path) -> None:
    path = touch(tmp_path / "a.onnx")
    assert find_kind(f"{kind}:{path}") == (kind, str(path))
    assert find_kind(f"{kind}:nvidia/segformer") == (kind, "nvidia/segformer")
    assert find_kind(f"{kind}:C:/teacher") == (kind, "C:/teacher")
    with pytest.raises(SnowmeltError, match=f"names nothing after {kind}:"):
        find_kind(f"{kind}:")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".PTH"])
def test_weights_files(suffix: str, tmp_path: Path) -> None:
    path = touch(tmp_path / f"a{suffix}")
    assert find_kind(str(path)) == ("weights", str(path))


def test_an_onnx_file(tmp_path: Path) -> None:
    path = touch(tmp_path / "a.b.onnx")
    assert find_kind(str(path)) == ("onnx", str(path))


def test_an_onnx_file_with_the_name_of_an_output(tmp_path: Path) -> None:
    path = touch(tmp_path / "a#b.onnx")
    assert find_kind(f"{path}#logits") == ("onnx", f"{path}#logits")
    assert find_kind(f"{path}#a/b:0") == ("onnx", f"{path}#a/b:0")
    with pytest.raises(SnowmeltError, match="does not exist"):
        find_kind(f"{tmp_path}/gone.onnx#logits")


def test_folders(tmp_path: Path) -> None:
    touch(tmp_path / "run" / "checkpoints" / "best.safetensors")
    touch(tmp_path / "hub" / "config.json")
    assert find_kind(f"{tmp_path}/run") == ("run", f"{tmp_path}/run")
    assert find_kind(f"{tmp_path}/hub") == ("hf", f"{tmp_path}/hub")
    touch(tmp_path / "run" / "config.json")  # a run folder is one, whatever else it holds
    assert find_kind(f"{tmp_path}/run")[0] == "run"
    assert find_kind(f"{touch(tmp_path / 'run.pth' / 'config.json').parent}")[0] == "hf"  # no file, despite its name


def test_the_home_folder_is_spelled_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    touch(tmp_path / "a.pth")
    assert find_kind("~/a.pth") == ("weights", f"{tmp_path}/a.pth")
    assert find_kind("maps:~/maps") == ("maps", f"{tmp_path}/maps")


@pytest.mark.parametrize("name", ["a.png", "a.npy", "a.npz", "a.jpg"])
def test_a_folder_of_pictures_could_be_anything(name: str, tmp_path: Path) -> None:
    touch(tmp_path / name)
    with pytest.raises(SnowmeltError, match="for precomputed maps write maps:") as caught:
        find_kind(str(tmp_path))
    assert f"maps:{tmp_path}" in str(caught.value)


@pytest.mark.parametrize("source", ["gone.pth", "nvidia/segformer", "auto", "onxx:a.onnx", "none"])
def test_a_path_to_nothing_gets_all_that_could_be_given(source: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SnowmeltError, match=f"{source} does not exist") as caught:
        find_kind(source)
    for form in ("auto", "none", "run folder", ".safetensors", ".ckpt", ".onnx", "Hugging Face", "hf:NAME", "maps:DIR"):
        assert form in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_lies_there_but_is_no_teacher(tmp_path: Path) -> None:
    with pytest.raises(SnowmeltError, match=r"a\.txt is no teacher by its name"):
        find_kind(str(touch(tmp_path / "a.txt")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SnowmeltError, match=r"holds no checkpoints/best\.safetensors, no config\.json and no maps"):
        find_kind(str(tmp_path / "empty"))
    touch(tmp_path / "young" / "config.yaml")
    with pytest.raises(SnowmeltError, match=r"holds no checkpoints/best\.safetensors; train that run until"):
        find_kind(str(tmp_path / "young"))


def test_a_new_kind_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    kind = Kind(lambda path: path.suffix == ".new", lambda target, options: opened.append(target))
    monkeypatch.setitem(KINDS, "new", kind)
    path = touch(tmp_path / "a.new")
    name, target = find_kind(str(path))
    KINDS[name].open(target, OpenOptions(classes=("a", "b")))
    assert (name, opened) == ("new", [str(path)])
    assert find_kind("new:x") == ("new", "x")


def test_nobody_pays_for_the_libraries_of_other_kinds() -> None:
    code = "import sys, snowmelt.teachers; print([m for m in ('onnxruntime', 'transformers') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_opens_or_says_why_not(kind: str, tmp_path: Path) -> None:
    with pytest.raises(SnowmeltError, match="missing") as caught:
        KINDS[kind].open(str(tmp_path / "missing.pth"), OpenOptions(classes=("a", "b")))
    assert "\n" not in str(caught.value)
