"""A teacher that is a network in this process."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from snowmelt.models import Normalisation, normalise


class NetworkTeacher:
    """A network that only teaches: eval mode for good, no gradients, its own normalisation.

    It is no ``nn.Module``, so no parent can take it into its parameters, its state or its train mode.

    It is a ``TeacherModel``, and where its classes and its output's size are the student's, a ``Teacher`` as it is.

    Args:
        network: takes (B, 3, H, W) float and gives (B, K, h, w) logits.
        normalisation: the network's own.
        autocast: context for its forward pass, ``None`` for full precision.
        name: for the log.
        digest: tells these weights from others; a resumed run must have the teacher that it had. Without it, it is
            computed from the weights and the normalisation.
        classes: names of its outputs; two for a network of one channel.
        size: (H, W) in pixels that it demands.
        folded: how many parameters went when norms were folded into convolutions.
    """

    def __init__(
        self,
        network: nn.Module,
        normalisation: Normalisation,
        autocast: Callable[[], AbstractContextManager[Any]] | None = None,
        name: str = "network",
        digest: str | None = None,
        classes: tuple[str, ...] | None = None,
        size: tuple[int, int] | None = None,
        folded: int = 0,
    ) -> None:
        self.network = put_to_sleep(network)
        self.normalisation = normalisation
        self.classes = classes
        self.size = size
        self.folded = folded
        self._autocast = autocast
        self._name = name
        self._digest = digest

    @property
    def digest(self) -> str:
        if self._digest is None:
            self._digest = digest_of_tensors(self.network.state_dict(), repr(self.normalisation))
        return self._digest

    def __call__(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            inputs = normalise(images, self.normalisation).contiguous(memory_format=torch.channels_last)
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


def digest_of_tensors(tensors: Mapping[str, Tensor], about: str) -> str:
    """Hex digest of names, types, shapes and values, and of ``about``; the order and the file do not matter.

    Counters of batches, which nothing reads in eval mode, are left out.
    """
    digest = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        if not name.endswith("num_batches_tracked"):
            tensor = tensors[name].detach().cpu().contiguous()
            digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _stay_in_eval(module: nn.Module, mode: bool = True) -> nn.Module:
    return module
