"""The measured effect is the loss's own, and the choice follows from it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from cached_pictures import smooth_logits
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.losses import distillation_kl
from snowmelt.teachers.cache import TOLERANCE, Effect, Encoding, candidates, choose, measure
from snowmelt.teachers.cache.resampling import enlarge

N = 32
FILLED = [(32, 32), (32, 20), (9, 32)]


def answers(channels: int, spread: float = 4.0) -> Tensor:
    return torch.stack([smooth_logits(channels, N, seed, spread) for seed in range(3)])


def decoded(encoding: Encoding, logits: Tensor) -> Tensor:
    rows = [encoding.split(encoding.encode(each, size)) for each, size in zip(logits, FILLED, strict=True)]
    planes = tuple(torch.stack([torch.from_numpy(plane) for plane in plane]) for plane in zip(*rows, strict=True))
    return enlarge(encoding.decode(planes), N)


def inside() -> Tensor:
    valid = torch.zeros(3, N, N, dtype=torch.bool)
    for number, (height, width) in enumerate(FILLED):
        valid[number, :height, :width] = True
    return valid


@pytest.mark.parametrize("channels", [1, 7])
@pytest.mark.parametrize("stride", [1, 4])
def test_the_effect_is_the_loss_that_a_perfect_student_would_have(channels: int, stride: int) -> None:
    logits, encoding = answers(channels), Encoding("uint8", stride, None, channels, N)
    for temperature in (1.0, 4.0):
        (effect,) = measure([encoding], logits, FILLED, [temperature])
        expected = distillation_kl(decoded(encoding, logits).double(), logits.double(), temperature, inside())
        assert effect.kl == pytest.approx(float(expected), rel=1e-3, abs=1e-7)
        assert effect.bytes == encoding.row_bytes


@pytest.mark.parametrize("channels", [1, 7])
def test_the_share_and_the_variation_against_numpy(channels: int) -> None:
    logits, encoding = answers(channels), Encoding("uint8", 4, None, channels, N)

    def distributions(maps: Tensor, temperature: float) -> np.ndarray:
        pixels = maps.double().permute(0, 2, 3, 1)[inside()].numpy() / temperature
        if channels == 1:
            return np.concatenate([1 / (1 + np.exp(pixels)), 1 / (1 + np.exp(-pixels))], axis=1)
        return np.exp(pixels) / np.exp(pixels).sum(1, keepdims=True)

    exact = distributions(logits, 3.0)
    to_learn = 9 * (exact * np.log(exact / exact.mean(0))).sum(1).mean()
    (effect,) = measure([encoding], logits, FILLED, [3.0])
    assert effect.share == pytest.approx(effect.kl / to_learn, rel=1e-3)
    variation = 0.5 * np.abs(distributions(logits, 1.0) - distributions(decoded(encoding, logits), 1.0)).sum(1).mean()
    assert effect.total_variation == pytest.approx(variation, rel=1e-3)


def test_the_worst_temperature_counts() -> None:
    logits, encoding = answers(7), Encoding("uint8", 2, None, 7, N)
    single = [measure([encoding], logits, FILLED, [temperature])[0] for temperature in (1.0, 2.0, 5.0)]
    (worst,) = measure([encoding], logits, FILLED, [1.0, 2.0, 5.0])
    assert worst == max(single, key=lambda effect: effect.share)
    assert len({effect.share for effect in single}) == 3


def test_coarser_is_worse_and_half_precision_is_next_to_exact() -> None:
    effects = measure(candidates(3, N), answers(3), FILLED, [1.0, 4.0])
    for precision in ("uint8", "float16"):
        shares = [each.share for each in effects if each.encoding.precision == precision]
        assert shares == sorted(shares) and len(set(shares)) == 4
    finest = next(each for each in effects if each.encoding == Encoding("float16", 1, None, 3, N))
    assert finest.share < 1e-5


def test_a_teacher_that_always_says_the_same_divides_nothing_by_nothing() -> None:
    flat = torch.full((1, 1, N, N), 2.0)
    (effect,) = measure([Encoding("uint8", 8, None, 1, N)], flat, [(N, N)], [1.0])
    assert 0 <= effect.share < 1e-3


def test_padding_has_no_say() -> None:
    logits = answers(1)
    rubbish = torch.where(inside()[:, None], logits, torch.tensor(float("nan")))
    encodings = candidates(1, N)
    assert measure(encodings, rubbish, FILLED, [2.0]) == measure(encodings, logits, FILLED, [2.0])


def effect(name: int, size: int, share: float) -> Effect:
    return Effect(Encoding("uint8", 1, None, 1, name), size, share, share, 0.0)


def test_the_smallest_that_is_good_enough() -> None:
    effects = [effect(1, 400, 0.0), effect(2, 200, 0.01), effect(3, 100, 0.011), effect(4, 200, 0.004)]
    assert choose(effects, 0.01).encoding.size == 4  # of two with equal bytes the more exact one
    assert choose(effects, 0.011).encoding.size == 3
    assert choose(effects, 0.001).encoding.size == 1
    assert choose(list(reversed(effects)), 0.01).encoding.size == 4


def test_the_most_exact_one_where_none_is_good_enough_and_it_is_said() -> None:
    lines: list[str] = []
    chosen = choose([effect(1, 100, 0.3), effect(2, 400, 0.2), effect(3, 300, 0.2)], 0.01, lines.append)
    assert chosen.encoding.size == 3
    assert len(lines) == 1 and "0.2" in lines[0] and "teacher.mode=live" in lines[0] and "\n" not in lines[0]
    choose([effect(1, 100, 0.3)], 0.01)


def test_nothing_is_said_where_one_is_good_enough() -> None:
    lines: list[str] = []
    choose([effect(1, 100, 0.0)], say=lines.append)
    assert lines == []


@pytest.mark.parametrize(("sharp", "expected"), [(False, 8), (True, 1)])
def test_the_stride_follows_the_detail_of_the_answers(sharp: bool, expected: int) -> None:
    """Answers that are flat over 16 pixels allow a coarse map; a checkerboard allows none."""
    if sharp:
        logits = 3.0 - 6.0 * (torch.arange(N)[:, None] + torch.arange(N)).remainder(2)[None, None]
    else:
        logits = torch.linspace(-3, 3, N)[None, None, None].expand(1, 1, N, N)
    chosen = choose(measure(candidates(1, N), logits, [(N, N)], [1.0, 4.0])).encoding
    assert (chosen.precision, chosen.stride) == ("uint8", expected)


def test_candidates_are_what_the_user_leaves_open() -> None:
    assert {(each.precision, each.stride, each.top) for each in candidates(7, 64)} == {
        (precision, stride, None) for precision in ("uint8", "float16") for stride in (1, 2, 4, 8)
    }
    assert candidates(7, 64, "float16", 4) == [Encoding("float16", 4, None, 7, 64)]
    assert {each.stride for each in candidates(7, 100)} == {1, 2, 4}
    assert {each.top for each in candidates(16, 64)} == {None}
    assert {each.top for each in candidates(17, 64)} == {None, 4, 8, 16}
    assert {each.top for each in candidates(150, 64, "uint8", 2)} == {None, 4, 8, 16}
    with pytest.raises(SnowmeltError, match="does not divide"):
        candidates(7, 100, stride=8)


def test_many_classes_keep_the_few_that_matter() -> None:
    """Three classes a pixel matter, and which ones changes over the picture: then 4 of 20 cost less than 20."""
    logits = smooth_logits(20, N, spread=0.5)[None] - 14
    for first in range(3):
        owner = (torch.arange(N) // 8)[:, None] * 4 + torch.arange(N) // 8 + first  # (N, N)
        logits.scatter_add_(1, owner.expand(1, 1, N, N), torch.full((1, 1, N, N), 14.0 - first))
    effects = measure(candidates(20, N, "uint8", 1), logits, [(N, N)], [1.0])
    chosen = choose(effects)
    assert chosen.encoding.top == 4
    assert chosen.bytes < min(each.bytes for each in effects if each.encoding.top is None) / 2


def test_effects_survive_json() -> None:
    (measured,) = measure([Encoding("uint8", 2, None, 3, N)], answers(3), FILLED, [1.0])
    assert Effect.from_json(json.loads(json.dumps(measured.to_json()))) == measured


@pytest.mark.parametrize(
    "changes",
    [{"logits": torch.zeros(0, 1, N, N)}, {"filled": FILLED[:1]}, {"temperatures": []}, {"temperatures": [0.0]}],
)
def test_nothing_is_measured_on_nothing(changes: dict[str, Any]) -> None:
    values: dict[str, Any] = {"logits": answers(1), "filled": FILLED, "temperatures": [1.0], **changes}
    with pytest.raises(SnowmeltError, match="at least one picture"):
        measure(candidates(1, N), **values)


def test_nothing_to_choose_from_is_a_mistake_that_can_be_mended() -> None:
    with pytest.raises(SnowmeltError, match="cache_precision"):
        choose([])
    assert 0 < TOLERANCE < 0.02
