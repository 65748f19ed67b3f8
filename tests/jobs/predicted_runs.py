"""Small pictures to predict on, and exported files whose answers are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
NAMES = ("background", "first", "second")


def write_picture(path: Path, height: int = 40, width: int = 56, seed: int = 0, **options: Any) -> np.ndarray:
    """Smooth noise as the file at ``path``, and what was written."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return np.asarray(picture)


def brightest_channel(path: Path, *, inside: bool = True, size: tuple[int, int] | None = None, **changed: Any) -> Path:
    """An ONNX file as ``snowmelt export`` writes it, whose class is the channel with the largest value.

    ``inside``: takes pixels from 0 to 255; otherwise it undoes the normalisation that its metadata ask for.
    """
    scale = np.full(3, 0.1, np.float32) if inside else np.array(STD, np.float32) * 25.5
    shift = np.zeros(3, np.float32) if inside else np.array(MEAN, np.float32) * 25.5
    weight = np.diag(scale).reshape(3, 3, 1, 1).astype(np.float32)
    sides: tuple[Any, Any] = size or ("height", "width")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weight", "shift"], ["logits"])],
        "brightest",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, *sides])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3, *sides])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(shift, "shift")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    facts = {
        "format": 1,
        "classes": list(NAMES),
        "mean": list(MEAN),
        "std": list(STD),
        "normalised_inside": inside,
        "image_size": 64,
        "stride": 32,
        "task": "multiclass",
        "source_run": "toy",
        "snowmelt_version": "0",
        **changed,
    }
    helper.set_model_props(model, {"snowmelt": json.dumps(facts)})
    onnx.save(model, path)
    return path


def files_below(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
