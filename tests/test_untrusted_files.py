"""Malicious files of every kind leave no canary behind, and whatever they state is one line."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from snowmelt.config import ExperimentConfig, read_overrides
from snowmelt.config.files import read_yaml
from snowmelt.config_manager import ConfigManager
from snowmelt.errors import SnowmeltError
from snowmelt.models import build_network, load_encoder_weights, load_weights
from snowmelt.reporting import RunFolder
from snowmelt.teachers.maps import open_maps
from snowmelt.teachers.options import OpenOptions
from snowmelt.teachers.weights import open_weights
from snowmelt.training import Checkpoints

TWO = ("background", "thing")


# ------------------------------------------------------------------------------------------------- pickles


class Evil:
    """Writes its canary when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return exec, (f"open({str(self.canary)!r}, 'w').close()",)


def as_zip(canary: Path) -> bytes:
    written = io.BytesIO()
    torch.save({"encoder.weight": torch.zeros(2), "more": Evil(canary)}, written)
    return written.getvalue()


def as_legacy(canary: Path) -> bytes:
    written = io.BytesIO()
    torch.save({"weight": torch.zeros(2), "more": Evil(canary)}, written, _use_new_zipfile_serialization=False)
    return written.getvalue()


def as_bare_pickle(canary: Path) -> bytes:
    return pickle.dumps(Evil(canary), protocol=2)


def as_text_pickle(canary: Path) -> bytes:
    return f"cos\nsystem\n(S'touch {canary}'\ntR.".encode()


def as_script(canary: Path) -> bytes:
    """An archive that looks like TorchScript, which another reader would take."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name in ("constants.pkl", "data.pkl"):
            archive.writestr(f"archive/{name}", pickle.dumps(Evil(canary), protocol=2))
        archive.writestr("archive/code/__torch__.py", f"open({str(canary)!r}, 'w')")
        archive.writestr("archive/version", "3\n")
    return written.getvalue()


def as_tar(canary: Path) -> bytes:
    """The oldest form of a checkpoint, whose reader once unpacked it."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name in ("sys_info", "storages", "tensors", "pickle", f"../../{canary.name}"):
            body = pickle.dumps(Evil(canary), protocol=2)
            about = tarfile.TarInfo(name)
            about.size = len(body)
            archive.addfile(about, io.BytesIO(body))
    return written.getvalue()


def as_archive_with_paths(canary: Path) -> bytes:
    """A sound archive with entries whose names lead out of any folder that it would be unpacked in."""
    kept = zipfile.ZipFile(io.BytesIO(as_zip(canary)))
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for info in kept.infolist():
            archive.writestr(info.filename, kept.read(info))
        for name in (f"../{canary.name}", str(canary), f"archive/../../{canary.name}"):
            archive.writestr(name, b"unpacked")
    return written.getvalue()


PICKLES = [as_zip, as_legacy, as_bare_pickle, as_text_pickle, as_script, as_tar, as_archive_with_paths]
SUFFIXES = {"teacher": (".pth", ".pt", ".ckpt", ".bin"), "student": (".pth", ".pt", ".bin"), "resume": (".ckpt",)}


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, 2, 1)


def read_as(use: str, path: Path) -> None:
    """What a run does with the file: its teacher, the student's weights, or the checkpoint that it goes on from."""
    network = Tiny()
    if use == "teacher":
        open_weights(str(path), OpenOptions(TWO))
    elif use == "student":
        load_encoder_weights(network, "resnet18", str(path))
    else:
        folder = path.parent
        path.rename(folder / "last.ckpt")
        Checkpoints(folder, {}, {}).load_last(network, torch.optim.AdamW(network.parameters()))


@pytest.mark.parametrize("make", PICKLES)
@pytest.mark.parametrize(("use", "suffix"), [(use, suffix) for use, all_ in SUFFIXES.items() for suffix in all_])
def test_no_pickle_is_executed(tmp_path: Path, make: Callable[[Path], bytes], use: str, suffix: str) -> None:
    canary = tmp_path / "canary"
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / f"bad{suffix}"
    path.write_bytes(make(canary))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SnowmeltError) as caught:
        read_as(use, path)
    assert "\n" not in str(caught.value)
    assert ("last.ckpt" if use == "resume" else path.name) in str(caught.value)
    assert not canary.exists()
    assert len(sorted(tmp_path.rglob("*"))) == len(before)


def test_the_canary_would_sing(tmp_path: Path) -> None:
    """Each of these files runs code where it is read without care, so the tests above say something."""
    for make in (as_zip, as_legacy):
        canary = tmp_path / make.__name__
        torch.load(io.BytesIO(make(canary)), weights_only=False)
        assert canary.exists()
    for make in (as_bare_pickle, as_text_pickle):
        canary = tmp_path / make.__name__
        pickle.loads(make(canary))
        assert canary.exists()


# ------------------------------------------------------------------------------------------------- arrays, YAML


@pytest.mark.parametrize("form", ["array", "fields", "archive"])
def test_no_array_of_objects_is_unpickled(tmp_path: Path, form: str) -> None:
    canary = tmp_path / "canary"
    folder = tmp_path / "maps"
    folder.mkdir()
    path = folder / "one.npy"
    evil = np.array([Evil(canary)], dtype=object)
    if form == "archive":
        with path.open("wb") as file:
            np.savez(file, a=evil)
    else:
        np.save(path, evil if form == "array" else np.array([(Evil(canary),)], dtype=[("a", object)]))
    with pytest.raises(SnowmeltError, match=r"one\.npy: cannot be read as an NPY array"):
        open_maps(str(folder), OpenOptions(TWO)).read("one")
    assert not canary.exists()
    with np.load(path, allow_pickle=True) if form == "archive" else path.open("rb") as file:
        _ = file["a"] if form == "archive" else np.load(path, allow_pickle=True)
    assert canary.exists()  # it would have


