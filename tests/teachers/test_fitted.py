"""Whatever size and classes a model has, the teacher made of it has those of the student."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from snowmelt.errors import SnowmeltError
from snowmelt.models import Normalisation
from snowmelt.teachers import ClassMapping, FittedTeacher, NetworkTeacher, Teacher, TeacherModel
from snowmelt.teachers.fitted import resize_pictures


class Model:
    """A model whose logits are its pictures' colours, at a fraction of their size; it keeps what it was given."""

    def __init__(
        self, channels: int = 3, size: tuple[int, int] | None = None, stride: int = 1, digest: str = "m"
    ) -> None:
        self.classes = None
        self.size = size
        self.digest = digest
        self._channels, self._stride = channels, stride
        self.seen: list[Tensor] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        logits = functional.avg_pool2d(images.float(), self._stride) / 50
        return logits.repeat(1, 2, 1, 1)[:, : self._channels]

    def describe(self) -> str:
        return "model m"


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_model_that_fits_is_left_alone(images: Tensor) -> None:
    model: TeacherModel = Model()
    teacher: Teacher = FittedTeacher(model, channels=3)
    assert torch.equal(teacher(images), images / 50)
    assert model.seen[0] is images
    assert teacher.describe() == "model m"
    assert FittedTeacher(model, channels=3).model is model


@pytest.mark.parametrize(
    ("demanded", "size", "expected"),
    [
        (None, None, (32, 32)),
        (None, 48, (48, 48)),
        ((16, 16), None, (16, 16)),
        ((20, 28), None, (20, 28)),
        ((16, 16), 16, (16, 16)),
    ],
)
def test_the_model_sees_its_own_size(demanded, size: int | None, expected: tuple[int, int], images: Tensor) -> None:
    model = Model(size=demanded)
    logits = FittedTeacher(model, channels=3, size=size)(images)
    assert model.seen[0].shape == (2, 3, *expected)
    assert model.seen[0].dtype == torch.uint8
    assert logits.shape == (2, 3, 32, 32)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.mean(), images.float().mean() / 50, rtol=0.02, atol=0)


def triangle(length: int, wanted: int) -> np.ndarray:
    """Weights of a linear filter as wide as a pixel of the coarser grid, (wanted, length)."""
    scale = length / wanted
    centres = (np.arange(wanted)[:, None] + 0.5) * scale
    weights = np.maximum(0, 1 - np.abs(np.arange(length) + 0.5 - centres) / max(scale, 1))
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("size", [(16, 16), (20, 28), (24, 24), (48, 48), (5, 64)])
def test_pictures_are_filtered_and_rounded(size: tuple[int, int], images: Tensor) -> None:
    expected = triangle(32, size[0]) @ images.numpy().astype(float) @ triangle(32, size[1]).T
    difference = resize_pictures(images, size).numpy().astype(float) - expected
    assert np.abs(difference).max() < 0.5 + 1e-3


def test_extremes_do_not_wrap_around() -> None:
    stripes = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    stripes[..., ::2] = 255
    white = torch.full((1, 3, 7, 7), 255, dtype=torch.uint8)
    assert bool((resize_pictures(white, (9, 9)) == 255).all())
    halved = resize_pictures(stripes, (8, 8))
    assert int(halved.min()) > 90 and int(halved.max()) < 165  # averaged, not picked


@pytest.mark.parametrize("stride", [2, 4])
def test_coarse_logits_are_brought_to_the_pictures_size(stride: int, images: Tensor) -> None:
    coarse = functional.avg_pool2d(images.float(), stride) / 50
    expected = functional.interpolate(coarse, (32, 32), mode="bilinear", align_corners=False)
    assert torch.equal(FittedTeacher(Model(stride=stride), channels=3)(images), expected)


