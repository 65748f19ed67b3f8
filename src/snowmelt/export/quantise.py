"""From a float graph to 8-bit integers, with ranges seen on real images."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.export.graph import INPUT, tidy
from snowmelt.export.parity import RUNTIME_ERRORS

MOST_DROP = 0.01
"""Largest loss of mIoU that an int8 export may cost unless it is forced: one point."""

QUANTISED_OPERATORS = ("Add", "AveragePool", "Clip", "Concat", "Conv", "Gemm", "MatMul", "MaxPool", "Relu", "Resize")
"""Convolutions, and what carries their outputs on. Swish and the gates of squeeze-and-excite (Sigmoid, Mul, ReduceMean)
stay in float: in 8 bits they cost EfficientNet most of what it loses, and are no faster."""

RECIPE = (
    "static, QDQ; activations uint8, ranges from the mean of the images' smallest and largest values; weights int8 by "
    "channel, in 7 bits; gates in float"
)


_STUMBLES: tuple[type[Exception], ...] = (*RUNTIME_ERRORS, TypeError, KeyError, onnx.checker.ValidationError)


class _Reader(CalibrationDataReader):
    """One image at a time, as onnxruntime asks for them."""

    def __init__(self, images: Iterable[Tensor]) -> None:
        self._images = iter(images)
        self.read = 0

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        if image is None:
            return None
        self.read += 1
        return {INPUT: np.ascontiguousarray(image.numpy())}


def quantise(model: onnx.ModelProto, images: Iterable[Tensor]) -> tuple[onnx.ModelProto, int]:
    """An int8 model in QDQ form, and on how many images its ranges were seen.

    Weights are symmetric, a scale for each output channel, in 7 of the 8 bits: processors without VNNI add pairs of
    products in 16 bits, which the full range overflows without a word. Activations have one range each, from the mean
    over the images of the smallest and of the largest value: one odd image does not widen it for all.

    Args:
        model: float32; left alone.
        images: one (1, 3, H, W) float32 tensor after the other, as the model takes them.

    Errors: SnowmeltError without images, or where onnxruntime cannot quantise the graph.
    """
    reader = _Reader(images)
    with tempfile.TemporaryDirectory(prefix="snowmelt-int8-") as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        try:
            quantize_static(
                copy.deepcopy(model),  # it moves the weights of what it is given into a file of its own
                path,
                reader,
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTISED_OPERATORS),
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"CalibMovingAverage": True},  # over images: their mean, since all are merged at once
            )
        except _STUMBLES as error:
            if not reader.read:
                raise SnowmeltError(
                    "int8 needs at least one training image to see the ranges on", code="call-incomplete"
                ) from error
            reason = " ".join(str(error).split())[:200]
            raise SnowmeltError(
                f"onnxruntime cannot quantise this graph ({reason}); export without --quantize",
                code="export-refused",
            ) from error
        quantised = onnx.load(path)
    tidy(quantised)
    return quantised, reader.read


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's advice, which it logs at the root and prints; the root's handlers stay as they were."""
    root, listener = logging.getLogger(), logging.NullHandler()
    root.addHandler(listener)  # else logging.warning() installs one that prints, for the whole process
    before = root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        root.removeHandler(listener)
