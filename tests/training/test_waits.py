"""No step waits for its device: counted on the CPU, and run on a device that holds no data and so can give none."""

from __future__ import annotations

import functools
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from test_step import make_batch
from tiny_runs import start_run
from torch.optim import AdamW, Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from waiting import Waits

from snowmelt.data import IGNORE_INDEX, Batch
from snowmelt.losses import DISTILLATION_TERMS
from snowmelt.models import Thaw
from snowmelt.teachers import LiveTeaching, NetworkTeacher, StoredTeaching
from snowmelt.teachers.cache.encoding import Encoding
from snowmelt.training import Engine, StopRequest, TrainingRun, TrainState, WeightAverage
from snowmelt.training.loop import train_epoch
from snowmelt.training.meter import Meter
from snowmelt.training.stages import enter_stage
from snowmelt.training.step import train_step
from snowmelt.training.stopping import Stopping
from snowmelt.training.suspects import Suspects
from snowmelt.training.tally import Tally

FEATURES = {"feature_weight": 1.0, "feature_layers": ["encoder.3", "decoder.1"]}
EVERY_TERM = {f"{'mse' if name == 'logit_mse' else name}_weight": 1.0 for name in DISTILLATION_TERMS} | FEATURES
WITHOUT_FEATURES = {name: value for name, value in EVERY_TERM.items() if not name.startswith("feature")}

CASES: dict[str, dict[str, Any]] = {
    "float32, live": {"distillation": EVERY_TERM},
    "bfloat16, live, micro-batches": {
        "distillation": {**EVERY_TERM, "adaptive": True},
        "training": {"precision": "bf16", "batch_size": 2, "accumulate": 2},
    },
    "no clipping, class weights": {
        "distillation": {**WITHOUT_FEATURES, "logit_standardisation": True},
        "optimizer": {"clip_norm": None},
        "task": {"class_weights": [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]},
    },
    "cached": {"distillation": {**WITHOUT_FEATURES, "adaptive": True}, "training": {"precision": "bf16"}},
}
AVERAGED = ("float32, live", "cached")  # the cases that also keep an average of the weights
CLASSES = 6


def parts_batch() -> Batch:
    """Four pictures, all classes and some ignored pixels."""
    batch = make_batch()
    parts = (batch.images[:, 0] % CLASSES).to(torch.uint8)
    masks = torch.where(batch.masks == IGNORE_INDEX, batch.masks, parts)
    return Batch(batch.images, masks, batch.indices)


def with_stored_answers(batch: Batch, encoding: Encoding) -> Batch:
    """The batch with what a cache would have about its pictures."""
    logits = torch.randn(len(batch), CLASSES, 64, 64, generator=torch.Generator().manual_seed(0))
    rows = [encoding.split(encoding.encode(each, (64, 64))) for each in logits]
    planes = tuple(torch.stack([torch.from_numpy(row[number]) for row in rows]) for number in range(len(rows[0])))
    placement = torch.eye(3)[:2].expand(len(batch), 2, 3).contiguous()
    return Batch(batch.images, batch.masks, batch.indices, planes, placement)


def start_parts(folder: Path, *, cached: bool, **changes: Any) -> tuple[TrainingRun, Batch]:
    """A run in its last stage over six classes, and a batch for it."""
    run, batch = start_run(folder, data={"source": "scenes-parts:20"}, **changes), parts_batch()
    if cached:
        encoding = Encoding("uint8", 2, 3, CLASSES, 64)
        run.teacher, batch = StoredTeaching(encoding), with_stored_answers(batch, encoding)
    run.stepper = run.engine.set_up(run.optimizer)
    enter_stage(run, TrainState(epoch=3))
    return run, batch


