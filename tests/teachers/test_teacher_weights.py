"""Weights of a run, and weights as any other program saves them, teach with the logits of the network they are of."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from snowmelt.errors import SnowmeltError
from snowmelt.models import Normalisation, build_network, identify, normalisation_of, normalise, save_weights
from snowmelt.models.encoder_search import find_encoders
from snowmelt.teachers import NetworkTeacher, OpenOptions, TeacherModel, open_run, open_weights

Said = list[str]
NARROW = (16, 8, 8, 8, 8)


def options(said: Said | None = None, **values: Any) -> OpenOptions:
    return OpenOptions(classes=("background", "person"), say=(said if said is not None else []).append, **values)


def unet(encoder: str = "resnet18", classes: int = 2, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    network = smp.Unet(encoder, encoder_weights=None, classes=classes, decoder_channels=NARROW).train()
    with torch.no_grad():
        network(torch.randn(2, 3, 64, 64))  # statistics that are no longer those of the start
    return network.eval()


@pytest.fixture(scope="module", autouse=True)
def searched_once() -> Iterator[None]:
    """The encoder of the same tensors, many files here, is searched for once; the search has tests of its own."""
    known: dict[Any, Any] = {}

    def find(shapes: dict[str, tuple[int, ...]], depth: int) -> Any:
        key = frozenset(shapes.items()), depth
        if key not in known:
            known[key] = find_encoders(shapes, depth)
        return known[key]

    with patch.object(identify, "find_encoders", find):
        yield


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return unet()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def answers(network: nn.Module, images: Tensor, normalisation: Normalisation | None = None) -> Tensor:
    """The network's own logits, in the memory format in which teachers run."""
    inputs = normalise(images, normalisation or Normalisation()).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        return network.to(memory_format=torch.channels_last)(inputs)


def assert_same(found: Tensor, expected: Tensor) -> None:
    """Up to the rounding of norms that are folded into convolutions."""
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


def prefixed(network: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in network.state_dict().items()}


FORMS: dict[str, Callable[[nn.Module], dict[str, Any]]] = {
    "plain": lambda network: dict(network.state_dict()),
    "ddp": lambda network: prefixed(network, "module."),
    "compiled": lambda network: prefixed(network, "_orig_mod."),
    "lightning": lambda network: {
        "state_dict": {**prefixed(network, "model."), "loss.weight": torch.ones(2), "iou.total": torch.zeros(())},
        "epoch": 3,
        "global_step": 40,
        "pytorch-lightning_version": "2.5.0",
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}],
        "hyper_parameters": {"lr": 0.1},
    },
    "student": lambda network: {"model_state_dict": prefixed(network, "student."), "epoch": 3},
    "nested twice": lambda network: {"checkpoint": {"model": prefixed(network, "net.module.")}},
}


