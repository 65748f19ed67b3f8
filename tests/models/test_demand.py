"""A hostile description takes no memory."""

from __future__ import annotations

import pytest
import torch

from snowmelt.errors import SnowmeltError
from snowmelt.models import IdentifiedNetwork, refuse_demand


def test_a_description_cannot_ask_for_a_network_of_any_size() -> None:
    """Of what it asks for only the shapes are made; some hundred megabytes more than the file has are let pass."""
    state = {"encoder.conv.weight": torch.zeros(10)}
    small = IdentifiedNetwork("unet", "resnet18", 5, (16, 16, 8, 8, 8), 1)
    refuse_demand(small.build, state)
    huge = IdentifiedNetwork("unet", "resnet18", 5, (40_000, 40_000, 8, 8, 8), 1)
    with pytest.raises(SnowmeltError, match=r"describes a network of \d\d,\d{3},\d{3},\d{3} numbers, but holds 10;"):
        refuse_demand(huge.build, state)
