"""What training calls for the teacher's answers to a batch, whether a teacher is asked or its answers are stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from snowmelt.data import Batch
from snowmelt.errors import SnowmeltError
from snowmelt.teachers.cache.asking import Mapping, letterboxed_map
from snowmelt.teachers.cache.encoding import Encoding
from snowmelt.teachers.cache.resampling import resample
from snowmelt.teachers.protocol import StoredMaps, Teacher


class Teaching(Protocol):
    """A batch in, the teacher's logits for its pictures out; no graph."""

    def __call__(self, batch: Batch) -> Tensor:
        """(B, C, N, N) float32 on the batch's device, aligned with ``batch.images``."""
        ...


class LiveTeaching:
    """Asks the teacher about the very picture that the student sees."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher

    def __call__(self, batch: Batch) -> Tensor:
        return self.teacher(batch.images)


class StoredTeaching:
    """Brings the stored answer to the clean picture into the geometry of the augmented one.

    Decoding and resampling take some milliseconds on one CPU thread for 8 pictures of 128 pixels and 7 classes.
    Colour changes do not reach the answer, and where augmentation has padded it is the map's edge: such pixels are
    not taught (``mask == 255``).
    """

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding

    def __call__(self, batch: Batch) -> Tensor:
        if len(batch.maps) != len(self.encoding.planes) or batch.placement is None:
            raise SnowmeltError(
                f"the batch has {len(batch.maps)} stored planes and the encoding {len(self.encoding.planes)}; "
                "give the data set the view of the same cache (maps=)",
                code="call-incomplete",
            )
        with torch.no_grad():
            return resample(self.encoding.decode(batch.maps), batch.placement, batch.images.shape[-1])


class NamedTeaching:
    """Looks up precomputed maps for pictures that are letterboxed and not augmented, as in validation.

    The part that a picture fills is taken from the shape of its map.

    Args:
        names: of the source's pictures, by index.
        mapping: from the maps' classes to the student's.
    """

    def __init__(self, maps: StoredMaps, names: Sequence[str], mapping: Mapping | None = None) -> None:
        self.maps = maps
        self.names = list(names)
        self.mapping = mapping

    def __call__(self, batch: Batch) -> Tensor:
        """Raises ``SnowmeltError`` naming the picture that has no usable map."""
        size = batch.images.shape[-1]
        names = [self.names[index] for index in batch.indices.tolist()]
        found = [letterboxed_map(self.maps, name, size, mapping=self.mapping) for name in names]
        return torch.stack(found).to(batch.images.device)
