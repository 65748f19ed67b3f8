"""Batch-norm statistics for a network that has never seen an image.

A random EfficientNet-B0 in eval mode divides by the initial variance of 1 where its activations are much smaller;
after some fifty layers the deepest features have a deviation of 1e-4 and tell the decoder nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from snowmelt.errors import SnowmeltError


def keeps_statistics(module: nn.Module) -> TypeGuard[_BatchNorm]:
    """Whether it is a batch norm with running statistics, which train mode moves."""
    return isinstance(module, _BatchNorm) and module.running_mean is not None


def calibrate_norms(model_or_encoder: nn.Module, batches: Iterable[Tensor]) -> int:
    """Estimates the running statistics of all batch norms anew, as plain averages over ``batches``.

    Only batch norms run in train mode, so dropout and stochastic depth are off; weights do not change, and modes and
    momenta come back as they were, those of frozen blocks too. Returns the number of batches.

    Shape: each batch (B, 3, H, W), normalised, on the model's device.
    Errors: SnowmeltError if there is no batch; the statistics are untouched then.
    """
    remaining = iter(batches)
    first = next(remaining, None)
    if first is None:
        raise SnowmeltError(
            "norm statistics need at least one batch of images, but none was given", code="call-incomplete"
        )
    norms = [module for module in model_or_encoder.modules() if keeps_statistics(module)]
    modes = [(module, module.training) for module in model_or_encoder.modules()]
    momenta = [norm.momentum for norm in norms]
    count = 0
    try:
        for module, _ in modes:
            module.training = False  # the flag, not .eval(): a frozen block overrides its train()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # torch's way to ask for a cumulative average
            norm.training = True
        with torch.no_grad():
            for batch in chain([first], remaining):
                model_or_encoder(batch)
                count += 1
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes:
            module.training = mode
    return count
