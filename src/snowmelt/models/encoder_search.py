"""Which encoders have exactly these tensors, found by building each candidate without memory."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from snowmelt.errors import SnowmeltError
from snowmelt.models.undrawn import Undrawn

Shapes = Mapping[str, tuple[int, ...]]

_STRANGE_AT_MOST = 4
"""Weights of shapes that the file lacks, before a candidate has as many weights of known shapes as the file."""
_NAMED_CLOSEST = 3

# Hints: where the file has such a key, the models of these timm modules are tried before all others.
_TIMM_MODULES: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (re.compile(r"model\.conv_stem\."), ("efficientnet", "mobilenetv3")),
    (re.compile(r"model\.layer1\."), ("resnet", "resnest", "res2net", "sknet")),
    (re.compile(r"model\.stages_0\.blocks\.0\.conv_dw\."), ("convnext",)),
    (re.compile(r"model\.s1\."), ("regnet",)),
)


@dataclass(frozen=True)
class EncoderSearch:
    """What a search found: encoders whose every key and shape is the file's, in the order of preference."""

    fits: tuple[str, ...]
    closest: tuple[str, ...]
    """Names of the candidates that went furthest, where none fits."""


class _DoesNotFit(BaseException):
    """Ends the building of a candidate. No ``Exception``, because smp and timm swallow those while they build."""


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes by key, without the counters that nothing reads and older files lack."""
    return {key: tuple(tensor.shape) for key, tensor in state.items() if not key.endswith("num_batches_tracked")}


def find_encoders(shapes: Shapes, depth: int) -> EncoderSearch:
    """Encoders of smp and timm with exactly these keys (relative to the encoder) and shapes at this depth.

    Order: smp's own in smp's order, then ``tu-`` ones with the shortest name first, which puts ``efficientnet_b0``
    before ``tf_efficientnet_b0`` and ``resnet18`` before ``resnetblur18``.

    A candidate is given up at its fifth weight of a shape that the file lacks, so that hundreds take a few seconds;
    but not once it has all that the file has, because timm builds the deeper stages and the classifier before it
    throws them away.
    """
    fits: list[str] = []
    progress: dict[str, int] = {}
    for names in _candidates(shapes):
        for name in names:
            built, progress[name] = _build_while_known(name, depth, shapes)
            if built is not None and shapes_of(built.state_dict()) == shapes:
                fits.append(name)
        if fits:
            break
    best = sorted(progress, key=lambda name: -progress[name])[:_NAMED_CLOSEST]
    return EncoderSearch(tuple(fits), tuple(name for name in best if progress[name]))


def build_without_memory(make: Callable[[], nn.Module]) -> nn.Module:
    """A module on the meta device, or a real one where its construction cannot do without numbers (smp's MiT)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice about names, from a trial that nobody asked for
        try:
            with torch.device("meta"), Undrawn():
                return make()
        except (RuntimeError, SnowmeltError) as error:  # the second is what build_network makes of the first
            if "meta" not in str(error):
                raise
        with torch.random.fork_rng(devices=[]):
            return make()


def _candidates(shapes: Shapes) -> Iterator[Sequence[str]]:
    """Groups of names; a later group is tried only where nothing in the earlier ones fits."""
    if not any(key.startswith("model.") for key in shapes):  # timm's universal encoder keeps all below ``model``
        yield list(smp.encoders.encoders)
        return
    for key, modules in _TIMM_MODULES:
        if any(key.match(name) for name in shapes):
            yield _tu_names([name for module in modules for name in timm.list_models(module=module)])
    yield _tu_names(timm.list_models())


def _tu_names(models: Sequence[str]) -> list[str]:
    return [f"tu-{name}" for name in sorted(set(models), key=lambda name: (len(name), name))]


def _build_while_known(name: str, depth: int, shapes: Shapes) -> tuple[nn.Module | None, int]:
    """The encoder, or None if it was given up or cannot be built; and how many of its weights have known shapes."""
    with _watch_weights([shape for shape in shapes.values() if len(shape) > 1]) as counts:
        try:
            encoder = build_without_memory(lambda: smp.encoders.get_encoder(name, depth=depth, weights=None))
        except _DoesNotFit:
            return None, counts["known"]
        except (ValueError, TypeError, KeyError, IndexError, AssertionError, AttributeError, RuntimeError):
            return None, 0  # not every timm model can be an encoder of every depth
        return encoder, counts["known"]


@contextmanager
def _watch_weights(weights: Sequence[tuple[int, ...]]) -> Iterator[dict[str, int]]:
    """Raises _DoesNotFit in this thread as soon as too many new weights have shapes that none of ``weights`` has."""
    known = set(weights)
    counts = {"known": 0, "strange": 0}
    thread = threading.get_ident()  # the hook is called for modules of all threads

    def check(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is None or parameter.ndim < 2 or threading.get_ident() != thread:
            return
        what = "known" if tuple(parameter.shape) in known else "strange"
        counts[what] += 1
        if counts["strange"] > _STRANGE_AT_MOST and counts["known"] < len(weights):
            raise _DoesNotFit

    handle = register_module_parameter_registration_hook(check)
    try:
        yield counts
    finally:
        handle.remove()
