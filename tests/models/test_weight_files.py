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
    with pytest.raises(SnowmeltError, match=r"cannot be written \(no space"):
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
    """What a harmful file could do; here it leaves a file as a sign."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self):
        return (os.mkdir, (str(self.sign),))


def refusal(path: Path) -> str:
    with pytest.raises(SnowmeltError, match=r"a\.pth cannot be read as weights") as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_that_wants_to_run_code_is_refused_and_told_what_to_do(tmp_path: Path) -> None:
    path, sign = tmp_path / "a.pth", tmp_path / "sign"
    torch.save({"state_dict": {"weights": torch.zeros(2)}, "bomb": Bomb(sign)}, path)
    message = refusal(path)
    assert not sign.exists()
    assert "posix.mkdir" in message or "nt.mkdir" in message
    assert "re-save the state dict alone: torch.save(model.state_dict(), FILE)" in message
    assert "weights_only" not in message  # PyTorch's advice to load it without protection is not handed on
    torch.load(path, weights_only=False)
    assert sign.exists()  # the sign would have been seen


def test_a_whole_pickled_model_is_refused_with_the_same_advice(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "a.pth")
    message = refusal(tmp_path / "a.pth")
    assert "torch.nn.modules.linear.Linear" in message and "re-save the state dict alone" in message


def test_pytorch_files_are_data_only(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(b"no pickle at all")
    refusal(path)
    for content in ([torch.zeros(2)], {}, {"epoch": 3}, {3: torch.zeros(2)}, torch.zeros(2)):
        torch.save(content, path)
        with pytest.raises(SnowmeltError, match="holds no tensors by name"):
            read_tensors(path)


WEIGHTS = {"a": torch.ones(2), "b.c": torch.zeros(1)}
OPTIMIZER = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        {**WEIGHTS, "epoch": 3},
        {"state_dict": WEIGHTS, "epoch": 3, "optimizer_states": [OPTIMIZER], "optimizer": OPTIMIZER},
        {"model_state_dict": WEIGHTS, "optimizer_state_dict": OPTIMIZER, "loss": torch.tensor(0.5)},
        {"model": WEIGHTS, "model_ema": {"x": torch.ones(1)}},
        {"network": WEIGHTS, "rng": {"cpu": torch.zeros(8)}},
        {"checkpoint": {"state_dict": WEIGHTS}},
        {"state_dict": {"model": WEIGHTS}},
        {"model": {"state_dict": WEIGHTS, "name": "unet"}},
        {"whatever": WEIGHTS, "epoch": 3},
    ],
)
def test_weights_are_found_in_every_nest(content: dict, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.ckpt")
    found = read_tensors(tmp_path / "a.ckpt")
    assert list(found) == ["a", "b.c"]
    assert all(torch.equal(found[key], WEIGHTS[key]) for key in WEIGHTS)


def test_several_unknown_nests_are_a_question(tmp_path: Path) -> None:
    torch.save({"large": WEIGHTS, "small": WEIGHTS}, tmp_path / "a.pth")
    with pytest.raises(SnowmeltError, match=r"a\.pth holds several sets of tensors \(large, small\)"):
        read_tensors(tmp_path / "a.pth")


@pytest.mark.parametrize("name", ["foreign.safetensors", "foreign.pth"])
def test_a_file_of_another_program_has_tensors_and_no_metadata(name: str, tmp_path: Path) -> None:
    tensors = {"a": torch.arange(2.0)}
    if name.endswith(".pth"):
        torch.save(tensors, tmp_path / name)
    else:
        save_file(tensors, tmp_path / name, metadata={"format": "pt"})
    state, metadata = load_weights(tmp_path / name)
    assert torch.equal(state["a"], tensors["a"]) and metadata == {}
