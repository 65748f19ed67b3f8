"""Counts image by image: those of the Scorer to the pixel, in the source's order, whoever answers and however many."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import start_run
from waiting import Waits

from snowmelt.data import IGNORE_INDEX, UNLABELLED, Batch
from snowmelt.errors import SnowmeltError
from snowmelt.training import Scorer, TrainingRun, answer_of, score_images
from snowmelt.training.scoring import Sums


def odd_batches(images: int = 7) -> list[Batch]:
    """Images in no order, with ignored and unlabelled pixels among them."""
    generator = torch.Generator().manual_seed(3)
    pictures = torch.randint(0, 256, (images, 3, 64, 64), generator=generator, dtype=torch.uint8)
    masks = torch.randint(0, 2, (images, 64, 64), generator=generator, dtype=torch.uint8)
    masks[0, :40], masks[1, 5:9] = IGNORE_INDEX, UNLABELLED
    order = torch.randperm(images, generator=generator)
    return [Batch(pictures[part], masks[part], part) for part in order.split(3)]


def matrix_of_scorer(run: TrainingRun, batches: list[Batch], monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    kept: list[Sums] = []
    read = Sums.read

    def keep(sums: Sums) -> object:
        kept.append(sums)
        return read(sums)

    monkeypatch.setattr(Sums, "read", keep)
    Scorer(run.engine, batches, run.classes, run.normalise, run.objective, run.teacher).score(run.network)
    return np.stack([kept[0].student.matrix.numpy(), kept[0].teacher.matrix.numpy()])


def test_the_sum_is_the_scorers_matrix_of_student_and_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, batches = start_run(tmp_path), odd_batches()
    assert run.teacher is not None
    expected = matrix_of_scorer(run, batches, monkeypatch)
    student = score_images(run.engine, batches, 7, 2, answer_of(run.network, run.normalise, run.engine))
    teacher = score_images(run.engine, batches, 7, 2, run.teacher)
    assert np.array_equal(np.stack([student.sum(0), teacher.sum(0)]), expected)
    assert (student.dtype, student.shape) == (np.int64, (7, 2, 2))
    assert not run.network.training


def test_each_image_stands_at_its_place_in_the_source(tmp_path: Path) -> None:
    run, batches = start_run(tmp_path), odd_batches()
    answer = answer_of(run.network, run.normalise, run.engine)
    whole = score_images(run.engine, batches, 7, 2, answer)
    for batch in batches:
        for row, index in enumerate(batch.indices.tolist()):
            alone = replace(batch[row : row + 1], indices=torch.tensor([0]))
            assert np.array_equal(score_images(run.engine, [alone], 1, 2, answer)[0], whole[index])
    counted = [(masks < UNLABELLED).sum().item() for batch in batches for masks in batch.masks]
    order = torch.cat([batch.indices for batch in batches]).tolist()
    assert whole.sum((1, 2))[order].tolist() == counted


def test_processes_that_share_the_images_add_up_to_the_whole(tmp_path: Path) -> None:
    run, batches = start_run(tmp_path), odd_batches()
    answer = answer_of(run.network, run.normalise, run.engine)
    shares = [score_images(run.engine, batches[rank::2], 7, 2, answer) for rank in range(2)]
    assert np.array_equal(shares[0] + shares[1], score_images(run.engine, batches, 7, 2, answer))
    assert np.array_equal(score_images(run.engine, [], 7, 2, answer), np.zeros((7, 2, 2)))


def test_a_label_that_is_no_class_is_refused(tmp_path: Path) -> None:
    run, batches = start_run(tmp_path), odd_batches()
    batches[1].masks[0, 0, :3] = 9
    with pytest.raises(SnowmeltError, match=r"3 pixels have a label outside the classes 0\.\.1"):
        score_images(run.engine, batches, 7, 2, answer_of(run.network, run.normalise, run.engine))


def test_no_batch_waits_for_the_device(tmp_path: Path) -> None:
    run = start_run(tmp_path)
    answer = answer_of(run.network, run.normalise, run.engine)
    seen = []
    for batches in (odd_batches(3), odd_batches(12)):
        with Waits() as waits:
            score_images(run.engine, batches, 12, 2, answer)
        seen.append(waits.seen)
    assert seen[0] == seen[1]
    assert seen[0].total() > 0  # the count is not blind
