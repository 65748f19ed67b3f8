"""From probabilities of one size to the mask and the probabilities of another."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from snowmelt.evaluation import predict_classes
from snowmelt.inference import Answer, class_probabilities


def random_logits(channels: int, height: int = 12, width: int = 16) -> torch.Tensor:
    return torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(channels)) * 3


@pytest.mark.parametrize("channels", [1, 2, 3, 7])
def test_at_the_networks_size_it_is_what_scoring_sees(channels: int) -> None:
    logits = random_logits(channels)
    answer = Answer((12, 16), channels)
    answer.fill(class_probabilities(logits)[0])
    assert torch.equal(answer.mask.long(), predict_classes(logits)[0])


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("shape", [(48, 64), (25, 33), (5, 7), (12, 40)])
def test_probabilities_are_resized_and_then_the_largest_is_taken(channels: int, shape: tuple[int, int]) -> None:
    values = class_probabilities(random_logits(channels))
    answer = Answer(shape, channels, keep=True)
    answer.fill(values[0])
    resized = F.interpolate(values, size=shape, mode="bilinear", antialias=True)[0]
    expected = (resized[0] > 0.5).long() if channels == 1 else resized.argmax(dim=0)
    assert torch.equal(answer.mask.long(), expected)
    assert answer.probabilities is not None
    planes = torch.cat([1 - resized, resized]) if channels == 1 else resized
    torch.testing.assert_close(answer.probabilities.float(), planes, atol=1e-3, rtol=0)
    torch.testing.assert_close(answer.probabilities.float().sum(0), torch.ones(shape), atol=2e-3, rtol=0)


@pytest.mark.parametrize("channels", [1, 4])
def test_row_by_row_gives_the_same_as_at_once(channels: int) -> None:
    values = class_probabilities(random_logits(channels))[0]
    whole, parts = Answer((12, 16), channels, keep=True), Answer((12, 16), channels, keep=True)
    whole.fill(values)
    for top, bottom in ((0, 1), (1, 7), (7, 12)):
        parts.put_rows(top, values[:, top:bottom])
    assert torch.equal(whole.mask, parts.mask)
    assert whole.probabilities is not None and parts.probabilities is not None
    assert torch.equal(whole.probabilities, parts.probabilities)


def test_of_equals_the_first_counts() -> None:
    answer = Answer((1, 3), 3)
    answer.fill(torch.tensor([[[0.4, 0.2, 0.3]], [[0.4, 0.4, 0.3]], [[0.2, 0.4, 0.4]]]))
    assert answer.mask.tolist() == [[0, 1, 2]]


def test_half_precision_logits_do_not_lose_more_on_the_way() -> None:
    logits = random_logits(5).bfloat16()
    torch.testing.assert_close(class_probabilities(logits), logits.float().softmax(1))
