"""The network among the tensors of a file, whatever its wrappers have put before its keys."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from snowmelt.errors import SnowmeltError

_BESIDE = ("decoder.", "segmentation_head.")  # what an smp network has beside its encoder
_ENCODER = re.compile(r"(?:^|(?<=\.))encoder\.")
_COMPILED = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_forward_module)\.")  # may stand anywhere in a key


def split_network(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(tensors of the smp network by their plain keys, all others by the file's keys).

    The network is where ``encoder.`` has a ``decoder.`` or ``segmentation_head.`` beside it. What stands before is
    the wrapper's (``model.``, ``module.``, ``student.``, ``model.module.``, ...) and is taken off, so that tensors of a
    loss or of a metric in the same file are among the others.

    Errors: SnowmeltError where there is no such network or more than one.
    """
    keys = {_COMPILED.sub("", key): key for key in tensors}
    prefix = _prefix_of(list(keys))
    network: dict[str, Tensor] = {}
    others: dict[str, Tensor] = {}
    for clean, key in keys.items():
        short = clean.removeprefix(prefix)
        if clean.startswith(prefix) and short.startswith(("encoder.", *_BESIDE)):
            network[short] = tensors[key]
        else:
            others[key] = tensors[key]
    return network, others


def _prefix_of(keys: list[str]) -> str:
    candidates = {key[: found.start()] for key in keys for found in _ENCODER.finditer(key)}
    prefixes = sorted(
        prefix
        for prefix in candidates
        if any(key.startswith(tuple(prefix + beside for beside in _BESIDE)) for key in keys)
    )
    if not prefixes:
        raise SnowmeltError(
            "no network of segmentation-models-pytorch (encoder, decoder, segmentation_head) is among its "
            f"{len(keys)} tensors, such as {', '.join(keys[:3])}",
            code="weights-unidentified",
        )
    if len(prefixes) > 1:
        raise SnowmeltError(
            f"it holds several networks (under {', '.join(prefix or 'no prefix' for prefix in prefixes)}); "
            "save the state dict of the one that is meant in a file of its own",
            code="weights-ambiguous",
        )
    return prefixes[0]
