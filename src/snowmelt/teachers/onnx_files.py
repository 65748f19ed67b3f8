"""ONNX files: opening and running them with onnxruntime, what their metadata say, which files hold their weights."""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snowmelt.errors import SnowmeltError
from snowmelt.models import Normalisation

# How a tensor names the file beside the model that holds it: the entry "location" of its external data, as protobuf
# writes it (field 1, a string; then field 2, a string whose length follows).
_LOCATION = b"\x0a\x08location\x12"
MOST_PIXELS = 1 << 24
"""In one question: a batch of 64 pictures of 512 x 512, or one of 4096 x 4096."""
_QUIET = 4  # fatal: whatever else is wrong arrives as an exception


@dataclass(frozen=True)
class Facts:
    """What a file says about itself."""

    classes: tuple[str, ...] | None = None
    normalisation: Normalisation | None = None


def open_session(path: Path, device: torch.device) -> Any:
    """An onnxruntime ``InferenceSession`` with as many threads as torch, which sleep while they wait.

    Errors: SnowmeltError for a missing or damaged file, a model that onnxruntime cannot run, a missing onnxruntime.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise SnowmeltError(
            f"{path}: onnxruntime, which runs ONNX files, cannot be imported ({error}); pip install onnxruntime",
            code="extra-missing",
        ) from error
    if not path.is_file():
        raise SnowmeltError(f"{path}: there is no such ONNX file; mend teacher.source", code="file-missing")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.inter_op_num_threads = 1
    settings.log_severity_level = _QUIET
    settings.use_deterministic_compute = True
    # Threads that spin take their core from the student.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=providers)
        # Names in them that are no text come to light only when they are asked for.
        session.get_inputs(), session.get_outputs(), session.get_modelmeta().custom_metadata_map
        return session
    except _runtime_errors() as error:
        raise SnowmeltError(
            f"{path}: cannot be opened as an ONNX model; it may be damaged, of another kind or without its data file: "
            f"{_reason(error)}",
            code="teacher-unreadable",
        ) from error


def check_demand(batch: int | None, size: tuple[int, int] | None, path: Path) -> None:
    """What a file says that it must be asked about at once is made in memory before it can say no.

    Errors: SnowmeltError for more than ``MOST_PIXELS``.
    """
    height, width = size or (1, 1)
    if (batch or 1) * height * width > MOST_PIXELS:
        raise SnowmeltError(
            f"{path}: takes {batch or 1} pictures of {height} x {width} pixels at once, more than memory is set aside "
            "for; export it with a smaller size, or a free one",
            code="teacher-size",
        )


def run_session(session: Any, outputs: list[str], inputs: Mapping[str, np.ndarray], where: str) -> list[np.ndarray]:
    """The named outputs.

    Errors: SnowmeltError with the shape that was asked about and onnxruntime's reason.
    """
    try:
        return session.run(outputs, dict(inputs))
    except _runtime_errors() as error:
        shapes = ", ".join(" x ".join(map(str, array.shape)) for array in inputs.values())
        raise SnowmeltError(
            f"{where}: does not run on an input of {shapes} (many models need sides that 32 divides; "
            f"see teacher.image_size): {_reason(error)}",
            code="teacher-size",
        ) from error


def read_facts(session: Any, path: Path, say: Callable[[str], None]) -> Facts:
    """Class names, mean and deviation from the model's custom metadata: the keys classes, mean and std, JSON lists.

    What other programs wrote under these names in another form is passed over, and said.
    Errors: SnowmeltError for a mean or deviation that is not of pixels scaled to [0, 1].
    """
    metadata: Mapping[str, str] = session.get_modelmeta().custom_metadata_map
    found: dict[str, list[Any]] = {}
    for key in ("classes", "mean", "std"):
        if key in metadata:
            kind = str if key == "classes" else (int, float)
            value = _json_list(metadata[key])
            if value and all(isinstance(item, kind) and not isinstance(item, bool) for item in value):
                found[key] = value
            else:
                say(f"{path}: its metadata {key!r} is no JSON list that could be used; it is passed over")
    classes = tuple(found["classes"]) if "classes" in found else None
    if "mean" not in found or "std" not in found:
        return Facts(classes)
    mean, std = found["mean"], found["std"]
    if len(mean) != 3 or len(std) != 3 or not all(0 <= each <= 1 for each in mean) or not all(each > 0 for each in std):
        raise SnowmeltError(
            f"{path}: its metadata give mean {mean} and std {std}, which are not those of three channels scaled to "
            "0..1; set teacher.mean and teacher.std",
            code="teacher-normalisation",
        )
    return Facts(classes, Normalisation((mean[0], mean[1], mean[2]), (std[0], std[1], std[2])))


def weight_files(path: Path) -> list[tuple[str, Path]]:
    """The file itself as ``model``, and the files beside it that hold its tensors, by the names that it has for them.

    Large models keep their tensors outside. The names are found by their bytes, so that nothing has to be parsed.
    """
    names: set[str] = set()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        position = content.find(_LOCATION)
        while position >= 0:
            start = position + len(_LOCATION)
            length = content[start : start + 2].ljust(2, b"\0")  # in seven bits a byte, lowest first
            size, start = (length[0], start + 1) if length[0] < 128 else (length[0] % 128 + length[1] * 128, start + 2)
            names.add(content[start : start + size].decode("utf-8", errors="replace"))
            position = content.find(_LOCATION, start)
    return [("model", path), *((name, path.parent / name) for name in sorted(names) if _is_file(path.parent, name))]


def _is_file(folder: Path, name: str) -> bool:
    # Chance bytes between weights may look like a name; no system takes a name with a zero byte or of such a length.
    # Outside of the folder onnxruntime reads nothing, and neither is anything summed up.
    if "\0" in name or len(name) >= 1024:
        return False
    try:
        inside = (folder / name).resolve().is_relative_to(folder.resolve())
        return inside and (folder / name).is_file()
    except (OSError, RuntimeError, ValueError):  # link loops and the like
        return False


def _json_list(text: str) -> list[Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _runtime_errors() -> tuple[type[BaseException], ...]:
    """onnxruntime's exceptions, which share no base class but ``Exception``."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("EPFail", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoModel", "NoSuchFile")
    more = ("NotImplemented", "RuntimeException")
    return (*(getattr(state, name) for name in (*names, *more)), RuntimeError, ValueError)


def _reason(error: BaseException) -> str:
    """onnxruntime's message without its preamble, on one line."""
    text = " ".join(str(error).split())
    return (text.split(" : ", 3)[-1] if text.startswith("[ONNXRuntimeError]") else text)[:300]
