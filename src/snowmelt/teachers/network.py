"""A teacher that is a network in this process."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from snowmelt.models import Normalisation, normalise


class NetworkTeacher:
    """A network that only teaches: eval mode for good, no gradients, its own normalisation.

    It is no ``nn.Module``, so no parent can take it into its parameters, its state or its train mode.

    Args:
        network: takes (B, 3, H, W) float and gives (B, C, H, W) logits.
        normalisation: the network's own.
        autocast: context for its forward pass, ``None`` for full precision.
        name: for the log.
        digest: tells these weights from others; a resumed run must have the teacher that it had.
    """

    def __init__(
        self,
        network: nn.Module,
        normalisation: Normalisation,
        autocast: Callable[[], AbstractContextManager[Any]] | None = None,
        name: str = "network",
        digest: str | None = None,
    ) -> None:
        self.network = put_to_sleep(network)
        self._normalisation = normalisation
        self._autocast = autocast
        self._name = name
        self.digest = digest

    def __call__(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            inputs = normalise(images, self._normalisation).contiguous(memory_format=torch.channels_last)
            if self._autocast is None:
                return self.network(inputs).float()
            with self._autocast():
                return self.network(inputs).float()

    def describe(self) -> str:
        return self._name


def put_to_sleep(network: nn.Module) -> nn.Module:
    """Eval mode that ``train()`` cannot flip, and no parameter with a gradient."""
    network.eval()
    network.requires_grad_(False)
    for module in network.modules():
        module.__dict__["train"] = functools.partial(_stay_in_eval, module)
    return network


def _stay_in_eval(module: nn.Module, mode: bool = True) -> nn.Module:
    return module
