"""Where an encoder's first weights come from: the hub, a file, or the random generator."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from snowmelt.errors import SnowmeltError
from snowmelt.models.hub import hub_state, require_hub
from snowmelt.models.networks import closest
from snowmelt.models.partition import partition
from snowmelt.models.reach import encoder_of
from snowmelt.models.soundness import listed, refuse_flaws
from snowmelt.models.weight_files import read_tensors

SOURCES = ("auto", "imagenet", "none")
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
_WRAPPERS = ("module.", "_orig_mod.", "encoder.", "backbone.", "model.")

# What timm, torchvision and smp call the layers behind the last feature map. An encoder has no use for them.
_HEAD = re.compile(r"(?:classifier|fc|_fc|head|head_dist|last_linear|conv_head|_conv_head|bn2|_bn1|norm|norm_head)\.")


@dataclass(frozen=True)
class WeightsReport:
    """What came of a wish for weights."""

    source: str
    """What was used: "imagenet", "none" or the path."""
    pretrained: bool
    warning: str | None = None
    """A sentence for the log and the run's summary, or None where all is as wished."""


def load_encoder_weights(model: nn.Module, encoder_name: str, source: str = "auto") -> WeightsReport:
    """Loads weights into ``model.encoder`` in place.

    ``source`` is "imagenet" (from the hub or its cache), "none" (leave the encoder as it is), "auto" (ImageNet if the
    hub is reachable or its cache holds the weights, else random with a warning), or the path of a .safetensors, .pth,
    .pt or .bin file with timm's or smp's key names, of an encoder or of a whole smp network.

    Nothing is loaded unless all that the encoder's forward pass needs is there. Matrices of another float type are
    converted. Layers of a classifier are skipped silently, other keys without use are named in the warning.

    Errors: SnowmeltError for an unknown source, weights that cannot be had, or keys that are missing, of another shape
    or broken (see ``find_flaws``).
    """
    encoder = encoder_of(model)
    if source == "none":
        return WeightsReport("none", pretrained=False)
    if source in ("auto", "imagenet"):
        try:
            state = hub_state(encoder_name, getattr(encoder, "_depth", 5))
        except SnowmeltError as error:
            if source == "imagenet":
                raise
            return WeightsReport("none", False, f"The encoder {encoder_name!r} starts from random weights: {error}.")
        refuse_flaws(encoder, state, f"ImageNet weights of {encoder_name!r}")
        nn.Module.load_state_dict(encoder, state)
        return WeightsReport("imagenet", pretrained=True)
    path = Path(source)
    if path.suffix.lower() not in _SUFFIXES:
        hint = closest(source, SOURCES) or f"; use {', '.join(SOURCES)} or a file ending in {', '.join(_SUFFIXES)}"
        raise SnowmeltError(f"unknown source of encoder weights {source!r}{hint}", code="pretrained-unknown")
    unexpected = _load_file(model, path)
    warning = f"{path} holds keys that {encoder_name!r} has no use for: {listed(unexpected)}." if unexpected else None
    return WeightsReport(str(path), True, warning)


def choose_weights(encoder_name: str) -> tuple[str, str | None]:
    """What "auto" means on this machine now: ("imagenet", None), or ("none", why) where they cannot be had.

    Lets a caller write the decision down before it loads anything.
    """
    try:
        require_hub(encoder_name)
    except SnowmeltError as error:
        return "none", f"the encoder {encoder_name!r} starts from random weights: {error}"
    return "imagenet", None


def _load_file(model: nn.Module, path: Path) -> list[str]:
    """Returns the keys of the file that found no place."""
    tensors = _of_encoder(read_tensors(path))
    encoder = encoder_of(model)
    expected = encoder.state_dict()
    targets = {_canonical(key): key for key in expected}
    needed = _needed_keys(model)
    state: dict[str, Tensor] = {}
    misshapen: dict[str, str] = {}
    unexpected: list[str] = []
    for key, tensor in tensors.items():
        target = targets.get(_canonical(key))
        if target is None:
            if not _HEAD.match(_bare(key)):
                unexpected.append(key)
        elif expected[target].shape == tensor.shape:
            state[target] = tensor
        elif target in needed:
            misshapen[target] = f"{key} {tuple(tensor.shape)} for {tuple(expected[target].shape)}"
        else:
            unexpected.append(key)
    missing = [key for key in needed if key not in state and key not in misshapen]
    if misshapen or missing:
        parts = {"missing": missing, "of another shape": list(misshapen.values()), "unexpected": unexpected}
        found = "; ".join(f"{len(keys)} {what}: {listed(keys)}" for what, keys in parts.items() if keys)
        raise SnowmeltError(f"{path} does not fit the encoder ({type(encoder).__name__}): {found}", code="weights-keys")
    refuse_flaws(encoder, {key: state[key] for key in needed}, str(path))
    nn.Module.load_state_dict(encoder, state, strict=False)
    return unexpected


def _of_encoder(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Of a whole network's weights, those of its encoder."""
    inside = {key: tensor for key, tensor in tensors.items() if re.match(r"(?:module\.|_orig_mod\.)*encoder\.", key)}
    return inside or tensors


def _bare(key: str) -> str:
    while key.startswith(_WRAPPERS):
        key = key.partition(".")[2]
    return key


def _canonical(key: str) -> str:
    """The same for timm's ``stages.0.blocks`` and for ``stages_0.blocks``, its name in a features-only network."""
    return _bare(key).replace(".", "_")


def _needed_keys(model: nn.Module) -> list[str]:
    """Keys of the encoder's state dict on which its forward pass depends."""
    parts = partition(model)
    idle = {name.removeprefix("encoder.") for name in parts.idle_parameters}
    idle_modules = {name.removeprefix("encoder.") for name in parts.idle_modules}
    return [
        key
        for key in encoder_of(model).state_dict()
        if key not in idle
        and key.rpartition(".")[0] not in idle_modules
        and not key.endswith("num_batches_tracked")  # older files lack it, and nothing reads it
    ]
