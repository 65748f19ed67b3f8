"""The affine trace against the pictures themselves: what it says lies under a pixel must be what is seen there."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import affine_grid, grid_sample, max_pool2d
from torchvision import tv_tensors
from torchvision.transforms import v2

from snowmelt.data.dataset import AugmentedDataset, EvaluationDataset, as_tv_tensors
from snowmelt.data.geometry import Rotation, Trace
from snowmelt.data.randomness import seeded
from snowmelt.data.samples import IGNORE_INDEX, Sample
from snowmelt.data.transforms import AUGMENTATIONS, Augmentation, Letterbox, build_transform
from snowmelt.errors import SnowmeltError

SIZE = 96
SIDE = 320  # of the stored maps: finer than the pictures, so that reading between their pixels costs little
SHAPES = [(150, 224), (224, 150), (160, 160), (90, 130), (61, 33)]
STEEP = 110.0  # grey levels from the middle to the crest
DRAWS = 60
TRACED = [*AUGMENTATIONS, "upside down"]


def waves(height: int, width: int) -> np.ndarray:
    """(H, W, 3) float32: a wave across, one down and one along the diagonal, about two to a picture's long side."""
    long = max(height, width)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64) + 0.5
    phases = (columns / long * 2.2, rows / long * 2.2 + 0.1, (rows + columns) / long * 1.5 + 0.3)
    return np.stack([127.5 + STEEP * np.sin(2 * math.pi * phase) for phase in phases], axis=2).astype(np.float32)


class WaveSource:
    """Pictures of waves in whole grey levels."""

    classes = ("background", "foreground")

    def __len__(self) -> int:
        return len(SHAPES)

    def load(self, index: int) -> Sample:
        picture = np.round(waves(*SHAPES[index])).astype(np.uint8)
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
    """A store whose map is the letterboxed picture itself, unrounded."""

    size = SIDE

    def read(self, index: int) -> tuple[np.ndarray, ...]:
        picture = tv_tensors.Image(torch.from_numpy(waves(*SHAPES[index])).permute(2, 0, 1))
        height, width = SHAPES[index]
        letterboxed, _ = Letterbox(SIDE)(picture, tv_tensors.Mask(torch.zeros(height, width, dtype=torch.uint8)))
        return (np.ascontiguousarray(letterboxed.as_subclass(torch.Tensor).numpy()),)


def colourless(kind: str) -> Augmentation:
    if kind == "upside down":
        return Augmentation(v2.Compose([v2.RandomVerticalFlip(), Letterbox(SIZE)]), v2.Identity())
    return Augmentation(build_transform(kind, SIZE).geometric, v2.Identity())


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
    data = AugmentedDataset(WaveSource(), colourless(kind), 5, WaveMaps())
    largest, total, count = 0.0, 0.0, 0
    for draw in range(DRAWS):
        image, mask, _, planes, theta = data[(draw, draw % len(SHAPES))]
        shifted = theta.clone()
        shifted[:, 2] += theta[:, :2] @ torch.tensor(nudge) * 2 / SIZE
        # Rotation blends the padding into the outermost pixels, even where the padding itself is cropped away.
        compared = eroded(mask != IGNORE_INDEX, closed=kind == "heavy")
        difference = (look_up(planes[0], shifted) - image).abs()[:, compared]
        largest = max(largest, difference.max().item())
        total, count = total + difference.sum().item(), count + difference.numel()
    return largest, total / count, count / (3 * DRAWS * SIZE * SIZE)


@pytest.mark.parametrize("kind", TRACED)
def test_a_stored_map_lies_on_its_augmented_picture(kind: str) -> None:
    """Grey levels are rounded twice or thrice and waves a little flattened; beyond that nothing differs."""
    largest, mean, share = errors(kind)
    assert share > 0.5
    assert largest < 3.5 and mean < 0.5


@pytest.mark.parametrize("kind", TRACED)
def test_half_a_pixel_would_be_noticed(kind: str) -> None:
    for nudge in ((0.5, 0.0), (0.0, -0.5)):
        largest, mean, _ = errors(kind, nudge)
        assert largest > 7.5 and mean > 2.0
    assert errors(kind, (0.1, 0.1))[1] > 0.5


@pytest.mark.parametrize("kind", TRACED)
def test_padding_is_what_comes_from_outside_the_source(kind: str) -> None:
    geometric = colourless(kind).geometric
    padded = 0
    for draw in range(DRAWS):
        height, width = SHAPES[draw % len(SHAPES)]
        sample = WaveSource().load(draw % len(SHAPES))
        with seeded(1, draw):
            _, mask, trace = geometric(*as_tv_tensors(sample.image, sample.mask), Trace.start(height, width))
        assert trace.canvas == (SIZE, SIZE) and trace.origin == (height, width)
        grid = affine_grid(trace.theta()[None], [1, 1, SIZE, SIZE], align_corners=False)[0]
        inside = (grid.abs() <= 1).all(dim=2)
        plain = mask.as_subclass(torch.Tensor)
        assert (plain[eroded(inside, closed=False)] == 1).all()
        assert (plain[eroded(~inside, closed=False)] == IGNORE_INDEX).all()
        padded += int((~inside).sum())
    assert padded > 0.02 * DRAWS * SIZE * SIZE


