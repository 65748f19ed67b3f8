"""Does the exported graph answer as the network does? Asked of onnxruntime and PyTorch, with the real weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as state
from torch import Tensor, nn

from snowmelt.errors import SnowmeltError
from snowmelt.evaluation import predict_classes
from snowmelt.export.graph import INPUT, OUTPUT

MOST_ERROR = 1e-4
"""Largest difference of two logits, as a multiple of the largest absolute logit or of 1, whichever is larger."""
LEAST_AGREEMENT = 0.9999
"""Share of the pixels on which both have to name the same class."""

_QUIET = 4  # fatal: whatever else is wrong arrives as an exception

# onnxruntime's exceptions share no base class but ``Exception``.
RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    *(getattr(state, name) for name in ("EPFail", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf")),
    *(getattr(state, name) for name in ("NotImplemented", "RuntimeException")),
    RuntimeError,
    ValueError,
)

Shape = tuple[int, int, int]
"""Batch, height and width."""


@dataclass(frozen=True)
class Parity:
    """What the comparison found over all shapes."""

    largest_error: float
    largest_logit: float
    agreement: float
    shapes: tuple[Shape, ...]

    @property
    def allowed_error(self) -> float:
        return MOST_ERROR * max(1.0, self.largest_logit)

    @property
    def holds(self) -> bool:
        """False for a NaN, too."""
        return self.largest_error <= self.allowed_error and self.agreement >= LEAST_AGREEMENT

    def describe(self) -> str:
        return (
            f"largest error {self.largest_error:.1e} (allowed {self.allowed_error:.1e}), "
            f"same class on {100 * self.agreement:.3f} % of the pixels (needed {100 * LEAST_AGREEMENT:.2f} %)"
        )


def open_runtime(model: onnx.ModelProto | bytes | str, threads: int | None = None) -> onnxruntime.InferenceSession:
    """An onnxruntime session on the CPU, with as many threads as torch unless told otherwise."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads or torch.get_num_threads()
    settings.inter_op_num_threads = 1
    settings.log_severity_level = _QUIET
    content = model.SerializeToString() if isinstance(model, onnx.ModelProto) else model
    try:
        return onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    except RUNTIME_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise SnowmeltError(f"onnxruntime cannot open the exported graph: {reason}", code="export-refused") from error


def ask_runtime(session: onnxruntime.InferenceSession, images: Tensor) -> Tensor:
    """(B, K, H, W) float32 logits about (B, 3, H, W) float32 images.

    Errors: SnowmeltError with the shape that the graph cannot take.
    """
    try:
        (answer,) = session.run([OUTPUT], {INPUT: np.ascontiguousarray(images.numpy())})
    except RUNTIME_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise SnowmeltError(
            f"the exported graph does not run on {tuple(images.shape)}: {reason}", code="export-refused"
        ) from error
    return torch.from_numpy(answer)


def shapes_to_compare(image_size: int, stride: int, size: tuple[int, int] | None) -> tuple[Shape, ...]:
    """Several batches, and where the size is free several sizes: the training size, a wide, a tall, a small one."""
    if size is not None:
        return ((1, *size), (3, *size))
    side = max(stride, -(-image_size // stride) * stride)
    return (
        (1, side, side),
        (3, side, side + stride),
        (2, side + 2 * stride, side),
        (5, max(stride, side // (2 * stride) * stride), side),
    )


def invent_images(shape: Shape, seed: int) -> Tensor:
    """(B, 3, H, W) float32 of whole numbers from 0 to 255: patches of colour with noise on them.

    Noise alone has no large forms, and the deep layers of a network would have nothing to say about it.
    """
    batch, height, width = shape
    random = torch.Generator().manual_seed(seed)
    patches = torch.rand(batch, 3, max(2, height // 16), max(2, width // 16), generator=random)
    large = nn.functional.interpolate(patches, (height, width), mode="bilinear", align_corners=False)
    noise = torch.randn(batch, 3, height, width, generator=random)
    return (255 * large + 12 * noise).round().clamp(0, 255)


def compare(
    model: onnx.ModelProto, network: nn.Module, shapes: Sequence[Shape], normalise: Callable[[Tensor], Tensor]
) -> Parity:
    """Graph against network, over pictures of the given shapes.

    Args:
        network: takes what the graph takes, in eval mode.
        normalise: (B, 3, H, W) pixels from 0 to 255 -> what both take.
    """
    session = open_runtime(model)
    error, logit, same, counted = 0.0, 0.0, 0, 0
    compared: list[Shape] = []
    for seed, shape in enumerate(shapes):
        images = normalise(invent_images(shape, seed))
        try:
            with torch.no_grad():
                expected = network(images).float()
        except RuntimeError:  # some decoders cannot take small pictures; nobody can ask the graph for more
            continue
        compared.append(shape)
        found = ask_runtime(session, images)
        if found.shape != expected.shape:
            raise SnowmeltError(
                f"the exported graph gives {tuple(found.shape)} about {shape}, the network {tuple(expected.shape)}",
                code="export-not-equal",
            )
        error = _largest(error, found - expected)
        logit = _largest(logit, expected)
        agreed = predict_classes(found) == predict_classes(expected)
        same, counted = same + int(agreed.sum()), counted + agreed.numel()
    if len(compared) < min(2, len(shapes)):
        raise SnowmeltError(
            f"the network itself takes pictures of none or one of the shapes {list(shapes)}", code="export-refused"
        )
    return Parity(error, logit, same / max(counted, 1), tuple(compared))


def _largest(known: float, values: Tensor) -> float:
    """NaN once there is one: it is no small error."""
    return float(torch.maximum(torch.tensor(known), values.abs().max()))
