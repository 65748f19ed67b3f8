"""Number types that several sections share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Count = Annotated[int, Field(ge=1)]
Channels = Annotated[int, Field(ge=1, le=2048)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]  # a plan lists every one of them
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
ImageSize = Annotated[int, Field(ge=32, le=8192, multiple_of=32)]
