"""On the meta device nothing is drawn, and elsewhere the same numbers as ever."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from snowmelt.models.undrawn import Undrawn


def build() -> nn.Module:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    nn.init.trunc_normal_(module[2].weight, std=0.02)
    module[0].weight.data.normal_()
    return module


def test_real_networks_have_the_same_bits_and_leave_the_same_random_state() -> None:
    torch.manual_seed(3)
    plain, after = build().state_dict(), torch.rand(3)
    torch.manual_seed(3)
    with Undrawn():
        found = build().state_dict()
    assert torch.equal(torch.rand(3), after)
    assert all(torch.equal(found[name], value) for name, value in plain.items())


class Strict(TorchDispatchMode):
    """Nothing may be filled in, in whatever way it was asked for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket.__name__ not in ("normal_", "uniform_", "fill_", "zero_")
        return func(*args, **(kwargs or {}))


def test_on_the_meta_device_shapes_are_all_that_is_made() -> None:
    with torch.device("meta"), Strict(), pytest.raises(AssertionError):
        build()
    with torch.device("meta"), Strict(), Undrawn():
        made = build().state_dict()
    assert {name: value.shape for name, value in made.items()} == {
        name: value.shape for name, value in build().state_dict().items()
    }
    assert all(value.is_meta for value in made.values())
