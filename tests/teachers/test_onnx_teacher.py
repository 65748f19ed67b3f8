"""An ONNX file answers as the network that it was exported from, whatever its layout, type, size and output."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from exported_networks import HALF, IMAGENET, SIDE, TWO, Export, exporter, open_, pictures, same, tiny_network
from torch import Tensor, nn

from snowmelt.errors import SnowmeltError
from snowmelt.models import normalise
from snowmelt.teachers.onnx_files import weight_files
from snowmelt.teachers.protocol import StoredMaps, TeacherModel


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return tiny_network()


@pytest.fixture
def export(tmp_path: Path, network: nn.Module) -> Export:
    return exporter(tmp_path, network)


def as_nhwc(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2)


def test_free_sizes_and_batches(export: Export, network: nn.Module) -> None:
    model = open_(export())
    assert model.size is None
    for shape in ((3, 16, 16), (1, 30, 18), (5, 7, 40)):
        images = pictures(shape[0], shape[1:])
        same(model(images), network(normalise(images, IMAGENET)))
    assert not model(pictures()).requires_grad
    assert model.describe().endswith("net.onnx (ONNX, any size, output 'logits'; outputs: logits)")
    assert isinstance(model, TeacherModel)
    assert not isinstance(model, StoredMaps)


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_fixed_size_and_batch(export: Export, network: nn.Module, batch: int) -> None:
    model = open_(export(example=torch.rand(batch, 3, SIDE, 2 * SIDE), free=()))
    assert model.size == (SIDE, 2 * SIDE)
    images = pictures(3, (SIDE, 2 * SIDE))
    same(model(images), network(normalise(images, IMAGENET)))


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    torch.manual_seed(0)
    return smp.Unet("tu-test_efficientnet", encoder_weights=None, encoder_depth=3, decoder_channels=(8, 8, 8)).eval()


def test_a_unet_of_fixed_size(export: Export, unet: nn.Module) -> None:
    model = open_(export(inner=unet, example=torch.rand(1, 3, 32, 32), free=()), TWO)
    assert model.size == (32, 32)
    images = pictures(3, (32, 32))
    same(model(images), unet(normalise(images, IMAGENET)))


def test_a_unet_of_free_size_by_the_present_exporter(tmp_path: Path, unet: nn.Module) -> None:
    """Its weights lie in a file of their own."""
    free = {axis: torch.export.Dim.AUTO for axis in (0, 2, 3)}
    example = torch.rand(2, 3, 32, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(unet, (example,), tmp_path / "u.onnx", dynamo=True, verbose=False, dynamic_shapes=(free,))
    model = open_(tmp_path / "u.onnx", TWO, probe=lambda: pictures(2, (32, 32)))
    assert model.size is None
    images = pictures(3, (64, 48))
    same(model(images), unet(normalise(images, IMAGENET)))
    assert [name for name, _ in weight_files(tmp_path / "u.onnx")] == ["model", "u.onnx.data"]


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "one channel"])
def test_probabilities_are_told_and_undone(export: Export, network: nn.Module, kind: str) -> None:
    after: dict[str, Callable[[Tensor], Tensor]] = {
        "softmax": lambda logits: logits.softmax(1),
        "sigmoid": lambda logits: logits.sigmoid(),
        "one channel": lambda logits: logits[:, :1].sigmoid(),
    }
    model = open_(export(after=after[kind]), TWO if kind == "one channel" else ("a", "b", "c"))
    logits = network(normalise(pictures(), IMAGENET))
    wanted = {"softmax": logits.log_softmax(1), "sigmoid": logits, "one channel": logits[:, :1]}
    same(model(pictures()), wanted[kind])
    words = "independent probabilities of each class" if kind == "sigmoid" else "probabilities"
    assert model.describe().endswith(f"; outputs: {words})")


def test_what_the_user_says_of_outputs_rules(export: Export, network: nn.Module) -> None:
    path = export(after=lambda logits: logits.softmax(1))
    found, told = open_(path), open_(path, outputs="logits")
    same(told(pictures()), network(normalise(pictures(), IMAGENET)).softmax(1))
    assert found.digest != told.digest
    with pytest.raises(SnowmeltError, match="says probabilities, but the values go from"):
        open_(export(), outputs="probabilities")


@pytest.mark.parametrize("out_last", [False, True])
@pytest.mark.parametrize("free", [(), (0, 1, 2)])
def test_channels_last(export: Export, network: nn.Module, free: tuple[int, ...], out_last: bool) -> None:
    after = (lambda logits: logits.permute(0, 2, 3, 1)) if out_last else None
    example = torch.rand(1, SIDE, 2 * SIDE, 3)
    model = open_(export(as_nhwc, after, example, free))
    assert model.size == (None if free else (SIDE, 2 * SIDE))
    images = pictures(2, (SIDE, 2 * SIDE))
    same(model(images), network(normalise(images, IMAGENET)))


def test_raw_pixels(export: Export, network: nn.Module) -> None:
    def scaled(images: Tensor) -> Tensor:
        return as_nhwc(images).float() / 255

    path = export(scaled, None, torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8), (0,))
    same(open_(path)(pictures()), network(pictures().float() / 255))
    with pytest.raises(SnowmeltError, match=r"takes uint8 pixels and normalises them itself; remove teacher\.mean"):
        open_(path, normalisation=HALF)


def test_half_precision(export: Export, network: nn.Module) -> None:
    path = export(
        lambda images: images.float(), lambda logits: logits.half(), torch.rand(1, 3, SIDE, SIDE).half(), (0,)
    )
    found = open_(path)(pictures())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, network(normalise(pictures(), IMAGENET)).detach(), rtol=2e-3, atol=2e-3)


def test_one_of_several_outputs(export: Export, network: nn.Module) -> None:
    def several(logits: Tensor) -> tuple[Tensor, ...]:
        return logits.argmax(1), logits.mean((2, 3)), torch.cat([logits, logits], 1), logits * 2, logits * 3

    names = ("labels", "whole", "features", "main", "aux")
    path = export(after=several, outputs=names)
    said: list[str] = []
    logits = network(normalise(pictures(), IMAGENET))
    model = open_(path, say=said.append)
    same(model(pictures()), logits * 2)  # the first with the student's number of classes
    assert said == [f"{path}: took output 'main' of features, main, aux; onnx:FILE#NAME takes another"]
    same(open_(path, ("a", "b"))(pictures()), torch.cat([logits, logits], 1))  # no such number: the first
    aux = open_(f"{path}#aux")
    same(aux(pictures()), logits * 3)
    assert aux.digest != model.digest
    with pytest.raises(SnowmeltError, match=r"has no output 'nose', but 'labels' tensor\(int64\)"):
        open_(f"{path}#nose")
    with pytest.raises(SnowmeltError, match=r"floats of shape \(B, K, h, w\), so export the logits before argmax"):
        open_(f"{path}#labels")


def test_a_hash_in_a_file_name(export: Export, network: nn.Module) -> None:
    path = export(name="net#1.onnx")
    same(open_(path)(pictures()), network(normalise(pictures(), IMAGENET)))
    assert open_(f"{path}#logits").digest == open_(path).digest


@pytest.mark.parametrize("form", ["argmax", "floating argmax", "mean"])
def test_answers_that_are_no_maps_of_logits(export: Export, form: str) -> None:
    after: dict[str, Callable[[Tensor], Tensor]] = {
        "argmax": lambda logits: logits.argmax(1),
        "floating argmax": lambda logits: logits.argmax(1, keepdim=True).float(),
        "mean": lambda logits: logits.mean((2, 3)),
    }
    with pytest.raises(SnowmeltError, match=r"net\.onnx: .*before argmax"):
        open_(export(after=after[form]))


def test_inputs_that_are_no_pictures(export: Export, tmp_path: Path) -> None:
    grey = nn.Conv2d(1, 2, 1)
    with pytest.raises(SnowmeltError, match="must take three channels, RGB"):
        open_(export(inner=grey, example=torch.rand(1, 1, SIDE, SIDE)))
    with pytest.raises(SnowmeltError, match=r"must have one, an image of shape \(B, 3, H, W\)"):
        open_(export(inner=nn.Linear(3, 2), example=torch.rand(1, 3), free=()))
    with pytest.raises(SnowmeltError, match=r"must take float32, float16 or uint8"):
        open_(export(before=lambda images: images.float(), example=torch.rand(1, 3, SIDE, SIDE).double()))


def test_a_size_that_does_not_run(export: Export) -> None:
    class Even(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images[:, :2] + images.flip(3)[:, :2].reshape(-1, 2, SIDE, SIDE)

    model = open_(export(inner=Even(), free=(0, 2, 3)), TWO)
    with pytest.raises(
        SnowmeltError, match=r"does not run on an input of 2 x 3 x 20 x 20 .*teacher\.image_size"
    ) as error:
        model(pictures(2, (20, 20)))
    assert "\n" not in str(error.value)


def test_without_real_pictures_it_is_asked_about_noise(export: Export, network: nn.Module) -> None:
    path = export(after=lambda logits: logits.softmax(1))
    before = torch.random.get_rng_state()
    model = open_(path, probe=None)
    assert torch.equal(torch.random.get_rng_state(), before)
    same(model(pictures()), network(normalise(pictures(), IMAGENET)).log_softmax(1))
