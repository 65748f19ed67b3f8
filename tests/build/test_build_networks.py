"""Networks from settings and from files: what was saved is what is loaded, and a file that does not fit says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_experiments import ENCODER
from torch import Tensor

from snowmelt.build import load_network, make_input, make_network
from snowmelt.config import NetworkConfig
from snowmelt.errors import SnowmeltError
from snowmelt.models import Normalisation, save_weights

SMALL = NetworkConfig(encoder=ENCODER, weights="none", decoder_channels=[16, 8, 8, 8, 8])
SHALLOW = NetworkConfig(encoder=ENCODER, weights="none", depth=3, decoder_channels=[16, 8, 8])

TWO = ("background", "person")

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Weights of ``settings`` with metadata that describes them, or with ``metadata`` in its place."""

    def save(settings: NetworkConfig, channels: int = 1, metadata: dict[str, Any] | None = None) -> Path:
        built = make_network(settings, channels, seed=3)
        path = tmp_path / "weights.safetensors"
        save_weights(path, built.network, {"network": dict(built.description)} if metadata is None else metadata)
        return path

    return save


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def test_random_weights_are_those_of_the_seed() -> None:
    states = [make_network(SMALL, 1, seed).network.state_dict() for seed in (0, 0, 1)]
    assert same(states[0], states[1])
    assert not same(states[0], states[2])


def test_without_weights_nothing_is_looked_for() -> None:
    built = make_network(SMALL.model_copy(update={"weights": "/no/such/file.safetensors"}), 1, 0, with_weights=False)
    assert not built.weights.pretrained
    assert built.description == {**SMALL.model_dump(exclude={"weights"}), "out_channels": 1}


def test_the_input_is_normalised_in_the_layout_that_convolutions_like() -> None:
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    inputs = make_input(Normalisation((0.5, 0.5, 0.5), (0.25, 0.5, 1.0)))(images)
    torch.testing.assert_close(inputs, (images / 255 - 0.5) / torch.tensor([0.25, 0.5, 1.0]).view(1, 3, 1, 1))
    assert inputs.is_contiguous(memory_format=torch.channels_last)


def test_a_file_describes_its_own_network(write: Write) -> None:
    """The settings' network is for files that say nothing; what the file says wins."""
    loaded = load_network(write(SHALLOW), NetworkConfig(encoder="resnet18"), TWO)
    assert loaded.description["encoder"] == ENCODER
    assert loaded.description["depth"] == 3
    assert same(loaded.network.state_dict(), make_network(SHALLOW, 1, seed=3).network.state_dict())


def test_a_file_that_describes_nothing_must_fit_the_settings(write: Write) -> None:
    loaded = load_network(write(SMALL, metadata={}), SMALL, TWO)
    assert same(loaded.network.state_dict(), make_network(SMALL, 1, seed=3).network.state_dict())


def refusal(path: Path, fallback: NetworkConfig = SMALL, channels: int = 1) -> str:
    with pytest.raises(SnowmeltError) as refused:
        load_network(path, fallback, tuple("abcdefgh"[: max(channels, 2)]))
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)
    return str(refused.value)


def test_a_network_of_other_classes_is_refused(write: Write) -> None:
    path = write(SMALL, channels=6)
    assert refusal(path) == (
        f"{path}: gives 6 channel(s), but this data needs 1; use a network trained on the same classes"
    )


def test_broken_tensors_are_refused_by_name(tmp_path: Path) -> None:
    built = make_network(SMALL, 1, seed=3)
    with torch.no_grad():
        built.network.segmentation_head[0].weight.zero_()
    path = tmp_path / "weights.safetensors"
    save_weights(path, built.network, {"network": dict(built.description)})
    with pytest.raises(SnowmeltError, match=r"1 broken: segmentation_head\.0\.weight \(zero variance\)"):
        load_network(path, SMALL, TWO)


def test_tensors_that_do_not_fit_are_counted_and_the_first_named(write: Write) -> None:
    path = write(SMALL, metadata={})
    text = refusal(path, NetworkConfig(encoder="resnet18"))
    assert text.startswith(f"{path}: does not fit unet with resnet18: tensors ")
    assert "missing (decoder.blocks.0.conv1.0.weight" not in text
    assert " missing (" in text
    assert " unexpected (" in text
    assert ", ...)" in text
    assert "score a run with the settings that it was trained with" in text


def test_tensors_of_another_shape_are_named(write: Write) -> None:
    text = refusal(write(SMALL, channels=3, metadata={}))
    assert "tensors 2 of another shape (segmentation_head.0." in text


def test_what_is_no_weights_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    assert "there is no weight file" in refusal(path)
    path.write_bytes(b"these are no weights")
    refusal(path)