TAGS = [
    "!!python/object/apply:os.system ['touch {canary}']",
    "!!python/object/apply:builtins.exec [\"open('{canary}', 'w')\"]",
    "!!python/object/new:os.system ['touch {canary}']",
    "!!python/name:os.system",
    "!!python/module:os",
    "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch {canary}']",
]


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("use", ["settings", "run", "override"])
def test_no_tag_of_yaml_is_obeyed(tmp_path: Path, tag: str, use: str) -> None:
    canary = tmp_path / "canary"
    text = tag.replace("{canary}", str(canary))
    path = tmp_path / "config.yaml"
    path.write_text(f"seed: {text}\n")
    with pytest.raises(SnowmeltError) as caught:
        if use == "settings":
            ConfigManager.get_config(str(path))
        elif use == "run":
            RunFolder(tmp_path).read_settings()
        else:
            read_overrides([f"seed={text}"])
    assert "\n" not in str(caught.value) and ("config.yaml" in str(caught.value) or use == "override")
    assert not canary.exists()


def test_aliases_that_stand_for_a_billion_values_are_one_short_line(tmp_path: Path) -> None:
    levels = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    levels += [f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 9)]
    lists = tmp_path / "lists.yaml"
    lists.write_text("\n".join([*levels, "task: {class_weights: *a8}"]))
    merges = ["a0: &a0 {x: 1}"]
    merges += [f"a{level}: &a{level} {{<<: [{','.join([f'*a{level - 1}'] * 9)}]}}" for level in range(1, 9)]
    mappings = tmp_path / "mappings.yaml"
    mappings.write_text("\n".join([*merges, "training: {<<: *a8}"]))
    for path in (lists, mappings):
        with pytest.raises(SnowmeltError, match=path.name) as caught:
            ConfigManager.get_config(str(path))
        assert len(str(caught.value)) < 3000


@pytest.mark.parametrize(
    "text",
    [
        "data: {<<: [{source: 'scenes:8', seed: 1}, {seed: 2}], image_size: 64}",
        "data: {<<: {seed: 1, image_size: 32}, image_size: 64}",
        "a: &a {seed: 1}\nb: &b {<<: *a, seed: 3}\ndata: {<<: [*a, *b], image_size: 64}",
        "a: &a {1: one, x: 2}\nb: {<<: *a, 1: uno, 'x': 3}",
    ],
)
def test_merged_mappings_mean_what_they_meant(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert read_yaml(path) == yaml.safe_load(text)


def test_a_number_of_thousands_of_digits_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    for digits in ("0x" + "f" * 9000, "9" * 5000, "9" * 1000):
        path.write_text(f"seed: {digits}\n")
        with pytest.raises(SnowmeltError, match=r"mine\.yaml, line 1: is not valid YAML .* cannot be read as int"):
            ConfigManager.get_config(str(path))


# ------------------------------------------------------------------------------------------------- safetensors


def tensors(header: bytes, length: int | None = None, data: bytes = bytes(64)) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


FLOATS = b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}'
HEADERS = {
    "longer than the file": tensors(FLOATS + b"}", 2**63),
    "longer than memory": tensors(FLOATS + b"}", 2**40),
    "no JSON": tensors(b"{{{{"),
    "nested": tensors(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "negative": tensors(b'{"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}}'),
    "huge": tensors(b'{"a": {"dtype": "F32", "shape": [4611686018427387904, 4], "data_offsets": [0, 16]}}'),
    "beyond the end": tensors(b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [99999999999, 99999999999]}}'),
    "overlapping": tensors(FLOATS + b', "b": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]}}'),
    "unknown type": tensors(b'{"a": {"dtype": "PY", "shape": [4], "data_offsets": [0, 16]}}'),
    "empty": b"",
}


@pytest.mark.parametrize("name", HEADERS)
def test_absurd_headers_of_safetensors(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(HEADERS[name])
    with pytest.raises(SnowmeltError, match=r"bad\.safetensors cannot be read as weights") as caught:
        load_weights(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5000, "[1]", "{"])
def test_metadata_of_safetensors_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "bad.safetensors"
    save_file({"a": torch.zeros(2)}, path, metadata={"snowmelt": text})
    with pytest.raises(SnowmeltError, match=r"bad\.safetensors") as caught:
        load_weights(path)
    assert "\n" not in str(caught.value)


def test_only_a_file_that_is_named_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python file beside the settings, or in the working directory, is nobody's business."""
    canary = tmp_path / "canary"
    code = f"open({str(canary)!r}, 'w').close()\nraise SystemExit\n"
    for name in ("mine.py", "sitecustomize.py", "snowmelt.py", "config.py", "conftest.py"):
        (tmp_path / name).write_text(code)
    (tmp_path / "mine.yaml").write_text("seed: 1\n")
    monkeypatch.chdir(tmp_path)
    assert ConfigManager.get_config("mine.yaml").seed == 1
    for spec in ("mine", "mine.py", "mine:x", "http://example.org/mine.py:x"):
        with pytest.raises(SnowmeltError):
            ConfigManager.get_config(spec)
    assert not canary.exists()
    with pytest.raises(SnowmeltError, match=r"mine\.py: running it failed"):
        ConfigManager.get_config("mine.py:x")
    assert canary.exists()  # this one was asked for
    assert ExperimentConfig() == ExperimentConfig()


def test_networks_are_built_by_name_not_by_path() -> None:
    with pytest.raises(SnowmeltError):
        build_network("unet", "__import__('os').system('true')", 1)
