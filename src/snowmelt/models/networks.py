"""Building segmentation networks by name, always with random weights and never with network access.

Which encoder name to take: the reference experiment uses ``timm-efficientnet-b0`` and ``timm-efficientnet-b3``, as
checkpoints of the published tool do. ``tu-efficientnet_b0`` and ``tu-tf_efficientnet_b0`` are the same architecture
under other names, with other parameter names (``encoder.model.blocks`` instead of ``encoder.blocks``), another first
feature map and therefore another decoder, and, in the ``tf_`` one, other padding: no checkpoint of one loads into
another.
"""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import segmentation_models_pytorch as smp
import timm
from segmentation_models_pytorch.base import SegmentationModel

from snowmelt.errors import SnowmeltError

_ARCHITECTURES: dict[str, type[SegmentationModel]] = smp.MODEL_ARCHITECTURES_MAPPING
_UNET_CHANNELS = (256, 128, 64, 32, 16)  # smp's own widths, deepest first
_PER_LEVEL = ("unet", "unetplusplus", "manet")  # decoders that take one width per level


def build_network(
    architecture: str = "unet",
    encoder: str = "timm-efficientnet-b0",
    out_channels: int = 1,
    *,
    encoder_depth: int = 5,
    decoder_channels: int | Sequence[int] | None = None,
) -> SegmentationModel:
    """A network that maps (B, 3, H, W) to logits (B, ``out_channels``, H, W); H and W divisible by its stride.

    ``architecture`` is smp's name in lower case (``unet``, ``fpn``, ``deeplabv3plus``, ...), ``encoder`` an smp name
    or ``tu-`` with a timm name. ``encoder_depth`` counts halvings of the resolution. ``decoder_channels`` None means
    smp's widths; a shallower encoder keeps those of the finest levels.

    Errors: SnowmeltError for an unknown name, with the closest known ones, and for a combination that smp refuses.
    """
    key = architecture.lower().replace("-", "").replace("_", "")
    if key not in _ARCHITECTURES:
        raise SnowmeltError(
            f"unknown architecture {architecture!r}{closest(key, _ARCHITECTURES)}", code="architecture-unknown"
        )
    check_encoder(encoder)
    if out_channels < 1:
        raise SnowmeltError(f"a network needs at least one output channel, not {out_channels}", code="argument-value")
    options = _decoder_options(key, encoder_depth, decoder_channels)
    try:
        with accept_timm_prefix():
            return _ARCHITECTURES[key](
                encoder_name=encoder,
                encoder_depth=encoder_depth,
                encoder_weights=None,
                in_channels=3,
                classes=out_channels,
                **options,
            )
    except (ValueError, TypeError, KeyError, IndexError, AssertionError, RuntimeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise SnowmeltError(
            f"{architecture} with encoder {encoder!r} of depth {encoder_depth} cannot be built: {reason}",
            code="network-impossible",
        ) from error


def check_encoder(name: str) -> None:
    """Raises SnowmeltError, with the closest known names, unless smp or timm knows an encoder of this name."""
    if name in smp.encoders.encoders:
        return
    timm_name = timm_name_of(name)
    if timm_name is not None and timm.is_model(timm_name.split(".")[0]):
        return
    known = [*smp.encoders.encoders, *(f"tu-{model}" for model in timm.list_models())]
    raise SnowmeltError(f"unknown encoder {name!r}{closest(name, known)}", code="encoder-unknown")


def closest(name: str, known: Iterable[str]) -> str:
    """How an error message goes on after an unknown name: the closest known names, if any is close."""
    found = difflib.get_close_matches(name, list(known), n=3)
    return "; did you mean " + " or ".join(repr(match) for match in found) + "?" if found else ""


@contextmanager
def accept_timm_prefix() -> Iterator[None]:
    """Silences smp's advice to prefer ``tu-`` names: they are not checkpoint-compatible with the ``timm-`` ones."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`timm-` encoders are deprecated", category=DeprecationWarning)
        yield


def timm_name_of(name: str) -> str | None:
    """The timm model behind an encoder name, or None; ``timm-regnetx_002`` is what smp builds as a ``tu-`` encoder."""
    if name.startswith("tu-"):
        return name.removeprefix("tu-")
    if name.startswith("timm-") and smp.encoders.is_equivalent_to_timm_universal(name):
        timm_name = name.removeprefix("timm-")
        return f"tf_{timm_name}" if "mobilenetv3" in timm_name else timm_name
    return None


def _decoder_options(
    architecture: str, depth: int, channels: int | Sequence[int] | None
) -> dict[str, int | tuple[int, ...]]:
    options: dict[str, int | tuple[int, ...]] = {}
    if channels is not None:
        if "decoder_channels" not in inspect.signature(_ARCHITECTURES[architecture].__init__).parameters:
            raise SnowmeltError(
                f"the decoder of {architecture} has no decoder_channels to set", code="network-impossible"
            )
        if (architecture in _PER_LEVEL) != (not isinstance(channels, int)):
            wanted = f"{depth} widths, deepest first" if architecture in _PER_LEVEL else "one width"
            raise SnowmeltError(
                f"decoder_channels of {architecture} takes {wanted}, not {channels!r}", code="network-impossible"
            )
        options["decoder_channels"] = channels if isinstance(channels, int) else tuple(channels)
    elif architecture in _PER_LEVEL and 0 < depth < len(_UNET_CHANNELS):
        options["decoder_channels"] = _UNET_CHANNELS[-depth:]
    # smp enlarges by a constant whatever the depth, so that the output of these would miss the input's size.
    if architecture == "pspnet":
        options["upsampling"] = 2**depth
    elif architecture == "fpn":
        options["upsampling"] = 2 ** (depth - 3)
    return options
