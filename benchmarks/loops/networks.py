"""The networks that all contenders train, and how their blocks are frozen; random weights do for a speed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from loops.task import ALL, Task
from snowmelt.models import build_network, calibrate_norms, encoder_blocks

CALIBRATION = (2, 3, 96, 96)


def build(encoder: str, task: Task, seed: int) -> nn.Module:
    """A UNet of segmentation-models-pytorch as it comes: float32, NCHW.

    Its norms know the spread of their inputs. With the statistics of a new network, a random encoder in eval mode
    gives values next to nothing, and arithmetic on them need not take as long as on real ones.
    """
    torch.manual_seed(seed)
    network = build_network("unet", encoder, task.channels)
    calibrate_norms(network, [torch.randn(CALIBRATION) for _ in range(2)])
    return network


def freezer(network: nn.Module) -> Callable[[int], None]:
    """A function that leaves the given number of blocks trainable, deepest first, as most loops do: by a flag."""
    blocks = [list(block.parameters.values()) for block in encoder_blocks(network)]

    def freeze(thawed: int) -> None:
        learning = len(blocks) if thawed == ALL else thawed
        for position, parameters in enumerate(blocks):
            for parameter in parameters:
                parameter.requires_grad_(position < learning)
                if position >= learning:
                    parameter.grad = None

    return freeze


def synchroniser(device: str) -> Callable[[], None]:
    """What waits for the device."""
    return torch.cuda.synchronize if device == "cuda" else lambda: None
