"""ImageNet weights from the hub, with an answer within seconds where there is no hub.

The hub's client retries for minutes when a connection hangs, so reachability is found out first, once per process.
"""

from __future__ import annotations

import os
import queue
import threading
import urllib.request
from functools import lru_cache

import huggingface_hub
import segmentation_models_pytorch as smp
import timm
import torch
from huggingface_hub import constants
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.models.networks import accept_timm_prefix, check_encoder, timm_name_of

PROBE_SECONDS = 3.0


def hub_state(encoder_name: str, depth: int) -> dict[str, Tensor]:
    """The state dict of an encoder with ImageNet weights, built and loaded by smp and timm themselves.

    Errors: SnowmeltError if there are no such weights, or the hub cannot be reached and the cache has no copy.
    """
    require_hub(encoder_name)
    source = "imagenet" if timm_name_of(encoder_name) is None else True
    try:
        # Building the encoder draws its random weights first; the caller's random numbers must not depend on
        # that.
        with accept_timm_prefix(), torch.random.fork_rng(devices=[]):
            encoder = smp.encoders.get_encoder(encoder_name, depth=depth, weights=source)
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SnowmeltError(
            f"loading ImageNet weights of {encoder_name!r} failed: {reason}", code="hub-unreachable"
        ) from error
    return encoder.state_dict()


def require_hub(encoder_name: str) -> None:
    """Make sure that there are ImageNet weights of an encoder, and that they are in the cache or within reach.

    Errors: SnowmeltError that says which of these is not so.
    """
    repository = _repository(encoder_name)
    if not _is_cached(*repository) and not hub_is_reachable():
        raise SnowmeltError(
            f"ImageNet weights of {encoder_name!r} are not in the local cache and the hub cannot be reached; "
            "go online, give the path of a weight file, or use 'none'",
            code="hub-unreachable",
        )


@lru_cache(maxsize=1)
def hub_is_reachable() -> bool:
    """Whether the hub answers over HTTPS within three seconds, name lookup and proxies included.

    Decided once per process, so that student and teacher of a run are treated alike.
    """
    if constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return False
    answers: queue.Queue[bool] = queue.Queue()
    # A name lookup knows no timeout; a thread that nobody waits for does.
    threading.Thread(target=lambda: answers.put(_answers(constants.ENDPOINT)), daemon=True).start()
    try:
        return answers.get(timeout=PROBE_SECONDS)
    except queue.Empty:
        return False


def _answers(url: str) -> bool:
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS) as response:
            return bool(response.status < 400)
    except (OSError, ValueError):  # no route, refused, a bad certificate, an error status, a broken proxy setting
        return False


def _repository(encoder_name: str) -> tuple[str, str | None]:
    """(repository, revision) of the weights on the hub."""
    check_encoder(encoder_name)
    timm_name = timm_name_of(encoder_name)
    settings: dict[str, dict[str, str]] = {}
    if timm_name is None:
        settings = smp.encoders.encoders[encoder_name]["pretrained_settings"]
        if "imagenet" in settings:
            return settings["imagenet"]["repo_id"], settings["imagenet"]["revision"]
    else:
        config = timm.get_pretrained_cfg(timm_name)
        if config is not None and config.has_weights:
            return config.hf_hub_id or "", None
    known = f" (there are: {', '.join(settings)})" if settings else ""
    raise SnowmeltError(
        f"there are no ImageNet weights of {encoder_name!r}{known}; give a file or use 'none'",
        code="pretrained-unknown",
    )


def _is_cached(repository: str, revision: str | None) -> bool:
    if not repository:
        return False
    found = (
        huggingface_hub.try_to_load_from_cache(repository, file, revision=revision)
        for file in ("model.safetensors", "pytorch_model.bin")
    )
    return any(isinstance(path, str) for path in found)
