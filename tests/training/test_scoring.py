"""Scoring a set: one confusion matrix, losses over the whole set, a teacher that is asked once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import same_tensors, start_run
from waiting import Waits

from snowmelt.data import IGNORE_INDEX, UNLABELLED, Batch
from snowmelt.training import Scorer, TrainingRun
from snowmelt.training.scoring import TeacherMemory


def make_scorer(run: TrainingRun, batches: list[Batch]) -> Scorer:
    return Scorer(run.engine, batches, run.classes, run.normalise, run.objective, run.teacher)


def uneven_batches() -> list[Batch]:
    """Batches of 3 and 1 images, with very different shares of foreground and of ignored pixels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 3, 64, 64), generator=generator, dtype=torch.uint8)
    masks = (torch.rand(4, 64, 64, generator=generator) > torch.tensor([0.1, 0.5, 0.9, 0.99])[:, None, None]).byte()
    masks[3, :50] = IGNORE_INDEX
    return [Batch(images[:3], masks[:3], torch.arange(3)), Batch(images[3:], masks[3:], torch.arange(3, 4))]


def all_at_once(batches: list[Batch]) -> list[Batch]:
    return [
        Batch(
            torch.cat([batch.images for batch in batches]),
            torch.cat([batch.masks for batch in batches]),
            torch.cat([batch.indices for batch in batches]),
        )
    ]


def test_the_score_does_not_depend_on_how_the_set_is_cut(tmp_path: Path) -> None:
    run = start_run(tmp_path)
    batches = uneven_batches()
    cut = make_scorer(run, batches).score(run.network, temperature=3.0)
    whole = make_scorer(run, all_at_once(batches)).score(run.network, temperature=3.0)
    assert cut.miou == pytest.approx(whole.miou, abs=1e-12)
    assert cut.terms == pytest.approx(whole.terms, rel=1e-5)
    assert cut.agreement == pytest.approx(whole.agreement)


def test_terms_are_those_of_the_objective_on_the_whole_set(tmp_path: Path) -> None:
    run = start_run(tmp_path)
    (batch,) = all_at_once(uneven_batches())
    score = make_scorer(run, [batch]).score(run.network, temperature=2.0)
    run.network.eval()
    assert run.teacher is not None
    with torch.no_grad():
        expected = run.objective(run.network(run.normalise(batch.images)), run.teacher(batch), batch.masks.long(), 2.0)
    assert score.terms == pytest.approx({name: value.item() for name, value in expected.items()}, rel=1e-5)


def test_miou_equals_a_second_implementation(tmp_path: Path) -> None:
    run = start_run(tmp_path, teacher=False)
    batches = uneven_batches()
    score = make_scorer(run, batches).score(run.network)
    run.network.eval()
    with torch.no_grad():
        predicted = [(run.network(run.normalise(batch.images))[:, 0] > 0).numpy() for batch in batches]
    truth = np.concatenate([batch.masks.numpy() for batch in batches])
    guess = np.concatenate(predicted)
    valid = truth != IGNORE_INDEX
    expected = []
    for label in (0, 1):
        hit = ((guess == label) & (truth == label) & valid).sum()
        union = (((guess == label) | (truth == label)) & valid).sum()
        expected.append(hit / union)
    assert score.miou == pytest.approx(float(np.mean(expected)))
    assert list(score.iou.values()) == pytest.approx(expected)
    assert score.teacher_miou is None and score.agreement is None


def test_the_network_is_scored_in_eval_mode_and_gets_its_mode_back(tmp_path: Path) -> None:
    run = start_run(tmp_path)
    run.thaw.to(1)
    run.network.train()
    modes = [module.training for module in run.network.modules()]
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    make_scorer(run, uneven_batches()).score(run.network)
    assert [module.training for module in run.network.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in run.network.state_dict().items())


def test_the_teacher_is_asked_once_and_the_score_stays_the_same(tmp_path: Path) -> None:
    run = start_run(tmp_path)
    calls = []
    teacher = run.teacher
    assert teacher is not None

    def counted(batch: Batch) -> torch.Tensor:
        calls.append(len(batch))
        return teacher(batch)

    scorer = replace(make_scorer(run, uneven_batches()), teacher=counted)
    first, second = scorer.score(run.network), scorer.score(run.network)
    assert calls == [3, 1]
    assert first == second
    assert scorer.memory.miou == first.teacher_miou


def test_a_full_memory_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snowmelt.training.scoring.MEMORY_LIMIT", 4 * 10)
    memory = TeacherMemory()
    for _ in range(2):
        assert same_tensors(memory.recall(0, lambda: (torch.ones(6), torch.ones(2))), (torch.ones(6), torch.ones(2)))
        assert same_tensors(memory.recall(1, lambda: (torch.zeros(8),)), (torch.zeros(8),))
    assert len(memory.answers) == 1


def test_unlabelled_pixels_count_in_no_score_but_in_distillation(tmp_path: Path) -> None:
    run = start_run(tmp_path)
    scored = []
    for label in (IGNORE_INDEX, UNLABELLED):
        batches = uneven_batches()
        batches[0].masks[0] = label
        scored.append(make_scorer(run, batches).score(run.network, temperature=2.0))
    ignored, unlabelled = scored
    assert (unlabelled.miou, unlabelled.iou) == (ignored.miou, ignored.iou)
    assert (unlabelled.teacher_miou, unlabelled.agreement) == (ignored.teacher_miou, ignored.agreement)
    assert unlabelled.terms["task"] == pytest.approx(ignored.terms["task"], rel=1e-6)
    assert unlabelled.terms["kl"] != pytest.approx(ignored.terms["kl"], rel=1e-4)
    whole = make_scorer(run, uneven_batches()).score(run.network, temperature=2.0)
    assert unlabelled.terms["kl"] == pytest.approx(whole.terms["kl"], rel=1e-6)


def test_weights_of_an_epoch_are_those_of_its_score(tmp_path: Path) -> None:
    run = start_run(tmp_path)
    scorer = make_scorer(run, uneven_batches())
    terms = scorer.score(run.network, weights={"alpha": 0.25, "kl": 3.0}).terms
    assert terms["distill"] == pytest.approx(3.0 * terms["kl"])
    assert terms["total"] == pytest.approx(0.75 * terms["task"] + 0.25 * terms["distill"])


def test_a_process_without_a_batch_takes_part_in_the_sums(tmp_path: Path) -> None:
    """Eight processes and seven images: the eighth has to add zeros to the same terms, or the others wait for ever."""
    run = start_run(tmp_path)
    some = make_scorer(run, uneven_batches()).score(run.network)
    none = make_scorer(run, []).score(run.network)
    assert list(none.terms) == list(some.terms)
    alone = start_run(tmp_path / "alone", teacher=False)
    assert list(make_scorer(alone, []).score(alone.network).terms) == ["cross_entropy", "dice", "task", "total"]


@pytest.mark.parametrize("teacher", [False, True])
def test_more_batches_read_no_more_from_the_device(teacher: bool, tmp_path: Path) -> None:
    run = start_run(tmp_path, teacher=teacher)
    seen = []
    for batches in (uneven_batches(), uneven_batches()[:1], uneven_batches() * 4):
        scorer = make_scorer(run, batches)
        if teacher:
            scorer.score(run.network)  # its answers are fetched once
        with Waits() as waits:
            scorer.score(run.network)
        seen.append(waits.seen)
    assert seen[1] == seen[2]
    assert 0 < seen[1].total() < 40  # the count is not blind
