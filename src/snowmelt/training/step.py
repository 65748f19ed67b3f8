"""One optimizer step: micro-batches forward and backward, clip, update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from snowmelt.data import Batch
from snowmelt.training.buffers import Buffers
from snowmelt.training.causes import FINE, find_cause
from snowmelt.training.counting import Counts, count
from snowmelt.training.run import TrainingRun


@dataclass(frozen=True)
class StepOutcome:
    """Terms of this process's share of the step (they add up over processes), and whether the update was made.

    All on the device.
    """

    terms: Mapping[str, Tensor]
    cause: Tensor  # () int64: why there was no update (``causes.py``), the same in every process
    sound: Tensor  # (B,) bool: images of this process about which teacher and student gave finite numbers

    @property
    def finite(self) -> Tensor:
        """() bool: whether the update was made."""
        return self.cause == FINE


class Forward(NamedTuple):
    """Of one micro-batch: every loss term, and for each image whether teacher and student gave finite numbers."""

    terms: dict[str, Tensor]
    taught: Tensor  # (B,) bool
    answered: Tensor  # (B,) bool


def train_step(
    run: TrainingRun,
    batch: Batch,
    temperature: float | None,
    weights: Mapping[str, float] | None = None,
    micro_batch: int | None = None,
    buffers: Buffers | None = None,
) -> StepOutcome:
    """Learn from this process's share of one effective batch.

    Every term is divided by the pixels or images of the whole effective batch that it counts, over all micro-batches
    and processes, so that how the batch is cut does not change the gradient. ``weights`` are the objective's in this
    step; its own where they name none. ``micro_batch``: images per forward pass, where they are not those of the
    options. ``buffers``: the learner's, already kept.

    Where loss, gradient, teacher or norm statistics are not finite, in any process, nothing has changed afterwards in
    any of them: neither weights nor moments nor buffers.
    """
    assert run.module is not None and run.stepper is not None, "enter_stage comes before the first step"
    engine, size = run.engine, micro_batch or run.options.batch_size
    batch = batch.to(engine.device, non_blocking=True).coloured()
    counts = count_effective(run, batch)
    if buffers is None:
        buffers = Buffers(run.learner)
        buffers.keep()
    sums: dict[str, Tensor] = {}
    passes: list[Forward] = []
    for start in range(0, len(batch), size):
        micro = batch[start : start + size]
        more_to_come = start + size < len(batch)
        with engine.fabric.no_backward_sync(run.module, enabled=more_to_come):  # type: ignore[arg-type]
            passes.append(forward(run, micro, temperature, counts, weights))
            terms = passes[-1].terms
            # The synchroniser averages over processes; the divisor already counts all of them.
            engine.fabric.backward(terms["total"] * engine.world_size)
        for name, value in terms.items():
            sums[name] = sums[name] + value.detach() if name in sums else value.detach()
    taught = torch.cat([each.taught for each in passes])
    cause = update(run, sums["total"], buffers.finite(engine.device), taught.all())
    buffers.put_back_unless(cause == FINE)
    return StepOutcome(sums, cause, taught & torch.cat([each.answered for each in passes]))


def count_effective(run: TrainingRun, batch: Batch) -> Counts:
    """What counts in the whole effective batch, all processes together."""
    counts = run.engine.sum_over_processes(torch.stack(count(batch)))
    return Counts(*counts.clamp(min=1))


def forward(
    run: TrainingRun, micro: Batch, temperature: float | None, counts: Counts, weights: Mapping[str, float] | None
) -> Forward:
    """Every loss term of one micro-batch, and whose numbers are finite."""
    assert run.module is not None
    output = run.module(run.normalise(micro.images))
    logits, projected = output if run.features is not None else (output, ())
    teacher_logits = None if run.teacher is None else run.teacher(micro)
    features = [] if run.features is None else list(zip(projected, run.features.read_teacher(), strict=True))
    answered = finite_images(logits)
    taught = torch.ones_like(answered) if teacher_logits is None else finite_images(teacher_logits)
    for _, map_ in features:
        taught = taught & finite_images(map_)
    terms = run.objective(
        logits,
        teacher_logits,
        micro.masks.long(),
        temperature=1.0 if temperature is None else temperature,
        weights=weights,
        features=features,
        **counts._asdict(),
    )
    return Forward(terms, taught, answered)


def finite_images(values: Tensor) -> Tensor:
    """(B, ...) -> (B,) bool: whether every number of an image is finite."""
    return torch.isfinite(values.detach()).flatten(1).all(dim=1)


def update(run: TrainingRun, total: Tensor, statistics: Tensor, taught: Tensor) -> Tensor:
    """Clip the gradients of all that learns and step, unless something is not finite; what it was, () int64.

    The decision is taken on the device: a fused AdamW leaves weights and moments alone where ``found_inf`` is 1,
    as it does for a loss scaler. That scaler is used here and not through Fabric, which refuses to clip gradients for
    a fused optimizer.

    Args:
        total: this process's loss.
        statistics: () bool, whether norm statistics are finite.
        taught: () bool, whether what the teacher gave is.
    """
    assert run.stepper is not None
    engine = run.engine
    limit = run.options.clip_norm if run.options.clip_norm is not None else float("inf")
    scaler = engine.scaler
    stepper = run.stepper if scaler is None else run.optimizer
    if scaler is not None:
        scaler.unscale_(run.optimizer)
    learns = [parameter for group in run.optimizer.param_groups for parameter in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(learns, limit)
    flags = ~torch.stack([torch.isfinite(norm), statistics, torch.isfinite(total), taught])
    cause = find_cause(engine.sum_over_processes(flags.float()), None if scaler is None else scaler._scale)
    bad = (cause != FINE).float()
    if run.optimizer.defaults.get("fused"):
        run.optimizer.grad_scale = None  # type: ignore[attr-defined]
        run.optimizer.found_inf = bad  # type: ignore[attr-defined]
        stepper.step()
    elif bad.item() == 0:
        stepper.step()
    if scaler is not None:
        scaler.update()
    run.optimizer.zero_grad(set_to_none=True)
    return cause
