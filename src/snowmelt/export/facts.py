"""What an exported file says about itself, so that whoever opens it needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import onnx

from snowmelt.models import Normalisation

KEY = "snowmelt"
FORMAT = 1
PIXELS = Normalisation((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))
"""The normalisation that leaves pixels from 0 to 255 as they are: what a graph needs that normalises by itself."""


@dataclass(frozen=True)
class Facts:
    """The content of the metadata property ``snowmelt`` of an ONNX file.

    ``mean`` and ``std`` are always those of the network, for pixels scaled to [0, 1]. Where ``normalised_inside`` is
    true, the graph applies them itself and its input are pixels from 0 to 255 as float32; otherwise whoever feeds it
    gives ``(pixels / 255 - mean) / std``.
    """

    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    normalised_inside: bool
    image_size: int
    """Side in pixels of the square that it was trained at; other sizes work, but nobody scored them."""
    stride: int
    """Height and width of the input have to be multiples of it."""
    source_run: str
    snowmelt_version: str
    size: tuple[int, int] | None = None
    """(H, W) that the file demands; ``None``: any."""
    network: Mapping[str, Any] = field(default_factory=dict)
    weights_digest: str = ""
    """Changes with the weights; tells whether a file is of the run's present ones."""
    opset: int | None = None
    quantisation: Mapping[str, Any] | None = None

    @property
    def task(self) -> str:
        """``binary``: one logit, positive where class 1 is; ``multiclass``: one logit for each class."""
        return "binary" if len(self.classes) == 2 else "multiclass"

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, "task": self.task, **asdict(self)}, sort_keys=True, allow_nan=False)


def write_facts(model: onnx.ModelProto, facts: Facts) -> None:
    """Put them into the model, in place of what is there.

    Beside the one property of ours stand ``classes``, ``mean`` and ``std`` alone, which ``teacher.source=FILE.onnx``
    reads in files of any origin; there they describe what the *input* needs.
    """
    needed = PIXELS if facts.normalised_inside else Normalisation(facts.mean, facts.std)
    properties = {
        KEY: facts.to_json(),
        "classes": json.dumps(list(facts.classes)),
        "mean": json.dumps(list(needed.mean)),
        "std": json.dumps(list(needed.std)),
    }
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, properties)


def read_facts(model: onnx.ModelProto) -> dict[str, Any] | None:
    """The content of the property ``snowmelt``; ``None`` for a file of another origin."""
    found = {entry.key: entry.value for entry in model.metadata_props}.get(KEY)
    return None if found is None else json.loads(found)
