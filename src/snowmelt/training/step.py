"""One optimizer step: micro-batches forward and backward, clip, update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from snowmelt.data import Batch
from snowmelt.training.counting import Counts, count
from snowmelt.training.run import TrainingRun


@dataclass(frozen=True)
class StepOutcome:
    """Terms of this process's share of the step (they add up over processes), and whether the update was made."""

    terms: Mapping[str, Tensor]
    finite: Tensor  # () bool, on the device


def train_step(
    run: TrainingRun,
    batch: Batch,
    temperature: float | None,
    weights: Mapping[str, float] | None = None,
    micro_batch: int | None = None,
) -> StepOutcome:
    """Learn from this process's share of one effective batch.

    Every term is divided by the pixels or images of the whole effective batch that it counts, over all micro-batches
    and processes, so that how the batch is cut does not change the gradient. ``weights`` are the objective's in this
    step; its own where they name none. ``micro_batch``: images per forward pass, where they are not those of the
    options.
    """
    assert run.module is not None and run.stepper is not None, "enter_stage comes before the first step"
    engine, size = run.engine, micro_batch or run.options.batch_size
    batch = batch.to(engine.device, non_blocking=True).coloured()
    counts = count_effective(run, batch)
    sums: dict[str, Tensor] = {}
    for start in range(0, len(batch), size):
        micro = batch[start : start + size]
        more_to_come = start + size < len(batch)
        with engine.fabric.no_backward_sync(run.module, enabled=more_to_come):  # type: ignore[arg-type]
            terms = forward(run, micro, temperature, counts, weights)
            # The synchroniser averages over processes; the divisor already counts all of them.
            engine.fabric.backward(terms["total"] * engine.world_size)
        for name, value in terms.items():
            sums[name] = sums[name] + value.detach() if name in sums else value.detach()
    finite = update(run, sums["total"])
    return StepOutcome(sums, finite)


def count_effective(run: TrainingRun, batch: Batch) -> Counts:
    """What counts in the whole effective batch, all processes together."""
    counts = run.engine.sum_over_processes(torch.stack(count(batch)))
    return Counts(*counts.clamp(min=1))


def forward(
    run: TrainingRun, micro: Batch, temperature: float | None, counts: Counts, weights: Mapping[str, float] | None
) -> dict[str, Tensor]:
    """Every loss term of one micro-batch."""
    assert run.module is not None
    output = run.module(run.normalise(micro.images))
    logits, projected = output if run.features is not None else (output, ())
    teacher_logits = None if run.teacher is None else run.teacher(micro)
    features = [] if run.features is None else list(zip(projected, run.features.read_teacher(), strict=True))
    return run.objective(
        logits,
        teacher_logits,
        micro.masks.long(),
        temperature=1.0 if temperature is None else temperature,
        weights=weights,
        features=features,
        **counts._asdict(),
    )


def update(run: TrainingRun, total: Tensor) -> Tensor:
    """Clip the gradients of all that learns and step, unless loss or gradient is not finite.

    The decision is taken on the device: a fused AdamW leaves weights and moments alone where ``found_inf`` is 1,
    as it does for a loss scaler. That scaler is used here and not through Fabric, which refuses to clip gradients for
    a fused optimizer.
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
    bad = (~(torch.isfinite(norm) & torch.isfinite(total))).to(torch.float32)
    bad = engine.sum_over_processes(bad).clamp(max=1.0)
    if run.optimizer.defaults.get("fused"):
        run.optimizer.grad_scale = None  # type: ignore[attr-defined]
        run.optimizer.found_inf = bad  # type: ignore[attr-defined]
        stepper.step()
    elif bad.item() == 0:
        stepper.step()
    if scaler is not None:
        scaler.update()
    run.optimizer.zero_grad(set_to_none=True)
    return bad == 0
