"""The buffers of a network (norm statistics) before and after a step, without waiting for the device."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Buffers:
    """What a forward pass changes by itself, so that a step which is not made leaves no trace in it.

    A forward pass that overflows writes NaN or infinity into running means and variances. In train mode nobody reads
    them, so such a network goes on learning and answers nonsense ever after in eval mode. A frozen norm's never move.

    Copies are one flat tensor for each type of number, so that a step takes a handful of kernels whatever the number
    of norms.

    Args:
        module: whose buffers stay the same objects from now on, on the device where they stay.
    """

    def __init__(self, module: nn.Module) -> None:
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for buffer in module.buffers():
            by_type.setdefault(buffer.dtype, []).append(buffer)
        self._groups = list(by_type.values())
        self._kept: list[Tensor] = []

    def keep(self) -> None:
        """Remember the present values."""
        self._kept = self._present()

    def put_back(self) -> None:
        """The values of ``keep`` again."""
        for group, kept in zip(self._groups, self._kept, strict=True):
            _write(group, kept)

    def put_back_unless(self, good: Tensor) -> None:
        """The values of ``keep`` again where ``good``, () bool on the device, is false."""
        for group, present, kept in zip(self._groups, self._present(), self._kept, strict=True):
            _write(group, torch.where(good, present, kept))

    def finite(self, device: torch.device) -> Tensor:
        """() bool on ``device``: whether every value is a finite number."""
        sound = [torch.isfinite(values).all() for values in self._present() if values.is_floating_point()]
        return torch.stack(sound).all() if sound else torch.ones((), dtype=torch.bool, device=device)

    def _present(self) -> list[Tensor]:
        return [torch.cat([buffer.detach().reshape(-1) for buffer in group]) for group in self._groups]


def _write(group: list[Tensor], values: Tensor) -> None:
    parts = values.split([buffer.numel() for buffer in group])
    torch._foreach_copy_(group, [part.view(buffer.shape) for part, buffer in zip(parts, group, strict=True)])
