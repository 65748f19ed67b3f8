"""ONNX files: their metadata, what they weigh in a digest, and files that are no models."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import onnx
import pytest
from exported_networks import HALF, IMAGENET, Export, exporter, open_, pictures, same, tiny_network
from torch import nn

from snowmelt.errors import SnowmeltError
from snowmelt.models import normalise
from snowmelt.teachers.onnx_files import weight_files


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return tiny_network()


@pytest.fixture
def export(tmp_path: Path, network: nn.Module) -> Export:
    return exporter(tmp_path, network)


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
