"""Weights alone: as a file of ours, and as the folder that ``smp.from_pretrained`` opens."""

from __future__ import annotations

import contextlib
import copy
import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import nn

from snowmelt.errors import SnowmeltError
from snowmelt.export.graph import stride_of
from snowmelt.export.parity import invent_images
from snowmelt.models import save_weights, unreached_parameters

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
CARD_FILE = "README.md"


def without_idle(network: nn.Module) -> nn.Module:
    """A copy in which parameters that the forward pass never reaches are zero.

    They were never trained and say nothing (the classifier's last convolution in ``timm-efficientnet-*``, say), but
    smp loads strictly and wants the tensors to be there. If the answers change after all, the copy is a plain one.
    """
    emptied = copy.deepcopy(network).eval()
    idle = unreached_parameters(emptied)
    if not idle:
        return emptied
    with torch.no_grad():
        images = _example(network)
        expected = emptied(images)
        for parameter in idle.values():
            parameter.zero_()
        same = torch.equal(emptied(images), expected)
    return emptied if same else copy.deepcopy(network).eval()


def write_safetensors(path: Path, network: nn.Module, metadata: Mapping[str, Any]) -> None:
    """One file that Snowmelt opens again as it opens a checkpoint; whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SnowmeltError(
            f"{path}: cannot be written ({error}); choose another place with --output", code="file-unwritable"
        ) from error
    save_weights(path, without_idle(network), metadata)


def write_pretrained(folder: Path, network: nn.Module, metadata: Mapping[str, Any], card: str) -> None:
    """``config.json``, ``model.safetensors`` and ``README.md`` in ``folder``, which exists, and read them back.

    The weights carry our metadata as well, so that Snowmelt opens ``model.safetensors`` as a file of its own.

    Args:
        network: of smp, built by its own constructor, which remembers its arguments.

    Errors: SnowmeltError where smp does not build the same network from the folder.
    """
    (folder / CARD_FILE).write_text(card, encoding="utf-8")  # smp leaves a card alone that is there
    emptied = without_idle(network)
    emptied.save_pretrained(folder)  # type: ignore[operator]
    save_weights(folder / WEIGHTS_FILE, emptied, metadata)
    shutil.copymode(folder / CONFIG_FILE, folder / WEIGHTS_FILE)  # safetensors lets nobody else read what it writes
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it says that it reads a folder
            again = smp.from_pretrained(folder).eval()
    except (RuntimeError, TypeError, ValueError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SnowmeltError(
            f"smp does not open its own layout of this network again: {reason}", code="export-not-equal"
        ) from error
    images = _example(network)
    with torch.no_grad():
        same = torch.equal(again(images), copy.deepcopy(network).eval()(images))
    if not same:
        raise SnowmeltError(
            "smp opens the exported folder, but the network answers otherwise; nothing was written",
            code="export-not-equal",
        )


def _example(network: nn.Module) -> torch.Tensor:
    """(1, 3, N, N) float32, about as large as normalised pixels."""
    stride = stride_of(network)
    side = -(-128 // stride) * stride
    return invent_images((1, side, side), seed=7) / 64 - 2
