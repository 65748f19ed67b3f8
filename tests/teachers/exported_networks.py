"""Networks written as ONNX files, opened again, and compared. Used by the tests of ONNX teachers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snowmelt.models import Normalisation
from snowmelt.teachers.onnx import OnnxModel, open_onnx
from snowmelt.teachers.options import OpenOptions

TWO = ("background", "person")
SIDE = 16
Export = Callable[..., Path]
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


def tiny_network() -> nn.Module:
    """Two convolutions, three classes, at half the picture's size."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1)).eval()


def exporter(folder: Path, network: nn.Module) -> Export:
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
        path = folder / name
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
