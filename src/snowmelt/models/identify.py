"""Which network a state dict belongs to: the architecture by the decoder's keys, the encoder by trying them all."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from snowmelt.errors import SnowmeltError
from snowmelt.models.encoder_search import EncoderSearch, Shapes, build_without_memory, find_encoders, shapes_of
from snowmelt.models.networks import build_network

_HOW = "name the network: teacher.network.architecture=NAME and teacher.network.encoder=NAME"


@dataclass(frozen=True)
class IdentifiedNetwork:
    """What ``build_network`` needs to build the network that a file holds."""

    architecture: str
    encoder: str
    depth: int
    decoder_channels: int | tuple[int, ...] | None
    out_channels: int
    alternatives: tuple[str, ...] = ()
    """Other encoders with the same tensors; they may pad or pool in another way, which no tensor tells."""

    def build(self) -> nn.Module:
        """The network with random weights."""
        return build_network(
            self.architecture,
            self.encoder,
            self.out_channels,
            encoder_depth=self.depth,
            decoder_channels=self.decoder_channels,
        )

    def describe(self) -> dict[str, Any]:
        """The form in which weights files describe their network."""
        channels = list(self.decoder_channels) if isinstance(self.decoder_channels, tuple) else self.decoder_channels
        return {
            "architecture": self.architecture,
            "encoder": self.encoder,
            "depth": self.depth,
            "decoder_channels": channels,
            "out_channels": self.out_channels,
        }


@dataclass(frozen=True)
class _Decoder:
    """How one architecture of smp shows in the keys and shapes of its decoder."""

    mark: str
    """Start of a key that only this architecture has."""
    level: str | None = None
    """Pattern of the first convolution of each level, with the level's number; None: one width or none at all."""
    width: str | None = None
    """Key whose first dimension is the one width."""
    depths: tuple[int, ...] = (5, 4, 3)
    """Tried in this order where levels do not tell the depth."""
    counts_only: bool = False
    """The levels tell the depth, but their widths are not to be chosen."""
    may_skip_first: bool = False
    """There is no level for stride 2 where the encoder has no such feature map, as transformers have none."""


# The first whose mark is there has it.
_DECODERS = {
    "unetplusplus": _Decoder("decoder.blocks.x_0_0.", r"decoder\.blocks\.x_0_(\d+)\.conv1\.0\.weight"),
    "manet": _Decoder("decoder.blocks.0.hl_conv.", r"decoder\.blocks\.(\d+)\.conv1\.0\.weight"),
    "unet": _Decoder("decoder.blocks.0.conv1.", r"decoder\.blocks\.(\d+)\.conv1\.0\.weight"),
    "linknet": _Decoder("decoder.blocks.0.block.", r"decoder\.blocks\.(\d+)\.block\.0\.0\.weight", counts_only=True),
    "fpn": _Decoder("decoder.p5."),
    "upernet": _Decoder("decoder.fpn_lateral_blocks.", width="decoder.fusion_block.0.weight"),
    "pspnet": _Decoder("decoder.psp.blocks.0.pool.", depths=(3, 5, 4)),
    "pan": _Decoder("decoder.fpa.", width="decoder.fpa.branch1.1.conv.weight"),
    "deeplabv3plus": _Decoder("decoder.aspp.0.", width="decoder.aspp.0.project.0.weight"),
    "deeplabv3": _Decoder("decoder.aspp.convs.", width="decoder.aspp.project.0.weight"),
    "segformer": _Decoder(
        "decoder.mlp_stage.", r"decoder\.mlp_stage\.(\d+)\.linear\.weight", counts_only=True, may_skip_first=True
    ),
    "dpt": _Decoder("decoder.reassemble_blocks.", depths=(4,)),
}
_HEADS = ("segmentation_head.0.weight", "segmentation_head.head.4.weight")  # the second is DPT's


