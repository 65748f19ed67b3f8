"""Pictures as part of the page, as many as it has room for."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from snowmelt.reporting.layers import LAYERS
from snowmelt.reporting.page.reading import RunContent, Sheet, listed, number

WIDEST = 1400  # pixels of a picture that the page shows whole
AS_IT_IS = 60_000  # bytes up to which a file in a format that browsers read is taken as it is
KINDS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}


@dataclass
class Budget:
    """Bytes that are left for pictures, and what found no room."""

    left: int
    left_out: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def take(self, root: Path, file: Any) -> str | None:
        """The picture at ``file`` below ``root`` as a data URI; ``None`` where it cannot be had."""
        path = (root / str(file)).resolve()
        if not path.is_relative_to(root.resolve()):
            self.unreadable.append(str(file))  # the page shows what lies in the run folder, and nothing else
            return None
        try:
            uri = data_uri(path)
        except (OSError, ValueError, Image.DecompressionBombError):
            self.unreadable.append(str(file))
            return None
        if len(uri) > self.left:
            self.left_out.append(str(file))
            return None
        self.left -= len(uri)
        return uri


@dataclass(frozen=True)
class Sample:
    """One image with what can be laid over each other, or a panel that shows all of it side by side."""

    name: str
    layers: Mapping[str, str]  # layer -> data URI
    miou: float | None = None
    teacher_miou: float | None = None


def data_uri(path: Path) -> str:
    """The picture in its own bytes where they are few, else as WebP of at most ``WIDEST`` pixels.

    Raises:
        OSError, ValueError: no picture.
    """
    raw = path.read_bytes()
    with Image.open(io.BytesIO(raw)) as picture:
        kind = KINDS.get(picture.format or "")
        if kind is None or len(raw) > AS_IT_IS or max(picture.size) > WIDEST:
            shown = picture.convert("RGB")
            shown.thumbnail((WIDEST, WIDEST))
            buffer = io.BytesIO()
            shown.save(buffer, "WEBP", quality=82, method=2)
            raw, kind = buffer.getvalue(), "image/webp"
        else:
            picture.verify()
    return f"data:{kind};base64,{base64.b64encode(raw).decode('ascii')}"


def samples_of(content: RunContent, budget: Budget, who: str = "student") -> list[Sample]:
    """The predictions that training drew, the worst first; whole panels for runs of before they came in layers.

    Args:
        who: what the layer of the network that was trained is called.
    """
    folder = content.folder.predictions
    found = []
    for entry in content.pictures:
        layers = {
            who if layer == "student" else layer: uri
            for layer in LAYERS
            if layer in entry["layers"] and (uri := budget.take(folder, entry["layers"][layer])) is not None
        }
        if layers:
            scores = number(entry.get("miou")), number(entry.get("teacher_miou"))
            found.append(Sample(str(entry.get("name", "")), layers, *scores))
    found.sort(key=lambda sample: 2.0 if sample.miou is None else sample.miou)
    return found


def panels_of(content: RunContent, budget: Budget) -> list[Sample]:
    """The panels in ``predictions/``, in the order of their names."""
    folder = content.folder.predictions
    taken = [(path.stem, budget.take(folder, path.name)) for path in sorted(folder.glob("*.png"))]
    return [Sample(name, {"panel": uri}) for name, uri in taken if uri is not None]


def worst_of(sheet: Sheet, root: Path, budget: Budget) -> list[Sample]:
    """The images that an evaluation found worst; its pictures are named from the run folder or from its own.

    Evaluations of before they came in layers have a panel, which shows all side by side.
    """
    found = []
    for entry in listed(sheet.rest.get("worst")):
        if not isinstance(entry, dict):
            continue
        files = entry.get("layers")
        if isinstance(files, dict):
            named = {sheet.who if layer == "student" else layer: files[layer] for layer in LAYERS if layer in files}
        else:
            named = {"panel": entry["overlay"]} if entry.get("overlay") else {}
        layers = {}
        for layer, file in named.items():
            beside = root / "evaluation" / str(file)
            uri = budget.take(root, f"evaluation/{file}" if beside.is_file() else file)
            if uri is not None:
                layers[layer] = uri
        scores = number(entry.get("miou")), number(entry.get("teacher_miou"))
        found.append(Sample(str(entry.get("name", "")), layers, *scores))
    return found
