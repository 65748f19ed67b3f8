"""Small, real runs for the tests of training: scenes of 64 pixels, networks of a few hundred thousand parameters."""

from __future__ import annotations

import copy
import functools
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from lightning_fabric.plugins import MixedPrecision
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils._pytree import tree_leaves

from snowmelt.build import make_engine, make_network, make_run, open_data, output_channels, settle
from snowmelt.build.teaching import BuiltTeaching
from snowmelt.config import ExperimentConfig, NetworkConfig, merge
from snowmelt.data import IGNORE_INDEX, UNLABELLED, Batch, Sample, Source, SubsetSource
from snowmelt.models import Thaw, normalisation_of
from snowmelt.schedules import make_plan
from snowmelt.teachers import LiveTeaching, NetworkTeacher
from snowmelt.training import Announcer, Engine, FeatureMatching, Listener, TrainingRun
from snowmelt.training.events import Event, StepEnded

SMALL = "tu-mobilenetv3_small_050"
NARROW = [16, 8, 8, 8, 8]  # widths of its decoder; with those of smp a step takes twice as long, a save six times

QUICKLY_COMPILED: dict[str, Any] = {  # a quarter of what the other takes
    "encoder": "tu-test_efficientnet",
    "weights": "none",
    "depth": 3,
    "decoder_channels": [8, 8, 8],
}

BASE: dict[str, Any] = {
    "name": "tiny",
    "data": {"source": "scenes:6", "image_size": 64, "workers": 0, "augmentation": "heavy"},
    "student": {"encoder": SMALL, "weights": "none", "decoder_channels": NARROW},
    "teacher": {"epochs": 1},
    "thaw": {"start": 1, "every": 1, "lr_scale": 0.5},
    "training": {
        "epochs": 4,
        "batch_size": 3,
        "device": "cpu",
        "precision": "32",
        "calibration_batches": 2,
        "log_every": 1,
    },
}