def identify_network(state: Mapping[str, Tensor], known: Mapping[str, Any] | None = None) -> IdentifiedNetwork:
    """The network of segmentation-models-pytorch that ``state`` belongs to.

    Args:
        state: tensors by smp's keys, ``encoder.``, ``decoder.`` and ``segmentation_head.``, without a prefix.
        known: what the caller knows of ``architecture``, ``encoder``, ``depth`` and ``decoder_channels``; it is taken
            as it is, even where the tensors say otherwise.

    An encoder fits only if every key and every shape is the file's. What tensors do not tell (output stride,
    interpolation) is smp's default. Where several encoders fit, the first in the order of ``find_encoders`` is taken
    and the others are its ``alternatives``.

    Errors: SnowmeltError that says what was seen where no architecture or no encoder fits.
    """
    given = {key: value for key, value in (known or {}).items() if value is not None}
    shapes = shapes_of(state)
    architecture = given.get("architecture") or _architecture_of(shapes)
    decoder = _DECODERS.get(_plain(architecture), _Decoder(""))
    depths, channels = _levels(decoder, shapes)
    if "depth" in given:
        depths = (given["depth"],)
    channels = given.get("decoder_channels", channels)
    if isinstance(channels, list):
        channels = tuple(channels)

    def candidate(encoder: str, depth: int, alternatives: tuple[str, ...] = ()) -> IdentifiedNetwork:
        return IdentifiedNetwork(architecture, encoder, depth, channels, _out_channels(shapes), alternatives)

    if "encoder" in given:
        candidates = [candidate(given["encoder"], depth) for depth in depths]
        return next((one for one in candidates if len(depths) == 1 or _fits(one, shapes)), candidates[0])
    return _search(candidate, depths, shapes)


def _search(make: Callable[..., IdentifiedNetwork], depths: tuple[int, ...], shapes: Shapes) -> IdentifiedNetwork:
    inside = {key.removeprefix("encoder."): shape for key, shape in shapes.items() if key.startswith("encoder.")}
    half: IdentifiedNetwork | None = None
    seen: EncoderSearch | None = None
    for depth in depths:
        search = find_encoders(inside, depth)
        whole = [name for name in search.fits if _fits(make(name, depth), shapes)]
        if whole:
            return make(whole[0], depth, tuple(whole[1:]))
        if search.fits and half is None:
            half = make(search.fits[0], depth, search.fits[1:])
        seen = seen or search
    if half is not None:  # the encoder is certain; whoever loads the tensors will name what is wrong in the decoder
        return half
    closest = f"; closest: {', '.join(seen.closest)}" if seen and seen.closest else ""
    raise SnowmeltError(
        f"no known encoder has these tensors: {_sight(inside)}{closest}; {_HOW}", code="weights-unidentified"
    )


def _architecture_of(shapes: Shapes) -> str:
    for name, decoder in _DECODERS.items():
        if any(key.startswith(decoder.mark) for key in shapes):
            return name
    found = [key for key in shapes if key.startswith("decoder.")][:3]
    raise SnowmeltError(
        f"the decoder is of no known architecture (keys such as {', '.join(found) or 'none'}); {_HOW}",
        code="weights-unidentified",
    )


def _plain(architecture: str) -> str:
    return architecture.lower().replace("-", "").replace("_", "")


def _levels(decoder: _Decoder, shapes: Shapes) -> tuple[tuple[int, ...], int | tuple[int, ...] | None]:
    """(depths to try, decoder channels), as the decoder's shapes tell them."""
    if decoder.level is not None:
        widths = {int(found[1]): shape[0] for key, shape in shapes.items() if (found := re.match(decoder.level, key))}
        if not widths:
            return decoder.depths, None
        channels = None if decoder.counts_only else tuple(widths[level] for level in sorted(widths))
        depths = (len(widths), len(widths) + 1) if decoder.may_skip_first and len(widths) < 5 else (len(widths),)
        return depths, channels
    if decoder.width is not None and decoder.width in shapes:
        return decoder.depths, shapes[decoder.width][0]
    return decoder.depths, None


def _out_channels(shapes: Shapes) -> int:
    for key in _HEADS:
        if key in shapes:
            return shapes[key][0]
    raise SnowmeltError(
        f"there is no {_HEADS[0]}, so the number of classes is unknown; the whole network is needed",
        code="weights-unidentified",
    )


def _fits(network: IdentifiedNetwork, shapes: Shapes) -> bool:
    """Whether every key and shape of the network is in the file; what else the file holds does not matter."""
    try:
        expected = shapes_of(build_without_memory(network.build).state_dict())
    except SnowmeltError:  # a combination that smp refuses
        return False
    return expected.items() <= shapes.items()


def _sight(inside: Shapes) -> str:
    first = next((f"{key} {shape}" for key, shape in inside.items() if len(shape) == 4), "none")
    return f"{len(inside)} keys, first convolution {first}"
