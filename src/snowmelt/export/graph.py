"""From a network to an ONNX graph, through torch's current exporter."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from snowmelt.errors import SnowmeltError
from snowmelt.export.padding import settle_padding
from snowmelt.models import Normalisation

INPUT, OUTPUT = "image", "logits"
_EXAMPLE_SIDE = 128  # pixels, at least: some decoders halve the deepest map three times more
_LARGEST = 2_000_000_000  # bytes: protobuf holds no more in one file


class Normalising(nn.Module):
    """A network that takes pixels: (B, 3, H, W) float from 0 to 255, normalised before the first layer."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, normalisation: Normalisation) -> None:
        super().__init__()
        mean = torch.tensor(normalisation.mean, dtype=torch.float64).view(1, 3, 1, 1)
        std = torch.tensor(normalisation.std, dtype=torch.float64).view(1, 3, 1, 1)
        self.network = network
        self.register_buffer("scale", (1 / (255 * std)).float())
        self.register_buffer("shift", (-mean / std).float())

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images * self.scale + self.shift)


def stride_of(network: nn.Module) -> int:
    """What height and width of a network of smp have to be multiples of, in pixels."""
    return int(getattr(getattr(network, "encoder", None), "output_stride", 32))


def check_size(size: tuple[int, int], stride: int) -> None:
    """Raises SnowmeltError where a fixed size cannot be fed to the network."""
    height, width = size
    if height < stride or width < stride or height % stride or width % stride:
        raise SnowmeltError(
            f"--size {height}x{width}: both sides have to be multiples of {stride} for this network; "
            f"take {_upwards(height, stride)}x{_upwards(width, stride)}",
            code="picture-size",
        )


def make_graph(network: nn.Module, size: tuple[int, int] | None = None) -> onnx.ModelProto:
    """The graph of ``network`` in eval mode: ``image`` (B, 3, H, W) float32 -> ``logits`` (B, K, H, W) float32.

    What the forward pass never reaches is not in it, and neither are paths of this machine (the exporter notes where
    each node comes from).

    Args:
        network: float32 on the CPU; not changed.
        size: (H, W) to fix; ``None`` leaves both free, as multiples of the stride. The batch is always free.

    Errors: SnowmeltError for a network that torch cannot export, or not with a free size.
    """
    stride = stride_of(network.network if isinstance(network, Normalising) else network)
    side = _upwards(_EXAMPLE_SIDE, stride)
    # Sides that differ, so that nothing takes one for the other; a batch of two, since one is a size of its own.
    height, width = size or (side, side + stride)
    free: dict[int, object] = {0: Dim.DYNAMIC}
    if size is None:
        free |= {2: stride * Dim("h", min=1), 3: stride * Dim("w", min=1)}
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the exporter's notes to its own developers
            program = torch.onnx.export(
                settle_padding(network).eval(),
                (torch.zeros(2, 3, height, width),),
                dynamo=True,
                verbose=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=(free,),
            )
    except (torch.onnx.OnnxExporterError, RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        raise SnowmeltError(_refusal(error, size), code="export-refused") from error
    assert program is not None
    model = program.model_proto
    if model.ByteSize() > _LARGEST:
        raise SnowmeltError(
            f"the network takes {model.ByteSize() >> 20} MiB, more than one ONNX file can hold", code="export-refused"
        )
    tidy(model)
    _name_axes(model)
    return model


def _name_axes(model: onnx.ModelProto) -> None:
    """``batch``, ``height`` and ``width`` in place of the exporter's names; what is known of inner values goes."""
    names: dict[str, str] = {}
    for axis, name in zip(
        model.graph.input[0].type.tensor_type.shape.dim, ("batch", "", "height", "width"), strict=True
    ):
        if axis.dim_param:
            names[axis.dim_param] = axis.dim_param = name
    for axis in model.graph.output[0].type.tensor_type.shape.dim:
        if axis.dim_param in names:
            axis.dim_param = names[axis.dim_param]
    del model.graph.value_info[:]


def tidy(model: onnx.ModelProto) -> None:
    """Take out notes about where nodes come from: stack traces with the paths of this machine, half a megabyte."""
    graph = model.graph
    parts: Iterable[object] = (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in parts:
        del part.metadata_props[:]  # type: ignore[attr-defined]
        part.doc_string = ""  # type: ignore[attr-defined]
    model.doc_string = ""


def opset_of(model: onnx.ModelProto) -> int:
    """Version of ONNX's own operators that the model is written in."""
    return next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def _upwards(length: int, stride: int) -> int:
    return max(stride, -(-length // stride) * stride)


def _refusal(error: BaseException, size: tuple[int, int] | None) -> str:
    """One line out of an exporter's many: the last cause's first words."""
    while error.__cause__ is not None:
        error = error.__cause__
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    way_out = "" if size else "; with a fixed size (--size HxW) it may work"
    return f"this network cannot be exported to ONNX{way_out}: {type(error).__name__}: {reason}"
