"""An int8 graph: what is in 8 bits, by which ranges, and that nothing is left behind."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import pytest
import torch

from snowmelt.errors import SnowmeltError
from snowmelt.export import OnnxExport, ask_runtime, open_runtime, quantise
from snowmelt.export.parity import invent_images


def images(count: int) -> list[torch.Tensor]:
    return [invent_images((1, 64, 64), seed) / 64 - 2 for seed in range(count)]


@pytest.fixture(scope="module")
def int8(free: OnnxExport) -> onnx.ModelProto:
    model, seen = quantise(free.model, images(6))
    assert seen == 6
    return model


def test_it_answers_much_as_the_float_graph(free: OnnxExport, int8: onnx.ModelProto) -> None:
    asked = torch.cat(images(2))
    expected, found = (ask_runtime(open_runtime(model), asked) for model in (free.model, int8))
    assert float((found - expected).abs().mean()) < 0.1 * float(expected.std())
    assert not torch.equal(found, expected)


def test_weights_are_integers_of_seven_bits_with_a_scale_for_each_channel(int8: onnx.ModelProto) -> None:
    values = {each.name: onnx.numpy_helper.to_array(each) for each in int8.graph.initializer}
    weights = {name: value for name, value in values.items() if value.dtype == np.int8 and value.ndim == 4}
    assert len(weights) == sum(node.op_type == "Conv" for node in int8.graph.node)
    assert max(np.abs(value.astype(int)).max() for value in weights.values()) <= 64
    for name, value in weights.items():
        assert values[name.replace("_quantized", "_scale")].shape == (value.shape[0],)


def test_gates_stay_in_float(int8: onnx.ModelProto) -> None:
    gates = [node for node in int8.graph.node if node.op_type == "Sigmoid"]
    used = {name for node in int8.graph.node if node.op_type == "QuantizeLinear" for name in node.input[:1]}
    assert gates
    assert not used & {name for node in gates for name in node.output}


def test_one_odd_image_does_not_widen_the_ranges_for_all(free: OnnxExport) -> None:
    """The range is the mean of the images', so that of the input is known in closed form."""
    plain = images(4)
    odd = [*plain[:3], plain[3] * 50]
    model, _ = quantise(free.model, odd)
    [scale] = [onnx.numpy_helper.to_array(each) for each in model.graph.initializer if each.name == "image_scale"]
    low, high = (np.mean([float(pick(each)) for each in odd]) for pick in (torch.min, torch.max))
    assert float(scale) == pytest.approx((high - low) / 255, rel=1e-3)


def test_the_given_model_the_log_and_the_output_are_left_alone(
    free: OnnxExport, capsys: pytest.CaptureFixture[str]
) -> None:
    before, handlers = free.model.SerializeToString(), list(logging.getLogger().handlers)
    quantise(free.model, images(1))
    assert free.model.SerializeToString() == before
    assert logging.getLogger().handlers == handlers
    assert logging.root.manager.disable == logging.NOTSET
    assert capsys.readouterr() == ("", "")


def test_without_images_there_are_no_ranges(free: OnnxExport) -> None:
    with pytest.raises(SnowmeltError, match="at least one training image"):
        quantise(free.model, [])