@pytest.mark.parametrize("case", CASES)
def test_a_longer_epoch_reads_no_more_from_the_device(case: str, tmp_path: Path) -> None:
    """What is read at the end of an epoch is the same after one step and after five: a step by itself reads nothing."""
    changes = {"training": {}, **CASES[case]}
    changes["training"] = {"batch_size": 4, "log_every": 1000, **changes["training"]}
    run, batch = start_parts(tmp_path, cached=case == "cached", **changes)
    names = run.objective.term_names(distills=True)
    assert set(DISTILLATION_TERMS) - {"feature"} <= set(names)
    seen: dict[int, Counter[str]] = {}
    for steps in (1, 1, 5):  # the first fills caches of constants
        state = TrainState(epoch=3, fade_from=2 if run.options.fade.enabled else None)
        run.train_batches = [batch] * steps
        run.average = WeightAverage(run.learner, 0.9) if case in AVERAGED else None
        with Waits() as waits:
            train_epoch(run, state, Meter(run.engine.device), Stopping(run.engine, StopRequest()))
        assert state.step_in_epoch == steps and state.skipped == 0 and list(state.sums) == [*names]
        seen[steps] = waits.seen
    assert seen[5] == seen[1]
    assert 0 < seen[1].total() < 20  # the count is not blind


def put_on_meta(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole run on a device that has shapes and no values: whoever asks for a value gets an error."""
    monkeypatch.setattr(Engine, "device", property(lambda _: torch.device("meta")))
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no such device
    setup = functools.partial(run.engine.fabric.setup_module, move_to_device=False)
    monkeypatch.setattr(run.engine.fabric, "setup_module", setup)
    if isinstance(run.teacher, LiveTeaching) and isinstance(run.teacher.teacher, NetworkTeacher):
        run.teacher.teacher.network.to("meta")
    run.learner.to("meta")
    thawed = run.thaw.thawed
    run.thaw = Thaw(run.network, lr_scale=0.5)
    run.thaw.to(thawed)
    groups = run.thaw.param_groups(lr=1e-3, weight_decay=0.01)
    run.optimizer = AdamW(groups if run.features is None else run.features.join(groups))
    # The fused kernel refuses this device, so the way to it is taken and it is left out; the count has it.
    run.optimizer.defaults["fused"] = True
    run.stepper = Optimizer([{"params": [torch.zeros(1)]}], {})
    monkeypatch.setattr(run.stepper, "step", lambda: None)
    run.module = run.engine.wrap(run.learner)


@pytest.mark.parametrize("case", ["float32, live", "no clipping, class weights", "cached"])
def test_a_step_runs_on_a_device_without_values(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stricter than a count: no operation may want a value, and constants come from the host without waiting."""
    changes = {**CASES[case], "training": {"batch_size": 2, "accumulate": 2}}
    run, batch = start_parts(tmp_path, cached=case == "cached", **changes)
    put_on_meta(run, monkeypatch)
    state = TrainState(epoch=3)
    tally, suspects = Tally(run.engine, state), Suspects(run.engine, 4)
    average = WeightAverage(run.learner, 0.9)
    copies = Copies()
    for _ in range(2):
        copies.blocking.clear()
        with copies:
            outcome = train_step(run, batch, 2.0, run.weights_at(state))
            average.update(0)
            tally.add(outcome.terms, outcome.cause)
            suspects.add(batch.indices, outcome.cause, outcome.sound)
    assert not copies.blocking
    assert outcome.cause.is_meta and outcome.sound.is_meta
    with pytest.raises((RuntimeError, NotImplementedError)):
        tally.store(state)  # what does wait is found out here


class Copies(TorchDispatchMode):
    """Notes copies from the host's memory to another device for which the host waits."""

    def __init__(self) -> None:
        super().__init__()
        self.blocking: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func is torch.ops.aten._to_copy.default:
            away = not args[0].is_meta and torch.device(given.get("device") or args[0].device).type == "meta"
            if away and not given.get("non_blocking"):
                self.blocking.append(f"{func} of {tuple(args[0].shape)}")
        elif func is torch.ops.aten.copy_.default and args[0].is_meta and not args[1].is_meta:
            self.blocking.append(f"{func} of {tuple(args[1].shape)}")
        return func(*args, **given)
