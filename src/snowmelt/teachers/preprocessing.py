"""What a Hugging Face model's image processor does to a picture, in this project's terms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snowmelt.errors import SnowmeltError
from snowmelt.models import Normalisation
from snowmelt.teachers.options import OpenOptions

PREPROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
_WHITE = 255


@dataclass(frozen=True)
class Preprocessing:
    """Normalisation of pixels scaled to [0, 1], (H, W) of the model's pictures, and whether it takes BGR."""

    normalisation: Normalisation
    size: tuple[int, int] | None = None
    flipped: bool = False


def read_preprocessing(folder: Path, transformers: Any, options: OpenOptions) -> Preprocessing:
    """From the folder's processor file, with the defaults of the processor class that it names.

    ``options.normalisation`` goes before the file. Without a file: ImageNet's values (said), any size.
    Errors: SnowmeltError for a file that transformers cannot read, or that wants to run code.
    """
    path = next((folder / name for name in PREPROCESSOR_FILES if (folder / name).is_file()), None)
    if path is None:
        if options.normalisation is None:
            options.say(f"{folder}: has no {PREPROCESSOR_FILES[0]}; ImageNet's mean and deviation are taken")
        return Preprocessing(options.normalisation or Normalisation())
    try:
        if "auto_map" in json.loads(path.read_text(encoding="utf-8")):
            raise SnowmeltError(
                f"{path}: comes with code of its own (auto_map), which is never run; remove that entry",
                code="weights-unsafe",
            )
        processor = transformers.AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        settings = processor.to_dict()
    except SnowmeltError:
        raise
    except (OSError, ValueError, TypeError, LookupError, AttributeError, ImportError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SnowmeltError(f"{path}: transformers cannot read it: {reason}", code="teacher-unreadable") from error
    normalisation = options.normalisation or _normalisation(settings, path)
    return Preprocessing(normalisation, _size(settings), bool(settings.get("do_flip_channel_order")))


def _normalisation(settings: Mapping[str, Any], path: Path) -> Normalisation:
    """(x * factor - mean) / std for x from 0 to 255, as mean and deviation of x / 255."""
    factor = float(settings.get("rescale_factor") or 1 / _WHITE) if settings.get("do_rescale") else 1.0
    scale = factor * _WHITE  # 1 in all but odd cases
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if settings.get("do_normalize"):
        mean, std = _three(settings.get("image_mean"), path), _three(settings.get("image_std"), path)
    if min(std) <= 0:
        raise SnowmeltError(
            f"{path}: image_std {list(std)} must be positive; set teacher.mean and teacher.std",
            code="teacher-normalisation",
        )
    return Normalisation(_scaled(mean, scale), _scaled(std, scale))


def _three(values: Any, path: Path) -> tuple[float, float, float]:
    if isinstance(values, int | float):
        values = [values] * 3
    if not isinstance(values, list | tuple) or len(values) != 3:
        raise SnowmeltError(
            f"{path}: {values!r} is no mean or deviation of three channels; set teacher.mean and .std",
            code="teacher-normalisation",
        )
    return float(values[0]), float(values[1]), float(values[2])


def _scaled(values: tuple[float, float, float], scale: float) -> tuple[float, float, float]:
    # Nothing is divided where nothing has to be: the digits stay those of the file.
    if abs(scale - 1) < 1e-9:
        return values
    return values[0] / scale, values[1] / scale, values[2] / scale


def _size(settings: Mapping[str, Any]) -> tuple[int, int] | None:
    """(H, W) of a square picture after the processor's resizing and cropping; None if it leaves the size alone."""
    if settings.get("do_center_crop") and settings.get("crop_size"):
        return _sides(settings["crop_size"])
    if settings.get("do_resize") and settings.get("size"):
        return _sides(settings["size"])
    return None


def _sides(size: Any) -> tuple[int, int] | None:
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping) and size.get("height") and size.get("width"):
        return int(size["height"]), int(size["width"])
    edge = size.get("shortest_edge") if isinstance(size, Mapping) else None
    return (int(edge), int(edge)) if edge else None