SIDES = st.integers(1, 700)


@given(SIDES, SIDES, st.integers(1, 300), st.integers(1, 300))
def test_closed_forms(height: int, width: int, size: int, side: int) -> None:
    """An untouched picture lies on itself; a letterboxed one on its map, to the pixel if that is of the same size."""
    start = Trace.start(height, width)
    torch.testing.assert_close(start.theta(), torch.eye(2, 3), rtol=0, atol=1e-6)
    mask = tv_tensors.Mask(torch.zeros((height, width), dtype=torch.uint8))
    _, trace = Letterbox(size)(mask, start)
    assert trace.canvas == (size, size)
    torch.testing.assert_close(trace.theta(size), torch.eye(2, 3), rtol=0, atol=1e-6)
    found = trace.theta(side)
    grown = Letterbox(side)(mask, start)[1]
    corners = torch.tensor([[-1.0, -1.0, 1.0], [1.0, 1.0, 1.0]])
    back = found @ torch.cat([grown.theta(size), torch.tensor([[0.0, 0.0, 1.0]])])
    torch.testing.assert_close(back @ corners.T, corners[:, :2].T, rtol=1e-4, atol=1e-4)


@given(st.floats(-180, 180), st.integers(4, 40), st.integers(4, 40))
def test_rotation_turns_about_the_centre(angle: float, height: int, width: int) -> None:
    """Second implementation: complex numbers turn points back, in float32 as drawn."""
    mask = tv_tensors.Mask(torch.zeros((height, width), dtype=torch.uint8))
    _, trace = Rotation((angle, angle), expand=True)(mask, Trace.start(height, width))
    a, b, c, d, e, f = trace.affine
    centre, old = complex(trace.canvas[1], trace.canvas[0]) / 2, complex(width, height) / 2
    for point in (0j, 3 + 1j, centre):
        expected = old + (point - centre) * complex(math.cos(math.radians(angle)), math.sin(math.radians(angle)))
        x, y = point.real, point.imag
        assert complex(a * x + b * y + c, d * x + e * y + f) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_pictures_are_the_same_to_the_bit_with_and_without_maps(kind: str) -> None:
    transform = build_transform(kind, SIZE)
    plain = AugmentedDataset(WaveSource(), transform, 5)
    mapped = AugmentedDataset(WaveSource(), transform, 5, WaveMaps())
    for epoch in range(6):
        for index in (0, 3, -2):
            image, mask, found = plain[(epoch, index)]
            assert torch.equal(mapped[(epoch, index)][0], image)
            assert torch.equal(mapped[(epoch, index)][1], mask)
            assert mapped[(epoch, index)][2] == found


def test_evaluation_reads_maps_of_its_own_size_straight() -> None:
    maps = WaveMaps()
    transform = build_transform("none", SIDE)
    for index in range(len(SHAPES)):
        image, mask, _, planes, theta = EvaluationDataset(WaveSource(), transform, maps)[index]
        plain = EvaluationDataset(WaveSource(), transform)[index]
        assert torch.equal(image, plain[0]) and torch.equal(mask, plain[1])
        torch.testing.assert_close(theta, torch.eye(2, 3), rtol=0, atol=1e-6)
        assert (planes[0] - image).abs().max() < 1.5


@pytest.mark.parametrize(
    "step",
    [
        v2.RandomRotation(10),
        v2.RandomAffine(10),
        v2.ElasticTransform(),
        v2.RandomPerspective(p=1.0),
        v2.RandomResizedCrop(20),
        v2.CenterCrop(20),
        v2.Resize(20),
        v2.Pad(3),
        Rotation(10, center=[0.0, 0.0]),
    ],
    ids=lambda step: type(step).__name__,
)
def test_what_a_map_cannot_follow_is_refused(step: v2.Transform) -> None:
    """torchvision would let the trace through unchanged, and every map would lie beside its picture."""
    transform = Augmentation(step, v2.Identity())
    AugmentedDataset(WaveSource(), transform, 0)[(0, 0)]
    with pytest.raises(SnowmeltError, match="stored teacher maps cannot follow"):
        AugmentedDataset(WaveSource(), transform, 0, WaveMaps())[(0, 0)]


def test_a_step_that_nobody_knows_is_noticed_by_the_size() -> None:
    class Halved(v2.Transform):
        def transform(self, inpt: torch.Tensor, params: dict[str, object]) -> torch.Tensor:
            return inpt if isinstance(inpt, Trace) else tv_tensors.wrap(inpt[..., ::2, ::2], like=inpt)

    transform = Augmentation(Halved(), v2.Identity())
    with pytest.raises(SnowmeltError, match="stored teacher maps cannot follow"):
        AugmentedDataset(WaveSource(), transform, 0, WaveMaps())[(0, 0)]
