"""What cannot come out of training is found by name, and what merely looks odd is let through."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from snowmelt.errors import SnowmeltError
from snowmelt.models import find_flaws, refuse_flaws


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.ConvTranspose2d(4, 4, 2),
        nn.Linear(4, 2),
    )


def flaws_after(key: str, value: float | Tensor) -> dict[str, str]:
    model = network()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state[key] = state[key].copy_(torch.as_tensor(value))
    return find_flaws(model, state)


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("0.weight", float("nan"), "NaN"),
        ("0.bias", float("inf"), "infinite"),
        ("0.weight", 0.0, "zero variance"),
        ("2.weight", 0.3, "zero variance"),
        ("3.weight", -1.0, "zero variance"),
        ("4.weight", 1.0, "zero variance"),
        ("1.running_var", 0.0, "all variances zero"),
        ("1.running_var", torch.tensor([1.0, 1.0, -1e-9, 1.0]), "negative variance"),
        ("1.running_mean", float("nan"), "NaN"),
    ],
)
def test_flaws(key: str, value: float | Tensor, what: str) -> None:
    assert flaws_after(key, value) == {key: what}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("1.weight", 1.0),  # a fresh norm
        ("1.weight", 0.0),  # a block that starts as an identity
        ("0.bias", 0.0),
        ("1.running_var", torch.tensor([1.0, 0.0, 1.0, 1.0])),  # a channel that died
        ("1.running_mean", 0.0),
        ("1.num_batches_tracked", 0.0),
    ],
)
def test_what_may_be_constant(key: str, value: float | Tensor) -> None:
    assert flaws_after(key, value) == {}


def test_a_weight_of_one_element_is_no_constant_layer() -> None:
    scale = nn.Conv2d(1, 1, 1)
    assert find_flaws(scale, scale.state_dict()) == {}


def test_half_precision_is_looked_at_as_it_is() -> None:
    model = network().half()
    state = dict(model.state_dict())
    state["0.weight"] = torch.full_like(state["0.weight"], 0.5)
    assert find_flaws(model, state) == {"0.weight": "zero variance"}


def test_the_refusal_is_one_line_with_all_names() -> None:
    model = network()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state["0.weight"].zero_()
    state["4.bias"].fill_(float("nan"))
    with pytest.raises(SnowmeltError) as caught:
        refuse_flaws(model, state, "file.pth")
    assert str(caught.value) == (
        "file.pth: 2 broken: 0.weight (zero variance), 4.bias (NaN); such weights are damaged, take a sound copy"
    )
    refuse_flaws(model, model.state_dict(), "file.pth")
