"""What of a network becomes constants in the graph, and what cannot be exported."""

from __future__ import annotations

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from snowmelt.errors import SnowmeltError
from snowmelt.export import make_graph
from snowmelt.export.graph import Normalising
from snowmelt.export.padding import SettledConv2dSame, settle_padding
from snowmelt.models import Normalisation, normalise


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_padding_by_constants_is_the_same(kernel: int, stride: int, dilation: int) -> None:
    torch.manual_seed(0)
    layer = Conv2dSame(2, 4, kernel, stride=stride, dilation=dilation)
    network = nn.Sequential(layer, nn.ReLU())
    settled = settle_padding(network)
    assert isinstance(settled[0], SettledConv2dSame)  # type: ignore[index]
    assert type(layer) is Conv2dSame  # the network itself is left alone
    for sides in ((8, 12), (32, 6)):
        images = torch.randn(2, 2, *sides)
        assert torch.equal(settled(images), network(images))


def test_normalising_is_what_training_does() -> None:
    given = Normalisation((0.1, 0.5, 0.9), (0.2, 0.3, 0.4))
    images = torch.randint(0, 256, (2, 3, 4, 5)).byte()
    assert torch.equal(Normalising(nn.Identity(), given)(images.float()), normalise(images, given))


class Stubborn(nn.Module):
    """Asks a tensor for a number, which no graph can hold."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images if float(images.sum()) > 0 else images + 1


def test_what_cannot_be_exported_is_refused_in_one_line() -> None:
    with pytest.raises(SnowmeltError) as refused:
        make_graph(Stubborn())
    assert "cannot be exported to ONNX; with a fixed size (--size HxW) it may work" in str(refused.value)
    assert "\n" not in str(refused.value)
