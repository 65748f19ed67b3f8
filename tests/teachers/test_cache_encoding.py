"""Packed answers: what is promised about their errors, byte by byte and pixel by pixel."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cached_pictures import smooth_logits
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.losses import distillation_kl
from snowmelt.teachers.cache import Encoding, candidates, resample
from snowmelt.teachers.cache.encoding import DEPTH
from snowmelt.teachers.cache.resampling import enlarge, replicate_edges, shrink

N = 16
WHOLE = (N, N)
ALL = [*candidates(1, N), *candidates(7, N), *candidates(20, N), *candidates(2, N)]


def round_trip(encoding: Encoding, logits: Tensor, filled: tuple[int, int] = WHOLE) -> Tensor:
    planes = encoding.split(encoding.encode(logits, filled))
    return encoding.decode(tuple(torch.from_numpy(plane)[None] for plane in planes))[0]


@pytest.mark.parametrize("encoding", ALL, ids=lambda encoding: encoding.key)
def test_a_row_is_what_its_planes_say(encoding: Encoding) -> None:
    logits = smooth_logits(encoding.channels, N)
    row = encoding.encode(logits, WHOLE)
    planes = encoding.split(row)
    assert row.dtype == np.uint8 and row.shape == (encoding.row_bytes,)
    assert [(plane.shape, plane.dtype) for plane in planes] == [tuple(plane) for plane in encoding.planes]
    assert sum(plane.nbytes for plane in planes) == len(row)
    assert b"".join(plane.tobytes() for plane in planes) == row.tobytes()
    assert all(np.shares_memory(plane, row) and plane.flags.aligned for plane in planes)
    assert round_trip(encoding, logits).shape == (encoding.channels, encoding.side, encoding.side)
    assert Encoding.from_json(json.loads(json.dumps(encoding.to_json()))) == encoding


def test_every_encoding_has_a_name_of_its_own() -> None:
    assert len({encoding.key for encoding in ALL}) == len(set(ALL)) == len(ALL)
    assert Encoding("uint8", 2, 8, 20, 64).key == "uint8-s2-top8-c20-n64"


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        (Encoding("uint8", 1, None, 1, N), 8 + 256),
        (Encoding("uint8", 2, None, 1, N), 8 + 64),
        (Encoding("float16", 1, None, 7, N), 2 * 7 * 256),
        (Encoding("uint8", 4, None, 7, N), 16 + 8 * 16),  # the level is a plane more
        (Encoding("uint8", 1, 4, 20, N), 16 + 5 * 256 + 4 * 256),
    ],
)
def test_bytes_of_a_row(encoding: Encoding, expected: int) -> None:
    assert encoding.row_bytes == expected


logit_maps = arrays.arrays(np.float32, (1, 4, 4), elements=st.floats(-1e4, 1e4, width=32))


@given(logit_maps)
def test_a_byte_misses_by_half_a_step_at_most(values: np.ndarray) -> None:
    decoded = round_trip(Encoding("uint8", 1, None, 1, 4), torch.from_numpy(values), (4, 4)).numpy()
    step = (values.max() - values.min()) / 255
    assert np.abs(decoded - values).max() <= 0.5 * step + 1e-6 * np.abs(values).max() + np.finfo(np.float32).tiny


@given(logit_maps)
def test_half_precision_misses_by_its_own_rounding(values: np.ndarray) -> None:
    decoded = round_trip(Encoding("float16", 1, None, 1, 4), torch.from_numpy(values), (4, 4)).numpy()
    assert (np.abs(decoded - values) <= np.abs(values) * 2.0**-11 + 2.0**-25).all()


def test_half_precision_does_not_overflow() -> None:
    logits = torch.tensor([1e6, -1e6, 1.0, 0.0]).view(1, 2, 2)
    assert round_trip(Encoding("float16", 1, None, 1, 2), logits, (2, 2)).isfinite().all()


def test_of_several_channels_level_and_distance_have_steps_of_their_own() -> None:
    logits = smooth_logits(7, N) + 1000.0 * smooth_logits(1, N, seed=1)  # a level that varies a thousand times as much
    decoded = round_trip(Encoding("uint8", 1, None, 7, N), logits)
    level, distance = logits.amax(0), logits - logits.amax(0)
    assert torch.equal(decoded.gather(0, logits.argmax(0)[None])[0], decoded.amax(0))  # the largest stays the largest
    tiny = 1e-6 * level.abs().max()
    assert (decoded.amax(0) - level).abs().max() <= 0.5 * (level.max() - level.min()) / 255 + tiny
    error = (decoded - decoded.amax(0) - distance).abs().max()
    assert error <= 0.5 * -distance.min() / 255 + 8 * tiny
    assert error > 0.2 * -distance.min() / 255  # the bound is no accident: steps are really that large


def test_an_outlier_is_cut_off_and_spoils_nothing_else() -> None:
    logits = smooth_logits(3, N)
    logits[:, 0, 0] = torch.tensor([5.0, 0.0, -4000.0])
    decoded = round_trip(Encoding("uint8", 1, None, 3, N), logits)
    assert decoded[2, 0, 0] - decoded[0, 0, 0] == pytest.approx(-DEPTH, rel=1e-5)
    rest = torch.ones(N, N, dtype=torch.bool)
    rest[0, 0] = False
    gap = (decoded - decoded.amax(0)) - (logits - logits.amax(0))
    assert gap[:, rest].abs().max() <= 0.5 * DEPTH / 255 + 1e-5


@pytest.mark.parametrize("encoding", [each for each in ALL if each.top is None], ids=lambda encoding: encoding.key)
def test_constant_logits_come_back(encoding: Encoding) -> None:
    logits = torch.arange(encoding.channels).float()[:, None, None].expand(-1, N, N) - 3
    decoded = round_trip(encoding, logits)
    allowed = 0.5 * encoding.channels / 255 if encoding.precision == "uint8" else 0.01
    torch.testing.assert_close(decoded, logits[:, : encoding.side, : encoding.side], atol=allowed + 1e-4, rtol=0)


@pytest.mark.parametrize("precision", ["uint8", "float16"])
@pytest.mark.parametrize("top", [1, 3, 6])
def test_the_largest_are_kept_and_the_others_share_what_is_left(precision: str, top: int) -> None:
    logits = smooth_logits(7, N)
    decoded = round_trip(Encoding(precision, 1, top, 7, N), logits)  # type: ignore[arg-type]
    exact, found = logits.softmax(0), decoded.softmax(0)
    order = logits.argsort(dim=0, descending=True)
    expected = exact.gather(0, order)
    expected[top:] = expected[top:].sum(0, keepdim=True) / (7 - top)
    error = 0.004 if precision == "float16" else 0.08  # of a logit: half a step of a range of some 40
    torch.testing.assert_close(found.gather(0, order), expected, atol=error / 2, rtol=error)


def test_what_lies_beside_the_picture_is_not_stored() -> None:
    filled, logits = (16, 11), smooth_logits(3, N)
    rubbish = logits.clone()
    rubbish[:, :, 11:] = math.nan
    for stride in (1, 2, 4, 8):
        encoding = Encoding("float16", stride, None, 3, N)
        assert (encoding.encode(logits, filled) == encoding.encode(rubbish, filled)).all()


def test_edges_are_repeated_beyond_the_picture() -> None:
    logits = smooth_logits(2, N)
    padded = replicate_edges(logits, (5, 3)).numpy()
    rows, columns = np.minimum(np.arange(N), 4), np.minimum(np.arange(N), 2)
    assert (padded == logits.numpy()[:, rows][:, :, columns]).all()
    assert torch.equal(replicate_edges(logits, WHOLE), logits)


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_a_coarse_map_that_was_enlarged_is_found_again(stride: int) -> None:
    coarse = smooth_logits(3, N // stride)
    torch.testing.assert_close(shrink(enlarge(coarse[None], N)[0], stride), coarse, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("stride", [2, 4])
def test_no_other_coarse_map_comes_closer(stride: int) -> None:
    logits = smooth_logits(2, N, spread=3.0).double()
    best = shrink(logits.float(), stride).double().requires_grad_()
    error = F.interpolate(best[None], size=WHOLE, mode="bilinear", align_corners=False)[0] - logits
    (gradient,) = torch.autograd.grad(error.square().sum(), best)
    assert gradient.abs().max() < 1e-3  # the minimum of a convex function
    averages = F.interpolate(F.avg_pool2d(logits[None], stride), size=WHOLE, mode="bilinear", align_corners=False)[0]
    assert error.square().sum() < 0.8 * (averages - logits).square().sum()


@pytest.mark.parametrize("channels", [1, 7])
def test_smooth_logits_survive_half_the_resolution_in_bytes(channels: int) -> None:
    logits = smooth_logits(channels, 64)
    decoded = enlarge(round_trip(Encoding("uint8", 2, None, channels, 64), logits, (64, 64))[None], 64)
    for temperature in (1.0, 4.0):
        assert distillation_kl(decoded, logits[None], temperature) < 0.002


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_no_numbers_are_refused(value: float) -> None:
    logits = smooth_logits(2, N)
    logits[1, 3, 4] = value
    with pytest.raises(SnowmeltError, match="NaN or infinity"):
        Encoding("uint8", 1, None, 2, N).encode(logits, WHOLE)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("int4", 1, None, 1, N), "uint8"),
        (("uint8", 3, None, 1, N), "stride 3"),
        (("uint8", 8, None, 1, 20), "does not divide the image size 20"),
        (("uint8", 1, None, 257, N), "teacher.mode=live"),
        (("uint8", 1, 7, 7, N), "1 to 6"),
        (("uint8", 1, 0, 7, N), "1 to 6"),
    ],
)
def test_impossible_encodings_are_refused(values: tuple, message: str) -> None:
    with pytest.raises(SnowmeltError, match=message):
        Encoding(*values)


@pytest.mark.parametrize(("shape", "filled"), [((2, N, N), WHOLE), ((1, N, 8), WHOLE), ((1, N, N), (N + 1, 4))])
def test_logits_of_another_shape_are_refused(shape: tuple[int, ...], filled: tuple[int, int]) -> None:
    with pytest.raises(SnowmeltError, match="but the cache holds"):
        Encoding("uint8", 1, None, 1, N).encode(torch.zeros(shape), filled)


def slow_resample(maps: np.ndarray, placement: np.ndarray, size: int) -> np.ndarray:
    """Point by point, from the definition."""
    count, channels, height, width = maps.shape
    out = np.zeros((count, channels, size, size))
    for image in range(count):
        for row in range(size):
            for column in range(size):
                point = np.array([(2 * column + 1) / size - 1, (2 * row + 1) / size - 1, 1.0])
                x, y = placement[image] @ point
                x = min(max(((x + 1) * width - 1) / 2, 0.0), width - 1.0)
                y = min(max(((y + 1) * height - 1) / 2, 0.0), height - 1.0)
                left, top = int(x), int(y)
                right, below = min(left + 1, width - 1), min(top + 1, height - 1)
                across, down = x - left, y - top
                upper = maps[image, :, top, left] * (1 - across) + maps[image, :, top, right] * across
                lower = maps[image, :, below, left] * (1 - across) + maps[image, :, below, right] * across
                out[image, :, row, column] = upper * (1 - down) + lower * down
    return out


def test_resampling_follows_its_definition() -> None:
    maps = torch.stack([smooth_logits(2, 9, seed) for seed in range(3)])
    turned = [[0.7, 0.2, 0.1], [-0.3, 0.8, -0.2]]
    placement = torch.tensor([turned, [[-1.4, 0.0, 0.5], [0.0, 1.5, 0.0]], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    expected = slow_resample(maps.double().numpy(), placement.double().numpy(), 12)
    np.testing.assert_allclose(resample(maps, placement, 12).numpy(), expected, atol=1e-4)


def test_pictures_that_are_not_augmented_need_no_grid() -> None:
    maps = smooth_logits(2, 8)[None]
    identity = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    torch.testing.assert_close(resample(maps, identity, 32), enlarge(maps, 32), atol=1e-5, rtol=1e-5)


def test_half_precision_around_it_moves_nothing() -> None:
    maps, placement = smooth_logits(2, 64)[None], torch.tensor([[[0.7, 0.2, 0.1], [-0.2, 0.8, 0.0]]])
    expected = resample(maps, placement, 64), shrink(maps, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = resample(maps, placement, 64), shrink(maps, 2)
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
