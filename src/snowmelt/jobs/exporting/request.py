"""What is asked of ``snowmelt export``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from snowmelt.errors import SnowmeltError

Format = Literal["onnx", "safetensors"]
DYNAMIC = "dynamic"
FOLDER = "export"  # in the run folder


@dataclass(frozen=True)
class ExportRequest:
    """A run and the form in which it is wanted. ``licence``: an SPDX identifier for the card.

    Errors: SnowmeltError for options that do not go together.
    """

    source: str
    format: Format = "onnx"
    int8: bool = False
    size: tuple[int, int] | None = None
    bake_normalisation: bool = False
    output: Path | None = None
    card: bool = False
    force: bool = False
    licence: str | None = None

    def __post_init__(self) -> None:
        if self.format == "safetensors":
            given = {"--quantize": self.int8, "--size": self.size, "--bake-normalisation": self.bake_normalisation}
            wrong = [name for name, value in given.items() if value]
            if wrong:
                raise SnowmeltError(
                    f"{wrong[0]} is for ONNX files; add --format onnx, or leave it out", code="option-unused"
                )
        if self.licence is not None and not self.card:
            raise SnowmeltError("--license stands in a model card; add --card, or leave it out", code="option-unused")
        if self.licence is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", self.licence):
            raise SnowmeltError(
                f"--license {self.licence!r}: give an SPDX identifier (apache-2.0, cc-by-4.0, other)",
                code="option-value",
            )
        if self.int8 and self.size is not None and self.size[0] != self.size[1]:
            raise SnowmeltError(
                "--quantize int8 scores on square pictures, as training does; give --size NxN, or leave --size out",
                code="option-conflict",
            )

    @property
    def marks(self) -> str:
        """What tells this form from the run's others, for the name of the file."""
        marks = ["" if self.size is None else f"-{self.size[0]}x{self.size[1]}"]
        marks += ["-pixels" if self.bake_normalisation else "", "-int8" if self.int8 else ""]
        return "".join(marks)


def read_size(text: str) -> tuple[int, int] | None:
    """``HxW`` or ``N`` in pixels as (H, W), ``dynamic`` as ``None``.

    Raises:
        SnowmeltError: anything else.
    """
    if text == DYNAMIC:
        return None
    found = re.fullmatch(r"(\d{1,5})(?:[xX](\d{1,5}))?", text)
    if found is None:
        raise SnowmeltError(
            f"--size {text!r}: give HxW in pixels (256x320), N for a square, or {DYNAMIC}", code="option-value"
        )
    return int(found[1]), int(found[2] or found[1])
