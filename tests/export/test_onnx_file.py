"""An ONNX file answers as the network does, says what it is, and is dropped where it does not."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import snowmelt.export.onnx_file as onnx_file
from snowmelt.errors import SnowmeltError
from snowmelt.export import Facts, OnnxExport, make_onnx, read_facts, write_onnx
from snowmelt.models import Normalisation, normalise
from snowmelt.teachers.onnx import open_onnx
from snowmelt.teachers.options import OpenOptions


def pictures(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, (shape[0], 3, *shape[1:]), generator=torch.Generator().manual_seed(3)).byte()


def ask(path: Path, images: torch.Tensor) -> torch.Tensor:
    """As a stranger would, with onnxruntime alone."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": images.numpy()})
    return torch.from_numpy(logits)


def shape_of(value: Any) -> list[str | int]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("shape", [(1, 32, 32), (4, 96, 160), (2, 224, 64)])
def test_any_batch_and_size_is_answered_as_by_the_network(
    free: OnnxExport, network: nn.Module, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    path = tmp_path / "net.onnx"
    write_onnx(path, free.model)
    images = normalise(pictures(*shape), Normalisation())
    with torch.no_grad():
        expected = network(images)
    torch.testing.assert_close(ask(path, images), expected, rtol=0, atol=1e-4)
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]  # weights inside, nothing left beside it


def test_axes_are_named_and_nothing_tells_of_this_machine(free: OnnxExport) -> None:
    graph = free.model.graph
    assert [shape_of(value) for value in graph.input] == [["batch", 3, "height", "width"]]
    assert [shape_of(value) for value in graph.output] == [["batch", 3, "height", "width"]]
    content = free.model.SerializeToString()
    assert b"site-packages" not in content
    assert str(Path.home()).encode() not in content or str(Path.home()) == "/"
    assert b"stack_trace" not in content


def test_it_was_simplified_and_compared_at_several_shapes(free: OnnxExport) -> None:
    assert free.simplified
    assert free.parity.holds
    assert len({batch for batch, _, _ in free.parity.shapes}) >= 3
    assert len({(height, width) for _, height, width in free.parity.shapes}) >= 3
    operators = {node.op_type for node in free.model.graph.node}
    assert "BatchNormalization" not in operators
    assert "Conv" in operators


def test_pixels_go_in_where_normalisation_is_inside(fixed: OnnxExport, network: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    write_onnx(path, fixed.model)
    images = pictures(2, 64, 96)
    with torch.no_grad():
        expected = network(normalise(images, Normalisation()))
    torch.testing.assert_close(ask(path, images.float()), expected, rtol=0, atol=1e-4)
    assert shape_of(fixed.model.graph.input[0]) == ["batch", 3, 64, 96]


def test_the_file_says_what_it_is(free: OnnxExport, fixed: OnnxExport) -> None:
    said = read_facts(free.model)
    assert said is not None
    assert {key: said[key] for key in ("format", "task", "classes", "image_size", "stride", "source_run", "size")} == {
        "format": 1,
        "task": "multiclass",
        "classes": ["background", "skin", "hair"],
        "image_size": 64,
        "stride": 32,
        "source_run": "a run",
        "size": None,
    }
    assert (said["mean"], said["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert said["opset"] == free.model.opset_import[0].version
    assert (said["normalised_inside"], said["quantisation"]) == (False, None)
    other = read_facts(fixed.model)
    assert other is not None
    assert (other["normalised_inside"], other["size"]) == (True, [64, 96])
    assert read_facts(onnx.ModelProto()) is None


def test_two_classes_are_a_binary_task(facts: Facts) -> None:
    assert json.loads(replace(facts, classes=("background", "person")).to_json())["task"] == "binary"


@pytest.mark.parametrize("name", ["free", "fixed"])
def test_it_can_teach(name: str, network: nn.Module, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """``teacher.source=FILE.onnx`` feeds it rightly, by what the file says, with or without normalisation inside."""
    path = tmp_path / "net.onnx"
    export = request.getfixturevalue(name)
    write_onnx(path, export.model)
    images = pictures(2, 64, 96)
    teacher = open_onnx(str(path), OpenOptions(export.facts.classes, probe=lambda: images))
    with torch.no_grad():
        expected = network(normalise(images, Normalisation()))
    torch.testing.assert_close(teacher(images), expected, rtol=0, atol=2e-4)
    assert teacher.classes == export.facts.classes


def broken(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with another bias in a late convolution: it runs, and answers otherwise."""
    wrong = copy.deepcopy(model)
    last = [node for node in wrong.graph.node if node.op_type == "Conv" and len(node.input) == 3][-1]
    [bias] = [each for each in wrong.graph.initializer if each.name == last.input[2]]
    values = np.array(onnx.numpy_helper.to_array(bias))
    values += 0.5
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    return wrong


def test_a_simplification_that_answers_otherwise_is_dropped(
    free: OnnxExport, network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(onnx_file, "make_graph", lambda *_: copy.deepcopy(free.model))
    monkeypatch.setattr(onnx_file, "simplify", broken)
    export = make_onnx(network, free.facts, said.append)
    assert not export.simplified
    assert export.parity.holds
    assert export.model.graph == free.model.graph
    assert len(said) == 1
    assert "the plain one kept" in said[0]


def test_a_graph_that_answers_otherwise_is_refused(
    free: OnnxExport, network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "make_graph", lambda *_: broken(free.model))
    with pytest.raises(SnowmeltError, match="does not answer as PyTorch does, so nothing was written: largest error"):
        make_onnx(network, free.facts, pytest.fail)


def test_a_size_that_the_stride_does_not_divide_is_refused(network: nn.Module, facts: Facts) -> None:
    with pytest.raises(SnowmeltError, match=r"--size 65x96: .* multiples of 32 .* take 96x96"):
        make_onnx(network, replace(facts, size=(65, 96)), pytest.fail)
