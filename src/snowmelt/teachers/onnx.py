"""A teacher that comes as an ONNX file, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.models import Normalisation, normalise
from snowmelt.teachers.digests import digest_files
from snowmelt.teachers.fitted import resize_pictures
from snowmelt.teachers.onnx_files import Facts, check_demand, open_session, read_facts, run_session, weight_files
from snowmelt.teachers.options import OpenOptions
from snowmelt.teachers.outputs import OutputKind, judge_outputs, say_outputs, to_logits

_INPUT_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
_FLOAT_TYPES = ("tensor(float)", "tensor(float16)", "tensor(double)")
_INVENTED_SIZE = 128  # of the noise that is asked about where there are no real pictures


@dataclass(frozen=True)
class ImageInput:
    """The one input of a model."""

    name: str
    dtype: type[np.generic]
    channels_last: bool
    batch: int | None
    size: tuple[int, int] | None

    @property
    def raw(self) -> bool:
        """Takes pixels from 0 to 255 and normalises by itself."""
        return self.dtype is np.uint8


class OnnxModel:
    """A ``TeacherModel`` over an onnxruntime session. ``open_onnx`` makes it.

    It runs on the CPU, or on the GPU if the installed onnxruntime has a CUDA build; a fixed batch size is met by
    asking piece by piece.
    """

    classes: tuple[str, ...] | None = None
    digest: str = ""

    def __init__(self, session: Any, image: ImageInput, normalisation: Normalisation, where: str) -> None:
        self.size = image.size
        self._session = session
        self.image = image
        self._normalisation = normalisation
        self._where = where
        self._output = ""
        self._output_last = False
        self._kind: OutputKind = "logits"

    def __call__(self, images: Tensor) -> Tensor:
        (answer,) = self.ask(images, [self._output])
        if self._output_last:
            answer = answer.permute(0, 3, 1, 2).contiguous()
        return to_logits(answer.to(images.device), self._kind, self._where)

    def describe(self) -> str:
        size = f"{self.image.size[0]} x {self.image.size[1]}" if self.image.size else "any size"
        return f"{self._where} (ONNX, {size}, output {self._output!r}; {say_outputs(self._kind)})"

    def ask(self, images: Tensor, outputs: list[str]) -> list[Tensor]:
        """The named outputs for (B, 3, H, W) uint8 pictures, as the model gives them, on the CPU."""
        inputs = images.cpu() if self.image.raw else normalise(images.cpu(), self._normalisation)
        if self.image.channels_last:
            inputs = inputs.permute(0, 2, 3, 1)
        array = np.ascontiguousarray(inputs.numpy().astype(self.image.dtype, copy=False))
        step = self.image.batch or len(array)
        pieces = [self._ask_piece(array[start : start + step], step, outputs) for start in range(0, len(array), step)]
        return [torch.from_numpy(np.concatenate(parts)) for parts in zip(*pieces, strict=True)]

    def _ask_piece(self, piece: np.ndarray, batch: int, outputs: list[str]) -> list[np.ndarray]:
        count = len(piece)
        if count < batch:  # the last piece of a fixed batch size: filled up, and the surplus thrown away
            piece = np.concatenate([piece, np.repeat(piece[-1:], batch - count, axis=0)])
        answers = run_session(self._session, outputs, {self.image.name: piece}, self._where)
        return [answer[:count] if answer.ndim else answer[None] for answer in answers]

    def settle(self, output: str, channels_last: bool, kind: OutputKind) -> None:
        """Fix which output answers, in which layout, and what it is."""
        self._output, self._output_last, self._kind = output, channels_last, kind


def open_onnx(target: str, options: OpenOptions) -> OnnxModel:
    """A model from ``FILE`` or ``FILE#OUTPUT``, where OUTPUT names one of several outputs.

    It must have one image input of rank 4, NCHW or NHWC, float32, float16 or uint8 (raw pixels), of fixed or free
    height and width. Without a name, the first floating output of rank 4 counts whose channels are the student's
    classes, else the first of rank 4. Its custom metadata may hold ``classes``, ``mean`` and ``std`` as JSON (mean and
    deviation of pixels scaled to [0, 1]); ``options.normalisation`` goes before them, ImageNet's comes after.

    Errors: SnowmeltError for a missing or damaged file, a missing onnxruntime, or a model of another kind.
    """
    path, named = _split_target(target)
    session = open_session(path, options.device)
    image = _image_input(session.get_inputs(), path)
    facts = read_facts(session, path, options.say)
    if image.raw and options.normalisation is not None:
        raise SnowmeltError(
            f"{path}: takes uint8 pixels and normalises them itself; remove teacher.mean and teacher.std",
            code="teacher-normalisation",
        )
    normalisation = options.normalisation or facts.normalisation or Normalisation()
    model = OnnxModel(session, image, normalisation, str(path))
    pictures = _pictures(options, image.size)
    output, channels_last, answer = _choose_output(model, session, named, pictures, options, path)
    kind = judge_outputs(answer, str(path), options.outputs)
    model.settle(output, channels_last, kind)
    model.classes = _matching_classes(facts, answer.shape[1], path, options.say)
    told = None if image.raw else [normalisation.mean, normalisation.std]
    model.digest = digest_files(weight_files(path), "onnx", output, channels_last, kind, told, image.size)
    return model


def _split_target(target: str) -> tuple[Path, str | None]:
    if Path(target).is_file() or "#" not in target:
        return Path(target), None
    file, _, output = target.rpartition("#")
    return Path(file), output


def _image_input(inputs: list[Any], path: Path) -> ImageInput:
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise SnowmeltError(
            f"{path}: has the inputs {_listed(inputs)}; a teacher must have one, an image of shape (B, 3, H, W) or "
            "(B, H, W, 3)",
            code="teacher-unsuitable",
        )
    (image,) = inputs
    batch, *rest = (side if isinstance(side, int) and side > 0 else None for side in image.shape)
    channels_last = rest[0] != 3 and rest[2] == 3
    height, width = rest[:2] if channels_last else rest[1:]
    if rest[0] not in (3, None) and not channels_last:
        raise SnowmeltError(
            f"{path}: its input is {_listed(inputs)}; a teacher must take three channels, RGB",
            code="teacher-unsuitable",
        )
    if image.type not in _INPUT_TYPES:
        raise SnowmeltError(
            f"{path}: its input is {_listed(inputs)}; a teacher must take float32, float16 or uint8",
            code="teacher-unsuitable",
        )
    sides = (height or width, width or height)
    size = (sides[0], sides[1]) if sides[0] and sides[1] else None
    check_demand(batch, size, path)
    return ImageInput(image.name, _INPUT_TYPES[image.type], channels_last, batch, size)  # type: ignore[arg-type]


def _pictures(options: OpenOptions, size: tuple[int, int] | None) -> Tensor:
    """(B, 3, H, W) uint8 of the size that the model demands: real ones, or noise where there are none."""
    if options.probe is not None:
        pictures = options.probe()
    else:
        shape = (2, 3, _INVENTED_SIZE, _INVENTED_SIZE)
        pictures = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return resize_pictures(pictures, size)


def _choose_output(
    model: OnnxModel, session: Any, named: str | None, pictures: Tensor, options: OpenOptions, path: Path
) -> tuple[str, bool, Tensor]:
    """(name, whether channels are last, (B, K, h, w) answer) of the output that teaches."""
    outputs = session.get_outputs()
    if named is not None and named not in [output.name for output in outputs]:
        raise SnowmeltError(
            f"{path}: has no output {named!r}, but {_listed(outputs)}; name one of those after #",
            code="teacher-output-name",
        )
    # Where a file does not tell the rank, the shape is empty; the answer itself will tell.
    fitting = [
        output.name
        for output in outputs
        if output.type in _FLOAT_TYPES and len(output.shape) in (0, 4) and named in (None, output.name)
    ]
    answers = dict(zip(fitting, model.ask(pictures, fitting), strict=True)) if fitting else {}
    wanted = {len(options.classes)} | ({1} if len(options.classes) == 2 else set())
    found: list[tuple[str, bool, Tensor]] = []
    for name, answer in answers.items():
        if answer.ndim == 4:
            last = _is_channels_last(answer, pictures, model.image, name, path)
            found.append((name, last, answer.permute(0, 3, 1, 2) if last else answer))
    if not found:
        raise SnowmeltError(
            f"{path}: has the outputs {_listed(outputs)}; a teacher must give floats of shape (B, K, h, w), so export "
            "the logits before argmax",
            code="teacher-unsuitable",
        )
    chosen = next((each for each in found if each[2].shape[1] in wanted), found[0])
    if len(found) > 1:
        names = ", ".join(name for name, _, _ in found)
        options.say(f"{path}: took output {chosen[0]!r} of {names}; onnx:FILE#NAME takes another")
    return chosen


def _is_channels_last(answer: Tensor, pictures: Tensor, image: ImageInput, name: str, path: Path) -> bool:
    """Told by which two sides have the pictures' proportions; the input's layout where both pairs do."""
    height, width = pictures.shape[2:]

    def disproportion(h: int, w: int) -> int:
        return abs(h * width - w * height)

    first, last = disproportion(*answer.shape[2:]), disproportion(*answer.shape[1:3])
    if min(first, last) > height + width:  # more than a stride that rounds either side explains
        raise SnowmeltError(
            f"{path}: output {name!r} has shape {tuple(answer.shape)} for pictures of {height} x {width} pixels, which "
            "is no map of the picture; name another one as onnx:FILE#OUTPUT",
            code="teacher-output-name",
        )
    return last < first or (last == first and image.channels_last)


def _matching_classes(facts: Facts, channels: int, path: Path, say: Callable[[str], None]) -> tuple[str, ...] | None:
    if facts.classes is None or len(facts.classes) == channels or (channels == 1 and len(facts.classes) == 2):
        return facts.classes
    say(f"{path}: its metadata names {len(facts.classes)} classes for {channels} channels; the names are not used")
    return None


def _listed(values: list[Any]) -> str:
    return ", ".join(f"{value.name!r} {value.type} {value.shape}" for value in values) or "none"
