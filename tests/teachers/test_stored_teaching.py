"""A stored answer reaches the augmented picture pixel by pixel, as if the teacher had seen it there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cached_pictures import DIGEST, SIZE, CountingTeacher, Pictures, exact

from snowmelt.data import (
    IGNORE_INDEX,
    Augmentation,
    AugmentedDataset,
    Batch,
    EvaluationDataset,
    Sample,
    StepSampler,
    build_evaluation_transform,
    build_transform,
    collate,
    training_loader,
)
from snowmelt.errors import SnowmeltError
from snowmelt.teachers import LiveTeaching, NamedTeaching, OpenOptions, StoredTeaching, Teaching
from snowmelt.teachers.cache import (
    Encoding,
    StoredMapView,
    answers_of_maps,
    answers_of_teacher,
    digests_of,
    fill,
    open_cache,
)
from snowmelt.teachers.maps import open_maps


class Labelled(Pictures):
    """Three times as large and labelled, so that a mask tells which pixels are the picture's."""

    def __init__(self) -> None:
        super().__init__(range(6), scale=3)

    def load(self, index: int) -> Sample:
        image = self.image(index)
        return Sample(image, np.zeros(image.shape[:2], dtype=np.uint8), self.name(index))


def stored_view(root: Path, encoding: Encoding, source: Pictures) -> StoredMapView:
    cache = open_cache(root, DIGEST, encoding)
    fill(cache, answers_of_teacher(CountingTeacher(encoding.channels)), source)
    return cache.view(digests_of(source))


def inside(batch: Batch) -> torch.Tensor:
    """(B, 1, N, N): the picture's pixels, less those at its edge, which a rotation has mixed with padding."""
    padding = (batch.masks == IGNORE_INDEX)[:, None].float()
    return F.max_pool2d(padding, 3, stride=1, padding=1) == 0


def geometry(kind: str, size: int) -> Augmentation:
    recipe = build_transform(kind, size).recipe
    return Augmentation(replace(recipe, colour=None, blur=0.0, noise=0.0), size)


def test_a_teacher_at_hand_sees_what_the_student_sees() -> None:
    teacher = CountingTeacher(3)
    teaching: Teaching = LiveTeaching(teacher)
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batch = Batch(images, torch.zeros(2, 8, 8, dtype=torch.uint8), torch.arange(2))
    assert torch.equal(teaching(batch), CountingTeacher(3)(images))


@pytest.mark.parametrize("kind", ["none", "light", "heavy"])
@pytest.mark.parametrize("channels", [1, 3])
def test_stored_and_live_say_the_same_where_only_geometry_changes(tmp_path: Path, kind: str, channels: int) -> None:
    """The teacher is linear in the colours: its answer to a moved picture is its moved answer, but for resampling."""
    source, encoding = Labelled(), Encoding("uint8", 1, None, channels, 48)
    dataset = AugmentedDataset(source, geometry(kind, 48), seed=3, maps=stored_view(tmp_path, encoding, source))
    teaching, live = StoredTeaching(encoding), LiveTeaching(CountingTeacher(channels))
    for epoch in range(3):
        batch = collate([dataset[(epoch, index)] for index in range(len(source))])
        found, expected = teaching(batch), live(batch)
        assert found.shape == expected.shape and found.dtype == torch.float32 and not found.requires_grad
        pixels = inside(batch).expand_as(found)
        difference = (found - expected)[pixels].abs()
        assert difference.median() < 0.05 and difference.mean() < 0.07  # the logits' deviation is about 3


def test_it_matters_where_the_answer_is_put(tmp_path: Path) -> None:
    """The test above would see a placement that is wrong by half a pixel."""
    source, encoding = Labelled(), Encoding("uint8", 1, None, 1, 48)
    dataset = AugmentedDataset(source, geometry("none", 48), seed=3, maps=stored_view(tmp_path, encoding, source))
    batch = collate([dataset[(0, index)] for index in range(len(source))])
    assert batch.placement is not None
    expected, pixels = LiveTeaching(CountingTeacher())(batch), inside(batch)
    batch.placement[:, 0, 2] += 1 / 48
    assert (StoredTeaching(encoding)(batch) - expected)[pixels].abs().mean() > 0.1


def test_workers_and_micro_batches_change_nothing(tmp_path: Path) -> None:
    source, encoding = Pictures(range(8)), Encoding("uint8", 2, None, 3, SIZE)
    view, teaching = stored_view(tmp_path, encoding, source), StoredTeaching(encoding)
    answers = []
    for workers in (0, 1):
        dataset = AugmentedDataset(source, geometry("light", SIZE), seed=0, maps=view)
        loader = training_loader(dataset, StepSampler(8, 4, 0), workers=workers, context="fork")
        answers.append([teaching(batch) for batch in loader])
        for batch, whole in zip(loader, answers[-1], strict=True):
            halves = torch.cat([teaching(batch[:2]), teaching(batch[2:])])
            torch.testing.assert_close(halves, whole, atol=1e-5, rtol=1e-5)
    assert len(answers[0]) == 2
    assert all(torch.equal(one, other) for one, other in zip(*answers, strict=True))


def test_a_batch_without_its_maps_is_refused() -> None:
    batch = Batch(torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4), torch.zeros(1))
    with pytest.raises(SnowmeltError, match=r"0 stored planes and the encoding 1; give the data set"):
        StoredTeaching(exact(1, 4))(batch)


def test_maps_by_name_answer_for_validation(tmp_path: Path) -> None:
    source = Pictures([5, 0, 3])
    (tmp_path / "maps").mkdir()
    for index, seed in enumerate(source.seeds):
        colours = source.image(index).astype(np.float32)
        np.save(tmp_path / "maps" / f"{seed:03d}.npy", (colours[..., 0] / 20 - 6)[None])
    maps = open_maps(tmp_path / "maps", OpenOptions(classes=source.classes, outputs="logits"))
    dataset = EvaluationDataset(source, build_evaluation_transform(SIZE))
    batch = collate([dataset[2], dataset[0]])
    names = [source.name(index) for index in range(3)]
    found = NamedTeaching(maps, names)(batch)
    parts = [source.filled(2), source.filled(0)]
    assert torch.equal(found, answers_of_maps(maps)(batch.images, [names[2], names[0]], parts))
    for row, (height, width) in enumerate(parts):
        expected = batch.images[row, 0, :height, :width].float() / 20 - 6  # the picture was resized in the same way
        assert (found[row, 0, :height, :width] - expected).abs().max() < 0.1
    assert torch.equal(NamedTeaching(maps, names, lambda logits: -logits)(batch), -found)
    with pytest.raises(SnowmeltError, match="none of its 3 maps"):
        NamedTeaching(maps, ["x", "y", "z"])(batch)
