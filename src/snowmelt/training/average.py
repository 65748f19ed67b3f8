"""The exponential moving average of the weights: what is scored and saved as best in place of the last step's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from snowmelt.errors import SnowmeltError


class WeightAverage:
    """A second set of a network's values that follows the first: average <- average + (1 - d) (value - average).

    d is ``decay``, in the first steps less: min(decay, (1 + n) / (10 + n)) after n steps, so that the random start is
    soon forgotten (TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``). Parameters and floating-point
    buffers (norm statistics) are averaged; whole numbers, such as a norm's counter, are copied. What is frozen has
    never moved, so its average is itself to the bit.

    Nothing waits for the device, and no value is ever read by the host.

    Args:
        network: whose parameters and buffers stay the same objects from now on, on the device where they stay.

    Raises:
        SnowmeltError: a decay that is not between 0 and 1.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise SnowmeltError(
                f"the decay of the average of weights is {decay}; it must be between 0 and 1", code="settings-value"
            )
        self.decay = decay
        self._names = list(network.state_dict())
        values = list(network.state_dict(keep_vars=True).values())
        self._values = [value.detach() for value in values]  # the same memory, without a graph
        self._averages = [value.clone() for value in self._values]
        moving = [value.is_floating_point() for value in self._values]
        self._moving = [position for position, moves in enumerate(moving) if moves]
        self._counting = [position for position, moves in enumerate(moving) if not moves]

    def restart(self) -> None:
        """Begin anew from the network's present values."""
        torch._foreach_copy_(self._averages, self._values)

    def decay_at(self, steps: int) -> float:
        """The decay of the update that follows ``steps`` others."""
        return min(self.decay, (1 + steps) / (10 + steps))

    def update(self, steps: int) -> None:
        """Follow the network after an optimizer step, before which ``steps`` were done."""
        averages, values = self._pick(self._moving)
        torch._foreach_lerp_(averages, values, 1 - self.decay_at(steps))
        if self._counting:
            torch._foreach_copy_(*self._pick(self._counting))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network has the averaged values inside the ``with``, and its own to the bit after it.

        Values are exchanged inside the same tensors, so whatever holds the network, its modules or its parameters
        sees them. What changes them inside the ``with`` changes the average.
        """
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by the names of the network's ``state_dict``."""
        return dict(zip(self._names, self._averages, strict=True))

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Put the averages where ``state_dict`` had them."""
        torch._foreach_copy_(self._averages, [state[name] for name in self._names])

    def _exchange(self) -> None:
        held = [value.clone() for value in self._values]
        torch._foreach_copy_(self._values, self._averages)
        torch._foreach_copy_(self._averages, held)

    def _pick(self, positions: list[int]) -> tuple[list[Tensor], list[Tensor]]:
        return [self._averages[position] for position in positions], [self._values[position] for position in positions]
