"""Where items say that their pixels come from, against the pictures themselves."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import affine_grid, grid_sample, max_pool2d

from snowmelt.data.dataset import AugmentedDataset, EvaluationDataset
from snowmelt.data.geometry import Placement, fitted_size, letterbox_placement
from snowmelt.data.samples import IGNORE_INDEX, Sample
from snowmelt.data.transforms import AUGMENTATIONS, RECIPES, Augmentation, Letterbox

SIZE = 96
SIDE = 320  # of the stored maps: finer than the pictures, so that reading between their pixels costs little
SHAPES = [(150, 224), (224, 150), (160, 160), (90, 130), (61, 33), (517, 640)]
STEEP = 110.0  # grey levels from the middle to the crest
DRAWS = 30


def waves(height: int, width: int, crests: float = 2.2) -> np.ndarray:
    """(H, W, 3) float32: a wave across, one down and one along the diagonal, so many to a picture's long side."""
    long = max(height, width)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64) + 0.5
    return wave_values(columns / long, rows / long, crests).astype(np.float32)


def wave_values(x: np.ndarray, y: np.ndarray, crests: float) -> np.ndarray:
    """The three waves at points given as shares of the long side."""
    phases = (x * crests, y * crests + 0.1, (x + y) * crests * 0.7 + 0.3)
    return np.stack([127.5 + STEEP * np.sin(2 * math.pi * phase) for phase in phases], axis=-1)


class WaveSource:
    """Pictures of waves in whole grey levels."""

    classes = ("background", "foreground")

    def __init__(self, crests: float = 2.2) -> None:
        self.crests = crests

    def __len__(self) -> int:
        return len(SHAPES)

    def load(self, index: int) -> Sample:
        picture = np.round(waves(*SHAPES[index], self.crests)).astype(np.uint8)
        return Sample(picture, np.ones(SHAPES[index], dtype=np.uint8), self.name(index))

    def name(self, index: int) -> str:
        return f"waves-{index}"

    def digest(self, index: int) -> str:
        return f"{index:02x}"

    def check(self) -> None:
        pass

    def describe(self) -> str:
        return "waves"


class WaveMaps:
    """A store whose map is the letterboxed picture itself."""

    size = SIDE

    def read(self, index: int) -> tuple[np.ndarray, ...]:
        picture = torch.from_numpy(np.round(waves(*SHAPES[index])).astype(np.uint8)).permute(2, 0, 1)
        letterboxed, _ = Letterbox(SIDE)(picture, torch.zeros(SHAPES[index], dtype=torch.uint8))
        return (letterboxed.float().numpy(),)


def untextured(kind: str, size: int = SIZE) -> Augmentation:
    return Augmentation(replace(RECIPES[kind], colour=None, blur=0.0, noise=0.0), size)