@pytest.mark.parametrize("form", FORMS)
def test_what_other_programs_save_gives_the_same_logits(
    form: str, network: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    torch.save(FORMS[form](network), tmp_path / "a.ckpt")
    said: Said = []
    teacher: TeacherModel = open_weights(str(tmp_path / "a.ckpt"), options(said))
    assert_same(teacher(images), answers(network, images))
    assert teacher.describe() == f"unet with resnet18 ({tmp_path / 'a.ckpt'})"
    assert (teacher.classes, teacher.size) == (None, None)
    assert "holds unet with resnet18, depth 5, by its tensors" in said[0]
    assert said[1:] == (
        [f"teacher: {tmp_path / 'a.ckpt'}: tensors without use: 2 (loss.weight, iou.total)"]
        if form == "lightning"
        else []
    )


@pytest.mark.parametrize(
    ("architecture", "encoder"),
    [
        ("fpn", "timm-efficientnet-b0"),
        ("deeplabv3plus", "mobilenet_v2"),
        ("manet", "resnet18"),
        ("linknet", "tu-mobilenetv2_050"),
        ("pspnet", "resnet18"),
        ("segformer", "mit_b0"),
    ],
)
def test_other_architectures_as_smp_builds_them(
    architecture: str, encoder: str, images: Tensor, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = smp.create_model(architecture, encoder, encoder_weights=None, classes=3).eval()
    save_file({key: value.clone() for key, value in network.state_dict().items()}, tmp_path / "a.safetensors")
    teacher = open_weights(str(tmp_path / "a.safetensors"), options())
    assert_same(teacher(images), answers(network, images))


def write_run(root: Path, model: nn.Module, **metadata: Any) -> Path:
    described = {"architecture": "unet", "encoder": "resnet18", "depth": 5, "decoder_channels": list(NARROW)}
    values = {
        "network": {**described, "out_channels": 2},
        "classes": ["background", "person"],
        "mean": [0.1, 0.2, 0.3],
        "std": [0.5, 0.6, 0.7],
        **metadata,
    }
    (root / "checkpoints").mkdir(parents=True)
    path = root / "checkpoints" / "best.safetensors"
    save_weights(path, model, {key: value for key, value in values.items() if value is not None})
    return path


def test_a_run_describes_itself(network: nn.Module, images: Tensor, tmp_path: Path) -> None:
    path, said = write_run(tmp_path / "run", network), Said()
    teacher = open_run(str(tmp_path / "run"), options(said))
    assert teacher.normalisation == Normalisation((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    assert_same(teacher(images), answers(network, images, teacher.normalisation))
    assert teacher.classes == ("background", "person")
    assert teacher.describe() == f"unet with resnet18 ({path})"
    assert said == []


def test_what_a_file_says_of_itself_goes_before_what_the_user_says(network: nn.Module, tmp_path: Path) -> None:
    write_run(tmp_path / "run", network)
    said: Said = []
    open_run(str(tmp_path / "run"), options(said, network={"encoder": "resnet34", "architecture": "unet"}))
    assert len(said) == 1
    assert "says itself that it holds unet with resnet18; teacher.network.encoder=resnet34 is not used" in said[0]


def test_normalisation_is_the_users_the_files_or_the_encoders(network: nn.Module, tmp_path: Path) -> None:
    write_run(tmp_path / "run", network)
    mine = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert open_run(str(tmp_path / "run"), options(normalisation=mine)).normalisation == mine
    write_run(tmp_path / "old", network, mean=None)
    assert open_run(str(tmp_path / "old"), options()).normalisation == Normalisation()
    encoder = "tu-tf_mobilenetv3_small_minimal_100"
    torch.save(unet(encoder).state_dict(), tmp_path / "a.pth")
    half = open_weights(str(tmp_path / "a.pth"), options(network={"encoder": encoder}))
    assert half.normalisation == normalisation_of(encoder) != Normalisation()


def test_names_of_one_channel_and_names_that_cannot_be_right(tmp_path: Path) -> None:
    one = {
        "architecture": "unet",
        "encoder": "resnet18",
        "depth": 5,
        "decoder_channels": list(NARROW),
        "out_channels": 1,
    }
    write_run(tmp_path / "one", unet(classes=1), network=one)
    assert open_run(str(tmp_path / "one"), options()).classes == ("background", "person")
    write_run(tmp_path / "three", unet(classes=1), network=one, classes=["a", "b", "c"])
    assert open_run(str(tmp_path / "three"), options()).classes is None


@pytest.mark.parametrize(
    "metadata",
    [
        {"network": {"encoder": "resnet18"}},
        {"network": "unet"},
        {"network": 3},
        {"mean": [1.0], "std": [1.0]},
        {"mean": 3},
    ],
)
def test_damaged_metadata_is_refused(metadata: dict[str, Any], network: nn.Module, tmp_path: Path) -> None:
    write_run(tmp_path / "run", network, **metadata)
    with pytest.raises(SnowmeltError, match=r"best\.safetensors: .*metadata") as caught:
        open_run(str(tmp_path / "run"), options())
    assert "\n" not in str(caught.value)


def test_a_run_without_weights(tmp_path: Path) -> None:
    with pytest.raises(SnowmeltError, match=r"holds no checkpoints/best\.safetensors; give a run folder or a weights"):
        open_run(str(tmp_path), options())


def test_a_file_that_wants_to_run_code_is_refused(network: nn.Module, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sign"),))

    torch.save({"state_dict": network.state_dict(), "hook": Bomb()}, tmp_path / "a.pth")
    with pytest.raises(SnowmeltError, match="re-save the state dict alone"):
        open_weights(str(tmp_path / "a.pth"), options())
    assert not (tmp_path / "sign").exists()


def test_twins_are_named_with_how_to_choose(images: Tensor, tmp_path: Path) -> None:
    network = unet("tu-tf_efficientnet_b0")
    torch.save(network.state_dict(), tmp_path / "a.pth")
    said: Said = []
    other = open_weights(str(tmp_path / "a.pth"), options(said))
    assert "fit tu-efficientnet_b0 and also tu-tf_efficientnet_b0" in said[0]
    assert "teacher.network.encoder=tu-tf_efficientnet_b0" in said[0]
    right = open_weights(str(tmp_path / "a.pth"), options(network={"encoder": "tu-tf_efficientnet_b0"}))
    assert_same(right(images), answers(network, images))
    assert not torch.equal(other(images), right(images))  # the padding does matter
    assert other.digest != right.digest


def test_what_does_not_fit_is_named_with_the_file(network: nn.Module, tmp_path: Path) -> None:
    state = dict(network.state_dict())
    del state["decoder.blocks.0.conv1.0.weight"], state["encoder.layer1.0.bn1.running_mean"]
    torch.save(state, tmp_path / "a.pth")
    named = {"architecture": "unet", "encoder": "resnet18", "depth": 5, "decoder_channels": NARROW}
    with pytest.raises(
        SnowmeltError, match=r"a\.pth: its tensors do not fit unet with resnet18: 2 missing: "
    ) as caught:
        open_weights(str(tmp_path / "a.pth"), options(network=named))
    assert "encoder.layer1.0.bn1.running_mean, decoder.blocks.0.conv1.0.weight" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(SnowmeltError, match=r"a\.pth: no known encoder has these tensors"):
        open_weights(str(tmp_path / "a.pth"), options())
    with pytest.raises(SnowmeltError, match=r"a\.pth: its tensors do not fit unet with resnet34: \d+ missing"):
        torch.save(network.state_dict(), tmp_path / "a.pth")
        open_weights(str(tmp_path / "a.pth"), options(network={"encoder": "resnet34"}))


def test_a_decoder_that_is_not_smps_default_is_not_taken_for_it(tmp_path: Path) -> None:
    attention = smp.Unet(
        "resnet18", encoder_weights=None, decoder_attention_type="scse", decoder_channels=(32, 32, 32, 32, 32)
    )
    torch.save(attention.state_dict(), tmp_path / "a.pth")
    with pytest.raises(SnowmeltError, match=r"unexpected: decoder\.blocks\.0\.attention1\.\S+"):
        open_weights(str(tmp_path / "a.pth"), options())


def test_an_auxiliary_head_has_no_say(images: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = smp.Unet("resnet18", encoder_weights=None, classes=2, aux_params={"classes": 4}).eval()
    torch.save(network.state_dict(), tmp_path / "a.pth")
    said: Said = []
    teacher = open_weights(str(tmp_path / "a.pth"), options(said))
    network.classification_head = None
    assert_same(teacher(images), answers(network, images))
    assert "tensors without use: 2 (classification_head.3.weight, classification_head.3.bias)" in said[1]


def test_the_digest_is_of_what_matters(network: nn.Module, tmp_path: Path) -> None:
    def digest(name: str, content: Any, **values: Any) -> str:
        torch.save(content, tmp_path / name)
        return open_weights(str(tmp_path / name), options(network={"encoder": "resnet18"}, **values)).digest

    state = network.state_dict()
    first = digest("a.pth", state)
    copy = shutil.copy(tmp_path / "a.pth", tmp_path / "b.pth")
    assert open_weights(str(copy), options()).digest == first
    assert digest("c.ckpt", {"state_dict": prefixed(network, "model."), "epoch": 4}) == first
    assert digest("d.pth", state, normalisation=Normalisation((0.5,) * 3, (0.5,) * 3)) != first
    other = {key: value.clone() for key, value in state.items()}
    other["decoder.blocks.0.conv1.0.weight"][0, 0, 0, 0] += 1e-3
    assert digest("e.pth", other) != first
    assert digest("f.pth", unet(seed=1).state_dict()) != first


def test_opening_draws_no_random_numbers(network: nn.Module, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "a.pth")
    before = torch.get_rng_state()
    open_weights(str(tmp_path / "a.pth"), options())
    assert torch.equal(torch.get_rng_state(), before)


def test_precision_is_the_engines(network: nn.Module, images: Tensor, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "a.pth")
    full = open_weights(str(tmp_path / "a.pth"), options())
    half = open_weights(str(tmp_path / "a.pth"), options(autocast=lambda: torch.autocast("cpu", torch.bfloat16)))
    assert half(images).dtype == torch.float32
    assert not torch.equal(half(images), full(images))
    assert half.digest == full.digest


def test_a_transformer_of_one_size_says_so(tmp_path: Path) -> None:
    encoder = "tu-swin_tiny_patch4_window7_224"
    torch.manual_seed(0)
    network = build_network("fpn", encoder, 2)
    torch.save(network.state_dict(), tmp_path / "a.pth")
    teacher = open_weights(str(tmp_path / "a.pth"), options(network={"encoder": encoder}))
    assert isinstance(teacher, NetworkTeacher)
    assert teacher.size == (224, 224)
    assert teacher(torch.zeros(1, 3, 224, 224, dtype=torch.uint8)).shape == (1, 2, 224, 224)


def test_a_file_that_tells_the_size_it_was_trained_at_is_asked_at_it(tmp_path: Path) -> None:
    """Half of that size costs a teacher most of what it knows. What the user asks for goes before it."""
    network = smp.Unet("resnet18", encoder_weights=None, classes=1).eval()
    described = {"architecture": "unet", "encoder": "resnet18", "depth": 5, "decoder_channels": None, "out_channels": 1}
    save_weights(tmp_path / "own.safetensors", network, {"network": described, "image_size": 96})
    save_weights(tmp_path / "bare.safetensors", network, {})
    for name, asked, size in (("own", None, (96, 96)), ("own", 64, (64, 64)), ("bare", None, None)):
        opened = open_weights(str(tmp_path / f"{name}.safetensors"), OpenOptions(("background", "person"), size=asked))
        assert opened.size == size
