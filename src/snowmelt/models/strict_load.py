"""Loading a whole network: all that its forward pass needs is there and sound, or nothing is loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from snowmelt.errors import SnowmeltError
from snowmelt.models.reach import trace_reach
from snowmelt.models.soundness import find_flaws, listed, tell_flaws

# What encoders keep of the classifier that they were, and what no feature map comes from.
_CLASSIFIER = re.compile(r"encoder\.(?:model\.)?(?:classifier|_?fc|head|last_linear|_?conv_head|bn2|_bn1|norm)\.")


def load_strictly(network: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Loads ``state`` into an smp network in place; the keys that found no use.

    Counters of batches may be missing, and so may parameters that no output depends on; they stay as they are.
    Tensors of another float type are converted.

    Errors: SnowmeltError that names every needed key that is missing, of another shape or broken (``find_flaws``), and
    every key of the network's own parts that it has no place for; up to twenty of each.
    """
    expected = network.state_dict()
    usable = {key: value for key, value in state.items() if key in expected and expected[key].shape == value.shape}
    absent = [key for key in expected if key not in usable and not key.endswith("num_batches_tracked")]
    if absent:  # only then does it matter what the forward pass needs, which takes a forward pass to find out
        needed = _needed_keys(network)
        absent = [key for key in absent if key in needed]
    unexpected = [key for key in state if key not in expected]
    problems = {
        "missing": [key for key in absent if key not in state],
        "of another shape": [
            f"{key} {tuple(state[key].shape)} for {tuple(expected[key].shape)}" for key in absent if key in state
        ],
        "unexpected": [key for key in unexpected if not _CLASSIFIER.match(key)],
    }
    found = [f"{len(keys)} {what}: {listed(keys)}" for what, keys in problems.items() if keys]
    if flaws := find_flaws(network, usable):
        found.append(tell_flaws(flaws))
    if found:
        raise SnowmeltError("; ".join(found), code="weights-keys")
    nn.Module.load_state_dict(network, usable, strict=False)
    return [key for key in state if key not in usable]


def _needed_keys(network: nn.Module) -> set[str]:
    """Keys of the state dict on which the output depends; a buffer goes with the parameters of its module."""
    reached = trace_reach(network).parameters
    needed = set(reached)
    for name, module in network.named_modules():
        prefix = f"{name}." if name else ""
        own = [f"{prefix}{parameter}" for parameter, _ in module.named_parameters(recurse=False)]
        if not own or reached.intersection(own):
            needed.update(f"{prefix}{buffer}" for buffer, _ in module.named_buffers(recurse=False))
    return needed