def look_up(planes: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    grid = affine_grid(theta[None], [1, planes.shape[0], SIZE, SIZE], align_corners=False)
    return grid_sample(planes[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0]


def eroded(inside: torch.Tensor, closed: bool) -> torch.Tensor:
    """Pixels whose eight neighbours are inside too; beyond the edge of the crop lies nothing, where it is closed."""
    outside = torch.nn.functional.pad(1.0 - inside[None, None].float(), (1, 1, 1, 1), value=float(closed))
    return max_pool2d(outside, 3, 1)[0, 0] == 0


def errors(kind: str, nudge: tuple[float, float] = (0.0, 0.0)) -> tuple[float, float, float]:
    """Largest and mean difference of map and picture over many draws, and the share of pixels that were compared.

    ``nudge`` shifts where the map is read by that many pixels of the augmented picture, right and down.
    """
    data = AugmentedDataset(WaveSource(), untextured(kind), 5, WaveMaps())
    largest, total, count = 0.0, 0.0, 0
    for draw in range(DRAWS):
        item = data[(draw, draw % len(SHAPES))]
        assert item.theta is not None
        shifted = item.theta.clone()
        shifted[:, 2] += item.theta[:, :2] @ torch.tensor(nudge) * 2 / SIZE
        # Turned pictures may end just beyond the edge of the crop, where their maps are read half in the padding.
        compared = eroded(item.mask != IGNORE_INDEX, closed=kind == "heavy")
        difference = (look_up(item.planes[0], shifted) - item.image).abs()[:, compared]
        largest = max(largest, difference.max().item())
        total, count = total + difference.sum().item(), count + difference.numel()
    return largest, total / count, count / (3 * DRAWS * SIZE * SIZE)


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_a_stored_map_lies_on_its_augmented_picture(kind: str) -> None:
    """Grey levels are rounded twice or thrice and waves a little flattened; beyond that nothing differs."""
    largest, mean, share = errors(kind)
    assert share > 0.5
    assert largest < 4 and mean < 0.6


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_half_a_pixel_would_be_noticed(kind: str) -> None:
    for nudge in ((0.5, 0.0), (0.0, -0.5)):
        largest, mean, _ = errors(kind, nudge)
        assert largest > 7.5 and mean > 2.0


def positions(theta: torch.Tensor, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Second implementation, in float64: the source pixels (x, y) under the centres of all output pixels."""
    matrix = theta.double().numpy()
    centres = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    x, y = np.meshgrid(centres, centres)
    normalised = matrix @ np.stack([x, y, np.ones_like(x)]).reshape(3, -1)
    fitted = fitted_size(*shape, SIDE)
    across, down = ((row + 1) / 2 * SIDE for row in normalised.reshape(2, SIZE, SIZE))
    return across * shape[1] / fitted[1], down * shape[0] / fitted[0]


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_every_pixel_lies_within_a_tenth_of_where_it_says(kind: str) -> None:
    """Where a steep wave passes its middle, a grey level tells a few hundredths of a pixel; filters do not move it."""
    crests = 9.0
    data = AugmentedDataset(WaveSource(crests), untextured(kind), 3, WaveMaps())
    compared = 0
    for draw in range(30):
        index = draw % len(SHAPES)
        shape = SHAPES[index]
        item = data[(draw, index)]
        assert item.theta is not None
        x, y = positions(item.theta, shape)
        inside = (x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])
        np.testing.assert_array_equal(inside, item.mask.numpy() != IGNORE_INDEX)
        long = max(shape)
        expected = wave_values(x / long, y / long, crests)[..., :2]
        margin = 3 * long / (SIZE * 0.5)  # in the outermost pixels the filter finds the edge
        deep = (np.minimum(x, shape[1] - x) > margin) & (np.minimum(y, shape[0] - y) > margin)
        found = item.image.permute(1, 2, 0).double().numpy()[..., :2]
        for channel, source in ((0, x), (1, y)):
            slope = STEEP * crests * 2 * math.pi / long * np.hypot(*np.gradient(source))  # levels a pixel
            usable = deep & (np.abs(expected[..., channel] - 127.5) < 5)
            off = np.abs(found - expected)[..., channel][usable] / slope[usable]
            assert off.size == 0 or off.max() < 0.1
            compared += off.size
    assert compared > 2000


SIDES = st.integers(1, 700)


@given(SIDES, SIDES, st.integers(1, 300), st.integers(1, 300))
def test_closed_forms(height: int, width: int, size: int, side: int) -> None:
    """An untouched picture lies on itself; a letterboxed one on its map, to the pixel if that is of the same size."""
    shape = (height, width)
    untouched = Placement((width / size, 0.0, 0.0, 0.0, height / size, 0.0), size, shape, shape)
    torch.testing.assert_close(untouched.theta(), torch.eye(2, 3), rtol=0, atol=1e-6)
    boxed = letterbox_placement(shape, shape, size)
    torch.testing.assert_close(boxed.theta(size), torch.eye(2, 3), rtol=0, atol=1e-6)
    grown = letterbox_placement(shape, shape, side)
    corners = torch.tensor([[-1.0, -1.0, 1.0], [1.0, 1.0, 1.0]])
    back = boxed.theta(side) @ torch.cat([grown.theta(size), torch.tensor([[0.0, 0.0, 1.0]])])
    torch.testing.assert_close(back @ corners.T, corners[:, :2].T, rtol=1e-4, atol=1e-4)


@given(SIDES, SIDES, st.integers(1, 300), st.integers(1, 300), st.integers(1, 300))
def test_a_reduced_picture_lies_where_its_origin_lies(height: int, width: int, size: int, side: int, by: int) -> None:
    """Rounding to whole pixels stretches a reduced picture a little, but its edges stay its origin's edges."""
    origin, shape = (height, width), fitted_size(height, width, by)
    direct, reduced = letterbox_placement(origin, origin, size), letterbox_placement(shape, origin, size)
    torch.testing.assert_close(direct.theta(side), reduced.theta(side), rtol=1e-5, atol=1e-5)


def test_evaluation_reads_maps_of_its_own_size_straight() -> None:
    maps = WaveMaps()
    for index in range(len(SHAPES)):
        image, mask, _, planes, theta, _ = EvaluationDataset(WaveSource(), Letterbox(SIDE), maps)[index]
        plain = EvaluationDataset(WaveSource(), Letterbox(SIDE))[index]
        assert torch.equal(image, plain[0]) and torch.equal(mask, plain[1])
        torch.testing.assert_close(theta, torch.eye(2, 3), rtol=0, atol=1e-6)
        assert torch.equal(planes[0], image.float())
