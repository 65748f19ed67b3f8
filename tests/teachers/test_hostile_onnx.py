"""ONNX files that reach out of their folder, or ask for more than there is: refused in one line, nothing is read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from exported_networks import Export, exporter, open_, tiny_network
from onnx import TensorProto, numpy_helper

from snowmelt.errors import SnowmeltError
from snowmelt.jobs.predicting.models import open_model
from snowmelt.teachers.onnx_files import weight_files


@pytest.fixture
def export(tmp_path: Path) -> Export:
    folder = tmp_path / "models"
    folder.mkdir()
    return exporter(folder, tiny_network())


def moved_out(path: Path, location: str, data: Path) -> Path:
    """The model with its first tensor in ``data``, which it calls ``location``."""
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    data.parent.mkdir(exist_ok=True)
    data.write_bytes(numpy_helper.to_array(tensor).tobytes())
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("kind", ["inside", "parent", "absolute", "link", "linked folder", "backslash"])
def test_weights_outside_of_the_models_folder_are_not_read(export: Export, tmp_path: Path, kind: str) -> None:
    path = export()
    outside = tmp_path / "secret" / "weights.bin"
    location = {
        "inside": "weights.bin",
        "parent": "../secret/weights.bin",
        "absolute": str(outside),
        "link": "link.bin",
        "linked folder": "linked/weights.bin",
        "backslash": "..\\secret\\weights.bin",
    }[kind]
    moved_out(path, location, path.parent / "weights.bin" if kind == "inside" else outside)
    if kind.startswith("link"):
        os.symlink(outside, path.parent / "link.bin")
        os.symlink(outside.parent, path.parent / "linked")
    if kind == "inside":  # which shows that all the others would be read if they were allowed to
        assert open_(path).size is None
        assert [name for name, _ in weight_files(path)] == ["model", "weights.bin"]
        return
    with pytest.raises(SnowmeltError, match=r"net\.onnx: cannot be opened") as caught:
        open_(path)
    assert "\n" not in str(caught.value)
    assert [name for name, _ in weight_files(path)] == ["model"]


def with_input(path: Path, *sides: int) -> Path:
    model = onnx.load(path)
    for dimension, side in zip(model.graph.input[0].type.tensor_type.shape.dim, sides, strict=True):
        dimension.dim_value = side
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("sides", [(1, 3, 2**31, 2**31), (1, 3, 2**20, 64), (2**31, 3, 16, 16), (4096, 3, 128, 128)])
def test_a_file_that_must_be_asked_about_too_much_at_once(export: Export, sides: tuple[int, ...]) -> None:
    path = with_input(export(free=()), *sides)
    with pytest.raises(SnowmeltError, match=r"net\.onnx: takes .* at once, more than memory is set aside for"):
        open_(path)


@pytest.mark.parametrize("key", ["classes", "mean"])
def test_nested_metadata_are_passed_over(export: Export, key: str) -> None:
    path = export()
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {key: "[" * 50_000})
    path.write_bytes(model.SerializeToString())
    said: list[str] = []
    assert open_(path, say=said.append).classes is None
    assert any("no JSON list" in line for line in said)


FACTS = '{"format": 1, "classes": ["a", "b", "c"], "mean": [0, 0, 0], "std": [1, 1, 1], "normalised_inside": true, '


@pytest.mark.parametrize(
    "facts",
    ["[" * 50_000, FACTS + '"image_size": 1e400}', FACTS + '"image_size": 99999999}', FACTS + '"image_size": 64, '
     '"stride": "x"}', FACTS + '"image_size": 64, "stride": 0}'],
)  # fmt: skip
def test_metadata_of_an_export_that_cannot_be_right(export: Export, facts: str) -> None:
    path = export()
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"snowmelt": facts})
    path.write_bytes(model.SerializeToString())
    with pytest.raises(SnowmeltError, match=r"net\.onnx: its metadata"):
        open_model(str(path), None, "cpu")


def test_names_that_are_no_text(export: Export) -> None:
    path = export()
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"classes": "NAMES"})
    path.write_bytes(model.SerializeToString().replace(b"NAMES", b"\xff\xfe\xff\xfe\xff"))
    for read in (open_, lambda path: open_model(str(path), None, "cpu")):
        with pytest.raises(SnowmeltError, match=r"net\.onnx: cannot be opened"):
            read(path)


def test_a_file_of_chance_bytes(export: Export) -> None:
    path = export()
    path.write_bytes(np.random.default_rng(0).bytes(3000))
    with pytest.raises(SnowmeltError, match=r"net\.onnx: cannot be opened"):
        open_(path)
