"""What predicts: a run's student in PyTorch, or an exported file in onnxruntime, behind one face."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from snowmelt.build import make_input, output_channels
from snowmelt.config import ExperimentConfig
from snowmelt.data import file_digest
from snowmelt.errors import SnowmeltError
from snowmelt.inference import Network
from snowmelt.jobs.opening import LARGEST_SIDE, TrainedRun, is_side, open_run
from snowmelt.models import Normalisation
from snowmelt.teachers.onnx import ImageInput, OnnxModel
from snowmelt.teachers.onnx_files import check_demand, open_session
from snowmelt.training.engine import resolve_device, resolve_precision

ONNX_SUFFIX = ".onnx"
_KEY, _FORMAT = "snowmelt", 1
_PIXELS = Normalisation((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))  # leaves 0 to 255 as it is
_PRECISIONS = {"bf16": torch.bfloat16, "16": torch.float16}


@dataclass(frozen=True)
class Model:
    """Attributes:
    name: of the run or the file; ``file``: where the weights lie.
    describe: one line.
    network: (B, 3, H, W) uint8 -> (B, K, H, W) float32 logits on the CPU.
    channels: K; 1 for two classes.
    image_size: side in pixels of the square it was trained at.
    stride: what divides the sides of every input.
    size: the only (height, width) that it takes; ``None``: any that ``stride`` divides.
    config: of the run, for its own images.
    """

    name: str
    file: Path
    describe: str
    network: Network
    classes: tuple[str, ...]
    channels: int
    image_size: int
    stride: int = 32
    size: tuple[int, int] | None = None
    config: ExperimentConfig | None = None

    @property
    def digest(self) -> str:
        """Tells one file of weights from another."""
        return file_digest(self.file)


def open_model(source: str, weights: Literal["best", "last"] | None, device: str) -> Model:
    """A run, its weights file, or an ONNX file that ``snowmelt export`` wrote.

    Raises:
        SnowmeltError: nothing of that kind is there, it is of another program, or the device is missing.
    """
    if Path(source).suffix.lower() == ONNX_SUFFIX:
        if weights is not None:
            raise SnowmeltError(
                f"--weights {weights}: an ONNX file has the weights it has; leave the option out", code="option-unused"
            )
        return open_exported(Path(source), torch.device(resolve_device(device)))
    run = open_run(source, weights or "best")
    return model_of_run(run, resolve_device(device))


def model_of_run(run: TrainedRun, device: str) -> Model:
    """The student on the device, in the precision in which its training scored it where the device computes in it."""
    precision = "32" if run.config is None else run.config.training.precision
    if precision != "32" and resolve_precision("auto", device) != precision:
        precision = "32"
    network = run.network.to(device)
    return Model(
        name=run.name,
        file=run.weights,
        describe=f"{run.weights} ({len(run.classes)} classes, {run.image_size} px, {_say_precision(precision)})",
        network=_asking(network, run.normalisation, torch.device(device), _PRECISIONS.get(precision)),
        classes=run.classes,
        channels=output_channels(run.classes),
        image_size=run.image_size,
        config=run.config,
    )


def _asking(
    network: nn.Module, normalisation: Normalisation, device: torch.device, dtype: torch.dtype | None
) -> Network:
    prepare = make_input(normalisation)

    def ask(images: Tensor) -> Tensor:
        mixed = torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
        with torch.inference_mode(), mixed:
            return network(prepare(images.to(device))).float().cpu()

    return ask


def open_exported(path: Path, device: torch.device) -> Model:
    """An ONNX file with the metadata that ``snowmelt export`` writes.

    Raises:
        SnowmeltError: no such file, a damaged one, or one of another origin.
    """
    if not path.is_file():
        raise SnowmeltError(
            f"{path}: there is no such ONNX file; write one with 'snowmelt export RUN --format onnx'",
            code="file-missing",
        )
    session = open_session(path, device)
    facts = _facts(session, path)
    try:
        classes = tuple(str(name) for name in facts["classes"])
        normalisation = Normalisation(tuple(facts["mean"]), tuple(facts["std"]))
        side = int(facts["image_size"])
        inside = bool(facts["normalised_inside"])
        stride = int(facts.get("stride", 32))
        if not (is_side(side) and is_side(stride)):
            raise ValueError(f"a size between 1 and {LARGEST_SIDE}")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SnowmeltError(f"{path}: its metadata lack {error}; export the run anew", code="export-foreign") from error
    image = _image_input(session, path)
    model = OnnxModel(session, image, _PIXELS if inside else normalisation, str(path))
    output = _output(session, path)

    def ask(images: Tensor) -> Tensor:
        (answer,) = model.ask(images, [output])
        return answer.float()

    size = "any size" if image.size is None else f"{image.size[0]} x {image.size[1]} px"
    return Model(
        name=path.stem,
        file=path,
        describe=f"{path} (ONNX, {len(classes)} classes, {size}, trained at {side} px)",
        network=ask,
        classes=classes,
        channels=output_channels(classes),
        image_size=side,
        stride=stride,
        size=image.size,
    )


def _facts(session: Any, path: Path) -> dict[str, Any]:
    metadata: Mapping[str, str] = session.get_modelmeta().custom_metadata_map
    try:
        facts = json.loads(metadata.get(_KEY, "null"))
    except (ValueError, RecursionError) as error:
        raise SnowmeltError(f"{path}: its metadata are damaged; export the run anew", code="export-foreign") from error
    if not isinstance(facts, dict):
        raise SnowmeltError(
            f"{path}: says nothing of classes and normalisation, so 'snowmelt export' did not write it; export the run",
            code="export-foreign",
        )
    if facts.get("format") != _FORMAT:
        raise SnowmeltError(
            f"{path}: was exported by another version (format {facts.get('format')}); export it anew",
            code="export-foreign",
        )
    return facts


def _image_input(session: Any, path: Path) -> ImageInput:
    found = session.get_inputs()
    types = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
    if len(found) != 1 or len(found[0].shape) != 4 or found[0].type not in types:
        raise SnowmeltError(
            f"{path}: does not take one image (B, 3, H, W), so it is no file of 'snowmelt export'",
            code="export-foreign",
        )
    batch, _, height, width = (side if isinstance(side, int) and side > 0 else None for side in found[0].shape)
    size = (height, width) if height and width else None
    check_demand(batch, size, path)
    return ImageInput(found[0].name, types[found[0].type], False, batch, size)  # type: ignore[arg-type]


def _output(session: Any, path: Path) -> str:
    names = [output.name for output in session.get_outputs()]
    if "logits" not in names:
        raise SnowmeltError(
            f"{path}: has no output 'logits', so it is no file of 'snowmelt export'", code="export-foreign"
        )
    return "logits"


def _say_precision(precision: str) -> str:
    return {"32": "float32", "bf16": "bfloat16", "16": "float16"}[precision]