class Recorder(Listener):
    """Keeps every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def receive(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def make_config(**changes: Any) -> ExperimentConfig:
    """The base settings with nested changes."""
    return ExperimentConfig(**merge(BASE, changes))


def random_teacher(engine: Engine, channels: int = 1, encoder: str = SMALL) -> NetworkTeacher:
    """An untrained network with settled norm statistics is as good a teacher as any for these tests."""
    built = make_network(NetworkConfig(encoder=encoder, weights="none"), channels, seed=7)
    built.network.train()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(2):
            built.network(torch.randn(4, 3, 64, 64, generator=generator))
    return NetworkTeacher(built.network, normalisation_of(encoder), engine.autocast)


def asked_live(teacher: NetworkTeacher) -> BuiltTeaching:
    """The teacher itself answers, in training and in validation."""
    teaching = LiveTeaching(teacher)
    return BuiltTeaching(teaching, teaching, teacher.digest, network=teacher.network)


class FixedMaps:
    """A map store: one plane of made-up logits for each picture."""

    size = 64

    def read(self, index: int) -> tuple[np.ndarray, ...]:
        logits = np.random.default_rng(index).normal(size=(1, 64, 64)).astype(np.float32)
        return (logits,)


def read_maps(batch: Batch) -> Tensor:
    """The logits that ``FixedMaps`` stored, in the geometry of the batch."""
    assert batch.placement is not None
    grid = F.affine_grid(batch.placement, (len(batch), 1, 64, 64), align_corners=False)
    return F.grid_sample(batch.maps[0], grid, padding_mode="border", align_corners=False)


def stored_maps(examiner: NetworkTeacher) -> BuiltTeaching:
    """Stored answers in training, a teacher that is asked in validation."""
    return BuiltTeaching(read_maps, LiveTeaching(examiner), "fixed", maps=FixedMaps())


class HalfUnlabelled(SubsetSource):
    """Another source, but nobody labelled the pictures at odd positions."""

    def __init__(self, source: Source) -> None:
        super().__init__(source, list(range(len(source))))

    def load(self, index: int) -> Sample:
        sample = super().load(index)
        return replace(sample, mask=np.full_like(sample.mask, UNLABELLED)) if index % 2 else sample


def start_run(
    folder: Path,
    config: ExperimentConfig | None = None,
    *,
    teacher: bool = True,
    stored: bool = False,
    unlabelled: bool = False,
    listeners: tuple[Listener, ...] = (),
    network: nn.Module | None = None,
    **changes: Any,
) -> TrainingRun:
    """A run that saves into ``folder`` and goes on where the last one there ended."""
    config = make_config(**changes) if config is None else config
    engine = make_engine(config)
    splits = open_data(config)
    if unlabelled:
        splits = replace(splits, train=HalfUnlabelled(splits.train))
    settled, _ = settle(config, len(splits.train), len(splits.classes))
    channels = output_channels(splits.classes)
    run = make_run(
        settled,
        splits,
        engine,
        folder,
        teaching=(stored_maps if stored else asked_live)(random_teacher(engine, channels)) if teacher else None,
        announcer=Announcer(list(listeners)),
        resumes=(folder / "last.ckpt").exists(),
    )
    if network is not None:
        put_in(run, network, settled)
    return run


class ScaledSingle(MixedPrecision):
    """The loss scaler of fp16 around float32: a CPU's float16 takes a minute for a dozen steps.

    The gradients of logits pass through float16, so a scale that is too large for it overflows as it does on a GPU.
    """

    def __init__(self, scale: float = 2.0**16) -> None:
        super().__init__("16-mixed", "cpu", torch.amp.GradScaler("cpu", scale))

    def forward_context(self) -> AbstractContextManager[None]:
        return nullcontext()

    def convert_input(self, data: Any) -> Any:
        return data

    def convert_output(self, data: Any) -> Any:
        for output in tree_leaves(data):
            if output.requires_grad:
                output.register_hook(lambda gradient: gradient.half().float())
        return data


class SwitchedLabels(Listener):
    """Validation batches whose labels are all person in some epochs and all background in the others.

    Most of every scene is background, so a network that learns does worse in the former and better in the latter: what
    overfitting and its end look like, at the epochs that a test wants.
    """

    def __init__(self, batches: Iterable[Batch], epochs: Collection[int]) -> None:
        self._batches = batches
        self._epochs = epochs
        self._epoch = 0

    def receive(self, event: Event) -> None:
        if isinstance(event, StepEnded):
            self._epoch = event.epoch

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._batches:
            person = torch.full_like(batch.masks, int(self._epoch in self._epochs))
            yield replace(batch, masks=torch.where(batch.masks == IGNORE_INDEX, batch.masks, person))


def mislead(run: TrainingRun, epochs: Collection[int]) -> None:
    """Let the run's validation loss rise in these epochs."""
    labels = SwitchedLabels(run.val_batches, epochs)
    run.val_batches = labels
    run.announcer.listeners.append(labels)


def put_in(run: TrainingRun, network: nn.Module, config: ExperimentConfig) -> None:
    """Exchange the run's student for ``network``."""
    run.network = network
    run.thaw = Thaw(network, lr_scale=config.thaw.lr_scale)
    groups = run.thaw.param_groups(lr=config.optimizer.lr, weight_decay=config.optimizer.weight_decay)
    if run.features is not None:
        assert isinstance(run.teacher, LiveTeaching) and isinstance(run.teacher.teacher, NetworkTeacher)
        layers = config.distillation.feature_layers
        run.features = FeatureMatching(network, run.teacher.teacher.network, layers, seed=config.seed)
        run.features.join(groups)
    run.optimizer = AdamW(groups, fused=True)
    run.schedules = replace(run.schedules, blocks=tuple(run.thaw.blocks))
    run.calibrate = None


def network_without_batch_statistics(seed: int = 0) -> nn.Module:
    """A UNet whose output for an image does not depend on the other images, in train mode too."""
    network, state = _built_without_batch_statistics(seed)
    torch.set_rng_state(state)  # as after building it
    return copy.deepcopy(network)


@functools.cache
def _built_without_batch_statistics(seed: int) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(seed)
    network = smp.Unet(
        "tu-convnext_atto",
        encoder_weights=None,
        classes=1,
        decoder_use_norm=False,
        decoder_channels=(16, 16, 8, 8, 4),
    )
    return network, torch.get_rng_state()


def plan_rows(run: TrainingRun) -> list[Any]:
    return list(make_plan(run.schedules).epochs)


def same_tensors(left: Any, right: Any) -> bool:
    """Whether two nested structures hold the same bits."""
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same_tensors(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same_tensors, left, right))
    return bool(left == right)
