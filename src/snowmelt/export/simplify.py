"""Simplifying a graph: constants folded, twins merged, what has no effect taken out."""

from __future__ import annotations

import copy

import onnx
import onnxslim

from snowmelt.errors import SnowmeltError
from snowmelt.export.graph import tidy

# A young rewriter of graphs may stumble in any of these ways; the plain graph is good, too.
_STUMBLES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
)


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """A simpler model that should give the same answers; the given one is left alone.

    Errors: SnowmeltError where the simplifier fails; nothing is known then about the graph that it was given.
    """
    try:
        simpler = onnxslim.slim(copy.deepcopy(model))
        if not isinstance(simpler, onnx.ModelProto):
            raise SnowmeltError("onnxslim gave no model", code="export-refused")
        tidy(simpler)
        onnx.checker.check_model(simpler, full_check=True)
    except _STUMBLES as error:
        raise SnowmeltError(
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", code="export-refused"
        ) from error
    return simpler
