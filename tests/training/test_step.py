"""One optimizer step: divisors, clipping, steps that are not finite, frozen parameters."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from tiny_runs import ScaledSingle, network_without_batch_statistics, same_tensors, start_run

from snowmelt.data import IGNORE_INDEX, UNLABELLED, Batch
from snowmelt.training import TrainingRun, TrainState
from snowmelt.training.causes import FINE, GRADIENT, LOSS, OVERFLOW, STATISTICS, TEACHER
from snowmelt.training.stages import enter_stage
from snowmelt.training.step import count_effective, train_step


def make_batch(images: int = 4, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(0, 2, (images, 64, 64), generator=generator, dtype=torch.uint8)
    for row in range(images):
        masks[row, : 8 * row] = IGNORE_INDEX  # unequal numbers of valid pixels
    pixels = torch.randint(0, 256, (images, 3, 64, 64), generator=generator, dtype=torch.uint8)
    return Batch(pixels, masks, torch.arange(images))


def ready(tmp_path: Path, *, own_network: bool = False, epoch: int = 3, **changes: object) -> TrainingRun:
    network = network_without_batch_statistics() if own_network else None
    run = start_run(tmp_path, network=network, **changes)  # type: ignore[arg-type]
    run.stepper = run.engine.set_up(run.optimizer)
    enter_stage(run, TrainState(epoch=epoch))
    return run


def gradients(run: TrainingRun, batch: Batch) -> dict[str, torch.Tensor]:
    """Gradients of a step as the optimizer sees them."""
    seen: dict[str, torch.Tensor] = {}
    named = {id(parameter): name for name, parameter in run.network.named_parameters()}

    def look(optimizer: torch.optim.Optimizer, *_: object) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    seen[named[id(parameter)]] = parameter.grad.clone()

    handle = run.optimizer.register_step_pre_hook(look)
    train_step(run, batch, temperature=2.0)
    handle.remove()
    return seen


def test_micro_batches_with_unequal_valid_pixels_give_the_gradient_of_one_batch(tmp_path: Path) -> None:
    whole = gradients(
        ready(tmp_path / "a", own_network=True, training={"batch_size": 4}, optimizer={"clip_norm": None}), make_batch()
    )
    cut = gradients(
        ready(
            tmp_path / "b",
            own_network=True,
            training={"batch_size": 1, "accumulate": 4},
            optimizer={"clip_norm": None},
        ),
        make_batch(),
    )
    assert whole.keys() == cut.keys() and whole
    for name, gradient in whole.items():
        torch.testing.assert_close(cut[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_a_filler_image_is_no_image_of_the_batch(tmp_path: Path) -> None:
    run = ready(tmp_path)
    batch = make_batch()
    counts = count_effective(run, batch)
    assert counts.pixels == counts.taught_pixels == (batch.masks != IGNORE_INDEX).sum()
    assert counts.images == counts.taught_images == 4
    masks = batch.masks.clone()
    masks[3] = IGNORE_INDEX
    for index in (3, -4):
        filler = Batch(batch.images, masks, torch.tensor([0, 1, 2, index]))
        assert count_effective(run, filler)[1::2] == (3, 3)


def test_an_unlabelled_image_teaches_and_nothing_else(tmp_path: Path) -> None:
    """alpha 0: the step of the labelled images alone. alpha 1: the step of all images, whatever their labels."""
    batch = make_batch()
    masks = batch.masks.clone()
    masks[2:] = torch.where(masks[2:] == IGNORE_INDEX, masks[2:], torch.full_like(masks[2:], UNLABELLED))
    mixed = Batch(batch.images, masks, batch.indices)
    for alpha, same, other in ((0.0, batch[:2], batch), (1.0, batch, batch[:2])):
        found = []
        for index, each in enumerate((mixed, same, other)):
            folder = tmp_path / f"{alpha}{index}"
            changes = {"training": {"batch_size": 2, "accumulate": 2}, "optimizer": {"clip_norm": None}}
            run = ready(folder, own_network=True, distillation={"alpha": alpha, "cwd_weight": 1.0}, **changes)
            found.append(gradients(run, each))
        for name, gradient in found[0].items():
            torch.testing.assert_close(gradient, found[1][name], rtol=1e-3, atol=1e-6, msg=name)
        assert any(not torch.allclose(found[0][name], found[2][name], rtol=1e-2) for name in found[0])


def test_the_norm_that_is_clipped_is_that_of_all_that_learns(tmp_path: Path) -> None:
    run = ready(tmp_path, optimizer={"clip_norm": 0.01})
    clipped = gradients(run, make_batch())
    norm = torch.stack([gradient.norm() for gradient in clipped.values()]).norm()
    assert norm == pytest.approx(0.01, rel=1e-3)
    assert any(name.startswith("encoder.") for name in clipped)
    assert any(name.startswith("decoder.") for name in clipped)


def spoil(run: TrainingRun, what: str) -> None:
    """Let one thing of every step from now on be not finite."""
    teacher, objective, normalise = run.teacher, run.objective, run.normalise
    assert teacher is not None
    if what == "teacher":  # in a pixel that nobody is taught about
        run.teacher = lambda batch: torch.where(one_pixel(batch), NAN, teacher(batch))
    elif what == "loss":
        run.objective = lambda *given, **named: {  # type: ignore[assignment]
            name: value + float("inf") for name, value in objective(*given, **named).items()
        }
    elif what == "gradient":
        run.network.segmentation_head[0].weight.register_hook(lambda gradient: gradient * float("inf"))
    else:  # the variance of such inputs is beyond float32, and a norm makes zeros of them
        run.normalise = lambda images: normalise(images) * 1e25


def one_pixel(batch: Batch) -> torch.Tensor:
    """(B, 1, 64, 64), true for a corner of the picture at position 2."""
    chosen = torch.zeros(len(batch), 1, 64, 64, dtype=torch.bool)
    chosen[:, :, 0, 0] = (batch.indices == 2)[:, None]
    return chosen


NAN = torch.tensor(float("nan"))
CASES = {"teacher": TEACHER, "loss": LOSS, "gradient": GRADIENT, "statistics": STATISTICS}


@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("what", CASES)
def test_a_step_that_is_not_finite_says_why_and_changes_nothing(tmp_path: Path, what: str, precision: str) -> None:
    """Neither weights nor moments nor the running statistics of norms, which such a forward pass has poisoned."""
    run = ready(tmp_path, training={"precision": precision, "batch_size": 2, "accumulate": 2})
    batch = make_batch()
    assert train_step(run, batch, temperature=2.0).cause == FINE
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    moments = copy.deepcopy(run.optimizer.state_dict()["state"])
    assert moments and any(name.endswith("running_var") for name in before)
    spoil(run, what)
    outcome = train_step(run, batch, temperature=2.0)
    assert (outcome.cause, bool(outcome.finite)) == (CASES[what], False)
    assert outcome.sound.tolist() == [True, True, what != "teacher", True]
    assert same_tensors(dict(run.network.state_dict()), before)
    assert same_tensors(run.optimizer.state_dict()["state"], moments)


def test_after_a_bad_step_the_next_is_made_as_if_there_had_been_none(tmp_path: Path) -> None:
    ends = []
    for name in ("spoilt", "plain"):
        run = ready(tmp_path / name)
        train_step(run, make_batch(), temperature=2.0)
        if name == "spoilt":
            normalise, run.normalise = run.normalise, lambda images: torch.full((len(images), 3, 64, 64), torch.inf)
            train_step(run, make_batch(), temperature=2.0)
            run.normalise = normalise
        assert train_step(run, make_batch(seed=1), temperature=2.0).cause == FINE
        ends.append(dict(run.network.state_dict()))
    assert same_tensors(*ends)


def test_a_teacher_says_nothing_finite_in_the_middle_of_feature_maps(tmp_path: Path) -> None:
    run = ready(tmp_path, distillation={"feature_weight": 1.0, "feature_layers": ["encoder.3"]})
    assert run.features is not None
    read = run.features.read_teacher
    run.features.read_teacher = lambda: tuple(map_ * NAN for map_ in read())  # type: ignore[method-assign]
    outcome = train_step(run, make_batch(), temperature=2.0)
    assert outcome.cause == TEACHER and not outcome.sound.any()


def test_a_loss_scaler_clips_skips_and_steps_by_the_same_rule(tmp_path: Path) -> None:
    """fp16 is for GPUs; its scaler runs on a CPU too."""
    run = ready(tmp_path, training={"batch_size": 4}, optimizer={"clip_norm": 0.01, "lr": 0.1})
    run.engine.precision = "16"
    run.engine.fabric.strategy.precision = ScaledSingle()
    scaler = run.engine.scaler
    assert scaler is not None
    before = {name: value.clone() for name, value in run.network.named_parameters()}
    scaler._init_scale = 2.0**40  # every gradient of float16 overflows
    assert train_step(run, make_batch(), temperature=2.0).cause == OVERFLOW
    assert same_tensors(dict(run.network.named_parameters()), before) and scaler.get_scale() == 2.0**39
    scaler.update(2.0**4)
    clipped = gradients(run, make_batch())
    assert not same_tensors(dict(run.network.named_parameters()), before)
    norm = torch.stack([gradient.norm() for gradient in clipped.values()]).norm()
    assert norm == pytest.approx(0.01, rel=1e-3)  # that of the gradients without the scale


def test_a_frozen_block_has_no_gradient_and_does_not_decay(tmp_path: Path) -> None:
    run = ready(tmp_path, epoch=0, optimizer={"weight_decay": 0.5, "lr": 0.1})
    encoder = {name: value.clone() for name, value in run.network.encoder.state_dict().items()}
    for seed in range(3):
        train_step(run, make_batch(seed=seed), temperature=2.0)
    assert same_tensors(dict(run.network.encoder.state_dict()), encoder)
    assert all(parameter.grad is None for parameter in run.network.parameters())


def test_the_temperature_reaches_the_gradient(tmp_path: Path) -> None:
    run = ready(tmp_path, distillation={"alpha": 1.0}, optimizer={"clip_norm": None, "lr": 1e-12})
    hot, cold = (train_step(run, make_batch(), temperature=value).terms["kl"] for value in (4.0, 1.0))
    assert hot != pytest.approx(cold.item(), rel=0.01)
