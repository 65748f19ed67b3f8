"""A trained student as what the export room takes: the plain network, and what its file is to say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from snowmelt._version import __version__
from snowmelt.export import Facts, stride_of
from snowmelt.jobs.exporting.request import FOLDER
from snowmelt.jobs.opening import TrainedRun
from snowmelt.models import build_network
from snowmelt.teachers.network import digest_of_tensors


def plain_network(trained: TrainedRun) -> nn.Module:
    """The student as smp itself builds it, in its plain memory format, without what quickens training."""
    described: Mapping[str, Any] = trained.metadata["network"]
    network = build_network(
        described["architecture"],
        described["encoder"],
        described["out_channels"],
        encoder_depth=described["depth"],
        decoder_channels=described["decoder_channels"],
    )
    network.load_state_dict(trained.network.state_dict())
    return network.eval()


def facts_of(
    trained: TrainedRun, network: nn.Module, size: tuple[int, int] | None = None, baked: bool = False
) -> Facts:
    """What an exported file of this student is to say about itself."""
    return Facts(
        classes=trained.classes,
        mean=trained.normalisation.mean,
        std=trained.normalisation.std,
        normalised_inside=baked,
        image_size=trained.image_size,
        stride=stride_of(network),
        source_run=str(trained.metadata.get("run") or trained.name),
        snowmelt_version=__version__,
        size=size,
        network=dict(trained.metadata["network"]),
        weights_digest=digest_of_tensors(network.state_dict(), "exported"),
    )


def place_of(trained: TrainedRun, marks: str, suffix: str) -> Path:
    """Where an export lies unless another place is named: in the run's ``export/``, else beside the lone file."""
    if trained.root is None:
        return trained.weights.with_name(f"{trained.weights.stem}-export{marks}{suffix}")
    return trained.root / FOLDER / f"{trained.name}{marks}{suffix}"
