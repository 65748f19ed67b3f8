"""One pass stores every answer once, whatever interrupts it and whoever else is at work."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections import namedtuple
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from cached_pictures import DIGEST, SIZE, CountingTeacher, Pictures, exact, fill_and_die
from torch import Tensor

from snowmelt.data import EvaluationDataset, build_evaluation_transform, collate
from snowmelt.data.samples import Sample
from snowmelt.errors import SnowmeltError
from snowmelt.teachers import OpenOptions
from snowmelt.teachers.cache import (
    FillReport,
    TeacherCache,
    answers_of_maps,
    answers_of_teacher,
    digests_of,
    fill,
    filling,
    open_cache,
    probe,
)
from snowmelt.teachers.maps import open_maps


def answers_to(source: Pictures, teacher: CountingTeacher) -> Tensor:
    """What the teacher says about the letterboxed pictures, asked directly."""
    dataset = EvaluationDataset(source, build_evaluation_transform(SIZE))
    return teacher(collate([dataset[index] for index in range(len(source))]).images)


def stored(cache: TeacherCache, source: Pictures) -> Tensor:
    view = cache.view(digests_of(source))
    rows = [[torch.from_numpy(plane) for plane in view.read(index)] for index in range(len(view))]
    return cache.encoding.decode(tuple(torch.stack(plane) for plane in zip(*rows, strict=True)))


@pytest.fixture
def cache(tmp_path: Path) -> TeacherCache:
    return open_cache(tmp_path, DIGEST, exact())


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_stored_is_what_the_teacher_says(tmp_path: Path, channels: int, workers: int) -> None:
    source, teacher = Pictures(range(12)), CountingTeacher(channels)
    cache = open_cache(tmp_path, DIGEST, exact(channels))
    report = fill(cache, answers_of_teacher(teacher), source, batch_size=5, workers=workers, context="fork")
    expected, found = answers_to(source, teacher), stored(cache, source)
    for index in range(12):
        height, width = source.filled(index)
        torch.testing.assert_close(
            found[index, :, :height, :width], expected[index, :, :height, :width], atol=0.01, rtol=0.001
        )
        assert torch.equal(found[index, :, height:], found[index, :, height - 1 : height].expand(-1, SIZE - height, -1))
    assert (report.images, report.reused, report.bytes) == (12, 0, 12 * report.bytes_per_image)
    assert report.bytes_per_image == cache.encoding.row_bytes


def test_a_second_pass_asks_nothing(cache: TeacherCache) -> None:
    teacher = CountingTeacher()
    fill(cache, answers_of_teacher(teacher), Pictures(range(6)))
    report = fill(cache, answers_of_teacher(teacher), Pictures(range(6)))
    assert teacher.asked == 6
    assert (report.images, report.reused, report.bytes) == (0, 6, 0)


def test_other_splits_of_the_same_pictures_share(cache: TeacherCache) -> None:
    teacher = CountingTeacher()
    fill(cache, answers_of_teacher(teacher), Pictures([1, 2, 3, 4]))
    fill(cache, answers_of_teacher(teacher), Pictures([9, 4, 3, 8]))
    assert teacher.asked == 6
    both = Pictures([8, 1, 9, 2])
    torch.testing.assert_close(stored(cache, both)[0], stored(cache, Pictures([8]))[0])


def test_equal_pictures_are_asked_about_once(cache: TeacherCache) -> None:
    source, teacher = Pictures([3, 5, 3, 3]), CountingTeacher()
    assert fill(cache, answers_of_teacher(teacher), source).images == teacher.asked == 2
    found = stored(cache, source)
    assert torch.equal(found[0], found[2]) and not torch.equal(found[0], found[1])


def test_a_killed_pass_is_taken_up_where_it_was(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=fill_and_die, args=(tmp_path, 11, 7))
    process.start()
    process.join(60)
    assert process.exitcode == 9
    cache, source, teacher = open_cache(tmp_path, DIGEST, exact()), Pictures(range(11)), CountingTeacher()
    assert len(cache) == 6  # whole batches of 2; the fourth was never answered
    assert fill(cache, answers_of_teacher(teacher), source).images == teacher.asked == 5
    torch.testing.assert_close(
        stored(cache, source)[:, :, 0, 0], answers_to(source, teacher)[:, :, 0, 0], atol=0.01, rtol=0.01
    )


class Deadly(Pictures):
    """A loading process that comes to picture 5 is killed."""

    def load(self, index: int) -> Sample:
        if index == 5 and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().load(index)


# PyTorch tells of the death from a signal handler, which may strike in any line and leave its open file behind.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_dead_loading_process_is_named_with_its_picture_and_answers_are_kept(tmp_path: Path) -> None:
    source, cache = Deadly(range(11)), open_cache(tmp_path, DIGEST, exact())
    with pytest.raises(SnowmeltError, match=rf"died \(SIGKILL\) at {source.name(5)}; ") as caught:
        fill(cache, answers_of_teacher(CountingTeacher()), source, batch_size=2, workers=1, context="fork")
    assert caught.value.code == "loading-process-died"
    again = open_cache(tmp_path, DIGEST, exact())
    kept = len(again)
    assert kept in (0, 2, 4)  # batches that the teacher had answered by then
    assert fill(again, answers_of_teacher(CountingTeacher()), source, batch_size=2).images == 11 - kept


class Interrupting(CountingTeacher):
    def __call__(self, images: Tensor) -> Tensor:
        if self.asked >= 4:
            raise KeyboardInterrupt
        return super().__call__(images)


def test_an_interrupted_pass_keeps_what_it_has(cache: TeacherCache, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fill(cache, answers_of_teacher(Interrupting()), Pictures(range(9)), batch_size=2)
    assert len(open_cache(tmp_path, DIGEST, exact())) == 4


@pytest.mark.parametrize("together", [False, True])
def test_processes_share_the_work_without_a_word(cache: TeacherCache, tmp_path: Path, together: bool) -> None:
    """Also where one starts when another is done: shares do not depend on what is stored."""
    source, teachers = Pictures([*range(11), 3, 4]), [CountingTeacher() for _ in range(3)]
    caches = [open_cache(tmp_path, DIGEST, exact()) for _ in range(3)] if together else [None] * 3
    reports: list[FillReport] = []
    for rank, (mine, teacher) in enumerate(zip(caches, teachers, strict=True)):
        mine = open_cache(tmp_path, DIGEST, exact()) if mine is None else mine
        reports.append(fill(mine, answers_of_teacher(teacher), source, rank=rank, world_size=3))
    assert [teacher.asked for teacher in teachers] == [report.images for report in reports] == [4, 4, 3]
    cache.refresh()
    assert cache.missing(digests_of(source)) == []


@pytest.mark.parametrize(("limits", "shards"), [({}, 1), ({"shard_bytes": 1}, 3), ({"shard_seconds": 0.0}, 3)])
def test_shards_are_as_large_as_is_wanted(cache: TeacherCache, limits: dict, shards: int) -> None:
    fill(cache, answers_of_teacher(CountingTeacher()), Pictures(range(6)), batch_size=2, **limits)
    assert len(list(cache.folder.glob("*.npy"))) == shards


def test_progress_counts_what_is_to_do(cache: TeacherCache) -> None:
    told: list[tuple[int, int]] = []
    teacher = answers_of_teacher(CountingTeacher())
    fill(cache, teacher, Pictures([0, 1]))
    fill(
        cache, teacher, Pictures(range(7)), batch_size=2, progress=lambda done, total, rate: told.append((done, total))
    )
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_a_full_disk_is_found_out_before_the_teacher_is_asked(
    cache: TeacherCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 0, 10))
    teacher = CountingTeacher()
    with pytest.raises(SnowmeltError, match="answers for 2 pictures need"):
        fill(cache, answers_of_teacher(teacher), Pictures([0, 1, 1]))
    assert teacher.asked == 0


class Broken(CountingTeacher):
    def __call__(self, images: Tensor) -> Tensor:
        logits = super().__call__(images)
        if self.asked == 4:
            logits[1, 0, 2, 2] = float("nan")
        return logits


def test_an_answer_that_is_no_number_is_named_and_the_others_are_kept(cache: TeacherCache) -> None:
    with pytest.raises(SnowmeltError, match=r"^003\.png: .*NaN"):
        fill(cache, answers_of_teacher(Broken()), Pictures(range(6)), batch_size=2)
    assert len(cache) == 3


@pytest.mark.parametrize("shape", [(3, SIZE, SIZE), (1, 8, 8)])
def test_an_answer_of_another_shape_is_refused(cache: TeacherCache, shape: tuple[int, ...]) -> None:
    def odd(images: Tensor, names: Sequence[str], filled: Sequence[tuple[int, int]]) -> Tensor:
        return torch.zeros(len(images), *shape)

    with pytest.raises(SnowmeltError, match="was expected"):
        fill(cache, odd, Pictures([0]))


def test_every_picture_has_a_digest(cache: TeacherCache) -> None:
    with pytest.raises(SnowmeltError, match="1 digests for 2 pictures"):
        fill(cache, answers_of_teacher(CountingTeacher()), Pictures([0, 1]), digests=["a"])


def test_probes_are_spread_and_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    source, teacher = Pictures(range(40)), CountingTeacher()
    logits, filled = probe(answers_of_teacher(teacher), source, SIZE, count=5)
    assert logits.shape == (5, 1, SIZE, SIZE) and teacher.asked == 5
    expected = answers_to(source, CountingTeacher())
    chosen = [next(index for index in range(40) if torch.equal(expected[index], each)) for each in logits]
    assert sorted(chosen) == [0, 9, 19, 29, 39]
    assert filled == [source.filled(index) for index in chosen]
    assert torch.equal(logits, probe(answers_of_teacher(teacher), source, SIZE, count=5)[0])
    monkeypatch.setattr(filling, "PROBE_BYTES", 2 * SIZE * SIZE * 4)
    assert torch.equal(probe(answers_of_teacher(teacher), source, SIZE, count=5)[0], logits[:2])
    assert len(probe(answers_of_teacher(teacher), Pictures([1]), SIZE)[0]) == 1


def map_folder(folder: Path, source: Pictures, side: int) -> None:
    """Logits for each picture: -4 at its left end, 4 at its right end, ``side`` values along its long side."""
    folder.mkdir()
    for index in range(len(source)):
        height, width = source.image(index).shape[:2]
        shape = (max(1, round(height * side / max(height, width))), max(1, round(width * side / max(height, width))))
        centres = (np.arange(shape[1], dtype=np.float32) + 0.5) / shape[1]
        np.save(folder / f"{source.seeds[index]:03d}.npy", np.broadcast_to(8 * centres - 4, (1, *shape)).copy())


@pytest.mark.parametrize("side", [SIZE // 2, SIZE, 4 * SIZE])
def test_maps_from_files_lie_where_their_pictures_do(cache: TeacherCache, tmp_path: Path, side: int) -> None:
    source = Pictures([0, 1, 2, 3, 5])
    map_folder(tmp_path / "maps", source, side)
    maps = open_maps(tmp_path / "maps", OpenOptions(classes=source.classes, outputs="logits"))
    fill(cache, answers_of_maps(maps), source, batch_size=2)
    for index, logits in enumerate(stored(cache, source)):
        height, width = source.filled(index)
        centres = (torch.arange(width) + 0.5) / width
        margin = SIZE // side + 1  # a smaller map says nothing beyond the centres of its outer cells
        error = (logits[0, :height, :width] - (8 * centres - 4)).abs()
        assert error[:, margin:-margin].max() < 0.05


def test_maps_are_mapped_to_the_students_classes(cache: TeacherCache, tmp_path: Path) -> None:
    source = Pictures([0, 1])
    map_folder(tmp_path / "maps", source, SIZE)
    maps = open_maps(tmp_path / "maps", OpenOptions(classes=source.classes, outputs="logits"))
    fill(cache, answers_of_maps(maps, lambda logits: -2 * logits), source)
    assert stored(cache, source)[0, 0, 3, 0] == pytest.approx(7.5, abs=0.01)


def test_a_larger_map_is_averaged_not_sampled(cache: TeacherCache, tmp_path: Path) -> None:
    source = Pictures([0])
    (tmp_path / "maps").mkdir()
    stripes = np.tile(np.array([-8, 8, 8, -8], dtype=np.float32), (64, 16))  # sampled at cell centres all are 8
    np.save(tmp_path / "maps" / "000.npy", stripes[None])
    maps = open_maps(tmp_path / "maps", OpenOptions(classes=source.classes, outputs="logits"))
    fill(cache, answers_of_maps(maps), source)
    assert stored(cache, source)[..., 2:-2].abs().max() < 0.1


def test_a_map_of_another_picture_is_refused(cache: TeacherCache, tmp_path: Path) -> None:
    source = Pictures([0, 1])
    map_folder(tmp_path / "maps", source, 64)
    np.save(tmp_path / "maps" / "001.npy", np.zeros((1, 64, 64), dtype=np.float32))
    maps = open_maps(tmp_path / "maps", OpenOptions(classes=source.classes, outputs="logits"))
    with pytest.raises(SnowmeltError, match=r"001\.png: its stored map has 64 x 64 values"):
        fill(cache, answers_of_maps(maps), source)
