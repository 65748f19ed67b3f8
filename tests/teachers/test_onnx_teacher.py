"""An ONNX file answers as the network that it was exported from, whatever its layout, type, size and output."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from snowmelt.errors import SnowmeltError
from snowmelt.models import Normalisation, normalise
from snowmelt.teachers.onnx import OnnxModel, open_onnx
from snowmelt.teachers.onnx_files import weight_files
from snowmelt.teachers.options import OpenOptions
from snowmelt.teachers.protocol import StoredMaps, TeacherModel

TWO = ("background", "person")
SIDE = 16
IMAGENET = Normalisation()
HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def pictures(count: int = 3, size: tuple[int, int] = (SIDE, SIDE)) -> Tensor:
    return torch.randint(0, 256, (count, 3, *size), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


class Around(nn.Module):
    """A network with something before and after it."""

    def __init__(
        self, network: nn.Module, before: Callable[[Tensor], Tensor] | None, after: Callable[[Tensor], Any] | None
    ) -> None:
        super().__init__()
        self.network, self.before, self.after = network, before, after

    def forward(self, images: Tensor) -> Any:
        logits = self.network(images if self.before is None else self.before(images))
        return logits if self.after is None else self.after(logits)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Two convolutions, three classes, at half the picture's size."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1)).eval()


Export = Callable[..., Path]


@pytest.fixture
def export(tmp_path: Path, network: nn.Module) -> Export:
    """Writes the network with something around it, by the exporter that takes milliseconds."""

    def write(
        before: Callable[[Tensor], Tensor] | None = None,
        after: Callable[[Tensor], Any] | None = None,
        example: Tensor | None = None,
        free: tuple[int, ...] = (0, 2, 3),
        outputs: tuple[str, ...] = ("logits",),
        inner: nn.Module = network,
        name: str = "net.onnx",
    ) -> Path:
        example = torch.rand(2, 3, SIDE, SIDE) if example is None else example
        path = tmp_path / name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that exporter is old, and says so
            torch.onnx.export(
                Around(inner, before, after).eval(),
                (example,),
                path,
                dynamo=False,
                input_names=["image"],
                output_names=list(outputs),
                dynamic_axes={"image": {axis: f"d{axis}" for axis in free}} if free else None,
            )
        return path

    return write


def open_(path: Path | str, classes: tuple[str, ...] = ("a", "b", "c"), **options: Any) -> OnnxModel:
    options.setdefault("probe", pictures)
    return open_onnx(str(path), OpenOptions(classes, **options))


def same(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted.detach().float(), rtol=0, atol=1e-4)


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


def with_metadata(path: Path, **entries: str) -> Path:
    model = onnx.load(path)
    for key, value in entries.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return path


def test_metadata_name_classes_and_normalisation(export: Export, network: nn.Module) -> None:
    told = {"classes": json.dumps(["x", "y", "z"]), "mean": "[0.5, 0.5, 0.5]", "std": "[0.5, 0.5, 0.5]"}
    path = with_metadata(export(), **told)
    model = open_(path)
    assert model.classes == ("x", "y", "z")
    same(model(pictures()), network(normalise(pictures(), HALF)))
    other = open_(path, normalisation=IMAGENET)  # what the user says rules
    same(other(pictures()), network(normalise(pictures(), IMAGENET)))
    assert model.digest != other.digest


def test_metadata_of_others(export: Export, network: nn.Module) -> None:
    said: list[str] = []
    path = with_metadata(export(), classes="{0: 'x'}", mean="[0.5, 0.5, 0.5]")
    model = open_(path, say=said.append)
    assert model.classes is None
    same(model(pictures()), network(normalise(pictures(), IMAGENET)))  # a mean alone is none
    assert said == [f"{path}: its metadata 'classes' is no JSON list that could be used; it is passed over"]
    path = with_metadata(export(name="four.onnx"), classes='["a", "b", "c", "d"]')
    assert open_(path, say=said.append).classes is None
    assert said[-1].endswith("names 4 classes for 3 channels; the names are not used")
    path = with_metadata(export(name="wide.onnx"), mean="[123.7, 116.3, 103.5]", std="[58.4, 57.1, 57.4]")
    with pytest.raises(SnowmeltError, match=r"not those of three channels scaled to 0\.\.1; set teacher\.mean"):
        open_(path)


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


def test_files_that_are_no_models(export: Export, tmp_path: Path) -> None:
    path = export()
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"nonsense" * 10):
        path.write_bytes(content)
        with pytest.raises(SnowmeltError, match=r"net\.onnx: ") as error:
            open_(path)
        assert "\n" not in str(error.value)
    for missing in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(SnowmeltError, match="there is no such ONNX file"):
            open_(missing)


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


def test_the_digest_is_of_content(export: Export, network: nn.Module, tmp_path: Path) -> None:
    path = export()
    digest = open_(path).digest
    shutil.copy(path, tmp_path / "copy.onnx")
    assert open_(tmp_path / "copy.onnx").digest == digest
    assert open_(path, normalisation=HALF).digest != digest
    other = nn.Sequential(nn.Conv2d(3, 3, 1)).eval()
    assert open_(export(inner=other, name="other.onnx")).digest != digest


def test_the_digest_counts_data_files(export: Export, tmp_path: Path) -> None:
    """The model's own file stays as it is while the weights beside it change."""
    model = onnx.load(export())
    folder = tmp_path / "apart"
    folder.mkdir()
    location = "weights-" + "x" * 130  # a length of two bytes
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location=location, size_threshold=0)
    assert [name for name, _ in weight_files(folder / "m.onnx")] == ["model", location]
    first = open_(folder / "m.onnx").digest
    content = bytearray((folder / location).read_bytes())
    content[2] ^= 1
    (folder / location).write_bytes(content)
    assert open_(folder / "m.onnx").digest != first
    (folder / location).unlink()
    with pytest.raises(SnowmeltError, match="without its data file"):
        open_(folder / "m.onnx")


def test_onnxruntime_is_missing(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SnowmeltError, match="pip install onnxruntime"):
        open_(export())
