"""Reading and writing weight files; whatever is read is data, never code."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from snowmelt.disk import named
from snowmelt.errors import SnowmeltError

_METADATA_KEY = "snowmelt"
_WRAPPER_PREFIXES = ("module.", "_orig_mod.", "_forward_module.")

# Where training programs keep the state dict in what they save; the first that is there has it.
_NESTS = ("state_dict", "model_state_dict", "model", "network", "net", "params", "model_ema", "ema", "state_dict_ema")
_DEEPEST = 3  # nests within nests


def save_weights(
    path: str | os.PathLike[str], model: nn.Module | Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> None:
    """Writes a model (or its state dict) as safetensors, with ``metadata`` as JSON under one key.

    The file loads strictly into a plain network of the same shape: no prefix of a wrapper (DDP, ``torch.compile``),
    and tied tensors are written once per name. A reader sees the old file or the new one, never a part of it.

    Errors: SnowmeltError if the metadata is not JSON, WriteError (one of them) if the file cannot be written.
    """
    path = Path(path)
    try:
        header = {_METADATA_KEY: json.dumps(metadata, sort_keys=True, allow_nan=False)}
    except (TypeError, ValueError) as error:
        raise SnowmeltError(
            f"the metadata of {path} cannot be written as JSON: {error}", code="argument-value"
        ) from error
    tensors_now = model.state_dict() if isinstance(model, nn.Module) else model
    state = {_unwrapped(key): tensor for key, tensor in tensors_now.items()}
    # Copies, because safetensors refuses tensors that share memory.
    tensors = {key: tensor.detach().to("cpu", copy=True).contiguous() for key, tensor in state.items()}
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with named(path):
            _save_file(tensors, aside, header)
            _flush_to_disk(aside)
            os.replace(aside, path)
            _flush_to_disk(path.parent)
    finally:
        with suppress(OSError):  # the folder may be gone
            aside.unlink()


def load_weights(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(state dict on the CPU, metadata) of a weights file; the metadata is empty unless ``save_weights`` wrote it.

    Errors: SnowmeltError for a file that is missing or cut short, or that holds more than tensors.
    """
    path = Path(path)
    state = read_tensors(path)
    return state, read_metadata(path) if path.suffix.lower() == ".safetensors" else {}


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of a safetensors file, without its tensors; empty unless ``save_weights`` wrote it.

    Errors: SnowmeltError for a file that is missing, cut short, or no safetensors file.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(_METADATA_KEY)
        metadata = json.loads(header) if header is not None else {}
    except (OSError, safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise SnowmeltError(f"{path} cannot be read as Snowmelt weights: {error}", code="weights-unreadable") from error
    if not isinstance(metadata, dict):
        raise SnowmeltError(
            f"{path}: its Snowmelt metadata is no mapping; the file is damaged", code="weights-unreadable"
        )
    return metadata


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a PyTorch file that holds nothing but data, on the CPU.

    A PyTorch file may hold the state dict itself or have it in a nest (``state_dict``, ``model_state_dict``,
    ``model``, ...), also twice.
    Errors: SnowmeltError for a file that is missing, cut short, of another kind, or that wants to run code.
    """
    if not path.is_file():
        raise SnowmeltError(f"there is no weight file {path}", code="file-missing")
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path, device="cpu")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # hints for developers about archives that are refused below anyway
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged opcodes make torch's reader raise whatever they stumble over
        raise _unreadable(path, error) from error
    tensors = _tensors_in(content, path)
    if not tensors:
        raise SnowmeltError(f"{path} holds no tensors by name; a state dict is needed", code="weights-unreadable")
    return tensors


def _tensors_in(content: object, path: Path, depth: int = 0) -> dict[str, Tensor]:
    """The tensors by name of what a file held; those of the best nest where there are nests."""
    if not isinstance(content, Mapping):
        return {}
    named = {key: value for key, value in content.items() if isinstance(key, str)}
    if depth < _DEEPEST:
        nests = {key: found for key, value in named.items() if (found := _tensors_in(value, path, depth + 1))}
        for key in _NESTS:
            if key in nests:
                return nests[key]
        if len(nests) > 1:
            raise SnowmeltError(
                f"{path} holds several sets of tensors ({', '.join(nests)}); save the one that is meant",
                code="weights-ambiguous",
            )
        if nests:
            return next(iter(nests.values()))
    return {key: value for key, value in named.items() if isinstance(value, Tensor)}


def _unreadable(path: Path, error: Exception) -> SnowmeltError:
    text = str(error)
    if "eights only load failed" in text or "weights_only" in text:
        # PyTorch's own text advises to load without protection; nobody should be told that here.
        found = re.search(r"GLOBAL (\S+)", text)
        what = f" ({found[1]})" if found else ""
        return SnowmeltError(
            f"{path} cannot be read as weights: it holds more than plain tensors{what}, and reading that could run "
            "code; where you trust the file, re-save the state dict alone: torch.save(model.state_dict(), FILE)",
            code="weights-unsafe",
        )
    reason = (text.split("\n")[0] or type(error).__name__)[:200]
    return SnowmeltError(
        f"{path} cannot be read as weights; it may be cut short or of another kind: {reason}", code="weights-unreadable"
    )


def _unwrapped(key: str) -> str:
    while key.startswith(_WRAPPER_PREFIXES):
        key = key.partition(".")[2]
    return key


def _save_file(tensors: dict[str, Tensor], path: Path, header: dict[str, str]) -> None:
    try:
        save_file(tensors, path, metadata=header)
    except safetensors.SafetensorError as error:
        found = re.search(r"os error (\d+)", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from error


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
