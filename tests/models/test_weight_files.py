"""Written whole, loaded strictly, refused in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from snowmelt.errors import SnowmeltError
from snowmelt.models import build_network, load_weights, save_weights
from snowmelt.models.weight_files import read_tensors


def network() -> nn.Module:
    return build_network("unet", "tu-mobilenetv2_050", decoder_channels=(16, 8, 8, 8, 8))


def test_a_saved_network_loads_into_a_plain_one(tmp_path: Path) -> None:
    model, path = network(), tmp_path / "best.safetensors"
    save_weights(path, model, {"epoch": 3, "classes": ["background", "person"], "name": "雪解け"})
    plain = smp.Unet("tu-mobilenetv2_050", encoder_weights=None, classes=1, decoder_channels=(16, 8, 8, 8, 8))
    plain.load_state_dict(load_file(path))
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), model.parameters(), strict=True))
    state, metadata = load_weights(path)
    assert metadata == {"epoch": 3, "classes": ["background", "person"], "name": "雪解け"}
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert os.listdir(tmp_path) == ["best.safetensors"]


def test_wrappers_leave_no_prefix_and_tied_or_strided_tensors_are_written_out(tmp_path: Path) -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
            self.module[1].weight = self.module[0].weight
            self.module[0].bias = nn.Parameter(torch.arange(6.0).view(3, 2)[:, 0])

    model = Wrapper()
    save_weights(tmp_path / "a.safetensors", model, {})
    state, metadata = load_weights(tmp_path / "a.safetensors")
    assert list(state) == ["0.bias", "0.weight", "1.bias", "1.weight"] and metadata == {}
    model.module.load_state_dict(state)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, nn.Linear(2, 2), {"version": 1})

    def full(*_) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SnowmeltError, match="cannot be written: no space"):
        save_weights(path, nn.Linear(2, 2), {"version": 2})
    assert load_weights(path)[1] == {"version": 1}
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_metadata_must_be_json(tmp_path: Path) -> None:
    for bad in ({"a": {1, 2}}, {"a": float("nan")}):
        with pytest.raises(SnowmeltError, match="cannot be written as JSON"):
            save_weights(tmp_path / "a.safetensors", nn.Linear(2, 2), bad)
    with pytest.raises(SnowmeltError, match="cannot be written"):
        save_weights(tmp_path / "missing" / "a.safetensors", nn.Linear(2, 2), {})


def write_bad(kind: str, folder: Path) -> Path:
    path = folder / "bad.safetensors"
    save_weights(path, nn.Linear(8, 8), {})
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-20])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no weight file, whatever its name says")
    elif kind == "not json":
        save_file({"a": torch.zeros(2)}, path, metadata={"snowmelt": "{"})
    else:
        path.unlink()
    return path


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "not json", "missing"])
def test_a_bad_file_is_refused_in_one_line_that_names_it(kind: str, tmp_path: Path) -> None:
    with pytest.raises(SnowmeltError, match=r"bad\.safetensors") as caught:
        load_weights(write_bad(kind, tmp_path))
    assert "\n" not in str(caught.value)


class Bomb:
    def __reduce__(self):
        return (os.system, ("exit 1",))


def test_pytorch_files_are_data_only(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"weights": torch.zeros(2), "bomb": Bomb()}, path)
    with pytest.raises(SnowmeltError, match=r"a\.pth cannot be read as weights"):
        read_tensors(path)
    path.write_bytes(b"no pickle at all")
    with pytest.raises(SnowmeltError, match=r"a\.pth cannot be read as weights"):
        read_tensors(path)
    torch.save([torch.zeros(2)], path)
    with pytest.raises(SnowmeltError, match="holds no tensors by name"):
        read_tensors(path)
    for content in (
        {"a": torch.ones(2)},
        {"state_dict": {"a": torch.ones(2)}, "epoch": 3},
        {"model": {"a": torch.ones(2)}},
    ):
        torch.save(content, path)
        assert list(read_tensors(path)) == ["a"]


@pytest.mark.parametrize("name", ["foreign.safetensors", "foreign.pth"])
def test_a_file_of_another_program_has_tensors_and_no_metadata(name: str, tmp_path: Path) -> None:
    tensors = {"a": torch.arange(2.0)}
    if name.endswith(".pth"):
        torch.save(tensors, tmp_path / name)
    else:
        save_file(tensors, tmp_path / name, metadata={"format": "pt"})
    state, metadata = load_weights(tmp_path / name)
    assert torch.equal(state["a"], tensors["a"]) and metadata == {}