def test_bilinear_without_aligned_corners_by_hand() -> None:
    class Ramp(Model):
        def __call__(self, images: Tensor) -> Tensor:
            return torch.tensor([[0.0, 4.0]]).view(1, 1, 1, 2)

    logits = FittedTeacher(Ramp(), channels=1)(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
    assert torch.equal(logits[0, 0], torch.tensor([0.0, 1.0, 3.0, 4.0]).expand(4, 4))


def test_classes_are_mapped_before_the_logits_are_resized(images: Tensor) -> None:
    mapping = ClassMapping(((0, 1), (2,), (4, 3)), 5)
    teacher = FittedTeacher(Model(channels=5, stride=4), channels=3, mapping=mapping)
    coarse = mapping.apply(Model(channels=5, stride=4)(images))
    assert torch.equal(teacher(images), functional.interpolate(coarse, (32, 32), mode="bilinear", align_corners=False))
    assert teacher.describe() == "model m, 5 of its classes as 3"


def test_a_wrong_number_of_channels_is_refused_at_the_first_call(images: Tensor) -> None:
    with pytest.raises(SnowmeltError, match=r"model m gives 3 channels, but the student's classes need 1; .*class_map"):
        FittedTeacher(Model(), channels=1)(images)
    with pytest.raises(SnowmeltError, match="is for 5 channels"):
        FittedTeacher(Model(), channels=1, mapping=ClassMapping(((0,), (1,)), 5))(images)
    with pytest.raises(SnowmeltError, match="the class mapping gives 1 channels, but the student has 3"):
        FittedTeacher(Model(), channels=3, mapping=ClassMapping(((0,), (1,)), 5))


def test_answers_of_another_form_are_refused(images: Tensor) -> None:
    class Flat(Model):
        def __call__(self, images: Tensor) -> Tensor:
            return torch.zeros(len(images), 3)

    class Single(Model):
        def __call__(self, images: Tensor) -> Tensor:
            return torch.zeros(1, 3, 8, 8)

    for model in (Flat(), Single()):
        with pytest.raises(SnowmeltError, match=r"for 2 pictures; a teacher has to give"):
            FittedTeacher(model, channels=3)(images)


def test_a_size_that_the_model_does_not_take_is_refused() -> None:
    with pytest.raises(SnowmeltError, match=r"takes pictures of 16 x 16 pixels only, not 32; leave it out"):
        FittedTeacher(Model(size=(16, 16)), channels=3, size=32)
    with pytest.raises(SnowmeltError, match="0 pixels; it must be at least 1"):
        FittedTeacher(Model(), channels=3, size=0)


def test_the_digest_covers_model_mapping_and_size() -> None:
    mapping = ClassMapping(((0,), (1, 2)), 3)
    teachers = [
        FittedTeacher(Model(), channels=3),
        FittedTeacher(Model(digest="n"), channels=3),
        FittedTeacher(Model(), channels=3, size=32),
        FittedTeacher(Model(), channels=3, size=48),
        FittedTeacher(Model(size=(20, 28)), channels=3),
        FittedTeacher(Model(), channels=1, mapping=mapping),
        FittedTeacher(Model(), channels=1, mapping=ClassMapping(((0, 2), (1,)), 3)),
    ]
    assert len({teacher.digest for teacher in teachers}) == len(teachers)
    assert teachers[5].digest == FittedTeacher(Model(), channels=1, mapping=mapping).digest
    assert FittedTeacher(Model(size=(48, 48)), channels=3).digest == teachers[3].digest  # the same answers


def test_a_network_keeps_no_graph_and_stays_in_reach(images: Tensor) -> None:
    network = nn.Conv2d(3, 3, 3, padding=1)
    inner = NetworkTeacher(network, Normalisation())
    teacher = FittedTeacher(inner, channels=1, size=24, mapping=ClassMapping(((0,), (1, 2)), 3))
    with torch.enable_grad():
        assert not teacher(images).requires_grad
    assert isinstance(teacher.model, NetworkTeacher) and teacher.model.network is network
    assert teacher.describe() == "network, at 24 x 24 pixels, 3 of its classes as 2"
