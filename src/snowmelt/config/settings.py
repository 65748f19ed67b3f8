"""Typed settings: one class per concern, one sentence per field. docs/settings.md has the reason for each default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from snowmelt.config.base import Settings
from snowmelt.config.fields import Count, Epochs, ImageSize, Positive, Seed, Weight
from snowmelt.config.reacting import ReactionsConfig
from snowmelt.config.teaching import DistillationConfig, NetworkConfig, TeacherConfig
from snowmelt.config.ten_strings import read_ten_strings
from snowmelt.errors import SnowmeltError
from snowmelt.schedules import (
    LearningRateKind,
    LearningRateSchedule,
    TemperatureKind,
    TemperatureSchedule,
    ThawSchedule,
)


class DataConfig(Settings):
    """Where images and masks come from and how they reach the network."""

    source: str = "scenes"
    """``scenes[:N]``, ``scenes-parts[:N]``, a folder, or ``coco:IMAGES:JSON[:category,...]``."""
    val: str | None = None
    """A second SPEC for validation; without it the source's own ``val`` part, or a split by ``val_fraction``."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the images that validate, where the source has no validation part of its own."""
    image_folder: str = "images"
    """Name of the images' folder inside a folder source."""
    mask_folder: str = "masks"
    """Name of the masks' folder inside a folder source."""
    classes: list[str] | None = None
    """Class names by id, background first; without it ``classes.txt`` or the ids found in the masks."""
    unlabelled: str | None = None
    """A folder of pictures without masks, which join training with the distillation losses alone."""
    image_size: ImageSize | None = None
    """Side of the square that the networks see, in pixels; without it 128 for ``scenes`` and 256 for files."""
    augmentation: Literal["none", "light", "heavy"] = "light"
    """Random changes of the training images."""
    seed: Seed = 0
    """Seed of the split, of the limit and of embedded scenes; runs of another training seed keep the same data."""
    limit: Count | None = None
    """Use only the first N training images of a seeded order: what would less data give?"""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Processes that load images; 0: a thread of the main one, which is also what a CPU run does without it."""
    store: Literal["auto", "memory", "disk", "none"] = "auto"
    """Where decoded, reduced images are kept between epochs and runs; ``auto``: on the disk where there is room."""
    store_folder: Path | None = None
    """Where the image store lies; without it ``image-store`` in the output folder."""


class TemperatureConfig(Settings):
    """The distillation temperature over the epochs."""

    kind: TemperatureKind = "cosine"
    """``constant``, ``linear``, ``cosine``, ``exponential`` or ``piecewise``."""
    initial: float = 4.0
    """Temperature in the first epoch."""
    final: float = 1.0
    """Temperature in the last epoch."""
    milestones: dict[int, float] = Field(default_factory=dict)
    """Epoch to temperature, for ``piecewise``."""

    @model_validator(mode="after")
    def _in_range(self) -> TemperatureConfig:
        self.schedule()
        return self

    def schedule(self) -> TemperatureSchedule:
        """The schedule that these settings describe."""
        return TemperatureSchedule(self.kind, self.initial, self.final, self.milestones)


class ThawConfig(Settings):
    """When the encoder's blocks begin to learn."""

    progressive: bool = True
    """Off: the whole encoder learns from epoch 0, still at ``lr_scale``."""
    start: int = 10
    """Epoch in which the deepest block thaws."""
    every: int = 5
    """Epochs from one block to the next."""
    lr_scale: float = 0.1
    """Learning rate of the encoder as a share of the decoder's."""
    most: int | None = None
    """Thaw at most so many blocks; without it all."""
    norm_eval: bool = False
    """Batch norms of the encoder keep the statistics that they came with, thawed or not; their weights learn."""

    @model_validator(mode="after")
    def _in_range(self) -> ThawConfig:
        self.schedule()
        return self

    def schedule(self) -> ThawSchedule:
        """The schedule that these settings describe."""
        return ThawSchedule(self.start, self.every, self.lr_scale, self.most, self.progressive)


class OptimizerConfig(Settings):
    """AdamW and the schedule of its learning rate."""

    lr: Positive = 1e-3
    """Learning rate of the decoder and the head at the schedule's height."""
    weight_decay: Weight = 1e-2
    """Decoupled weight decay, for every group."""
    schedule: LearningRateKind = "trapezoid"
    """``trapezoid``, ``constant``, ``cosine`` or ``poly``."""
    warmup: float = 1.0
    """Epochs of linear warm-up (at most a tenth of the run)."""
    cooldown: float = 0.2
    """Share of the run in which a trapezoid falls."""
    floor: float = 0.01
    """Last factor of a falling schedule."""
    clip_norm: Positive | None = 1.0
    """Gradients of all that learns are scaled down to this norm; ``null`` leaves them."""

    @model_validator(mode="after")
    def _in_range(self) -> OptimizerConfig:
        self.rate_schedule()
        return self

    def rate_schedule(self) -> LearningRateSchedule:
        """The schedule that these settings describe."""
        return LearningRateSchedule(self.schedule, self.warmup, self.cooldown, self.floor)


class TaskConfig(Settings):
    """The loss against the true masks."""

    ce_weight: Weight = 1.0
    """Weight of the (binary) cross-entropy."""
    dice_weight: Weight = 1.0
    """Weight of the soft Dice loss, per image."""
    class_weights: list[Weight] | None = None
    """Weight of each class in the cross-entropy, background first."""


class TrainingConfig(Settings):
    """The loop: how long, how large, on what."""

    epochs: Epochs = 50
    """Passes over the training images."""
    batch_size: Count = 4
    """Images per forward pass and process."""
    accumulate: Count = 1
    """Forward passes per optimizer step; the effective batch is batch_size x accumulate x processes."""
    max_steps: Count | None = None
    """End after so many optimizer steps, counted over the whole run."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train."""
    precision: Literal["auto", "32", "bf16", "16"] = "auto"
    """Arithmetic of the networks; losses are always float32."""
    calibration_batches: Annotated[int, Field(ge=0)] = 32
    """Batches that give a randomly initialised encoder its norm statistics, where it starts frozen or never counts."""
    checkpoint_every: Count | None = None
    """Also save after so many steps inside an epoch; the end of each epoch is always saved."""
    log_every: Count = 20
    """Steps between two readings of the losses."""
    max_skipped: Count = 20
    """Go back, or stop, after so many steps in a row that were not finite: loss, gradient or teacher output."""
    rollbacks: Annotated[int, Field(ge=0)] = 3
    """Times that a run goes back to its last good checkpoint with lower rates before it stops; 0: never."""
    rollback_scale: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Factor on every learning rate, each time."""
    on_write_failure: Literal["stop", "go_on"] = "stop"
    """A full disk, a read-only or vanished folder: ``stop`` with one line, or ``go_on`` with a warning for each try."""
    check_space: bool = True
    """Refuse at the start what would not fit on the disk."""
    compile: bool = False
    """Compile the student, anew at every thaw."""
    deterministic: bool = False
    """The same bits from every run on a GPU, too, or a refusal; on a CPU that is so without it."""
    threads: Count | None = None
    """Threads of the arithmetic on the CPU; without it PyTorch decides."""
    patience: Count | None = None
    """End after so many epochs without a better score, counted from the last scheduled thaw at the earliest."""
    average: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of the average of the weights over the steps, which is then scored and saved as best."""

    @field_validator("precision", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """YAML and ``--set`` read 32 as a number."""
        return str(value) if isinstance(value, int) else value


class ExperimentConfig(Settings):
    """A whole experiment. Every part has its defaults; name only what differs."""

    name: str = ""
    """Name of the experiment and of its run folder."""
    description: str = ""
    """What it is for, in one line."""
    seed: Seed = 0
    """Seed of order, augmentation and initial weights."""
    output: Path = Path("experiments")
    """Folder in which run folders lie."""
    schedule_by_size: bool = False
    """Choose thaw, epochs and alpha by what was measured and by the number of training images (see docs/recipe.md)."""
    data: DataConfig = DataConfig()
    student: NetworkConfig = NetworkConfig()
    teacher: TeacherConfig = TeacherConfig()
    distillation: DistillationConfig = DistillationConfig()
    temperature: TemperatureConfig = TemperatureConfig()
    thaw: ThawConfig = ThawConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    task: TaskConfig = TaskConfig()
    training: TrainingConfig = TrainingConfig()
    reactions: ReactionsConfig = ReactionsConfig()

    @model_validator(mode="before")
    @classmethod
    def _expand_ten_strings(cls, values: Any) -> Any:
        """Move the published list out of ``distillation`` into the two typed settings."""
        if not isinstance(values, dict) or "distillation" not in values:
            return values
        distillation = values["distillation"]
        if isinstance(distillation, DistillationConfig):
            distillation = distillation.model_dump(exclude_unset=True)
        strings = distillation.get("feature_match_layers") if isinstance(distillation, dict) else None
        if not strings:
            return values
        expanded = read_ten_strings(strings)
        for key in expanded:
            if key in values:
                raise SnowmeltError(
                    f"feature_match_layers and {key} are both given; keep one of them", code="settings-conflict"
                )
        rest = {key: value for key, value in distillation.items() if key != "feature_match_layers"}
        return {**values, **expanded, "distillation": rest}

    @model_validator(mode="after")
    def _hangs_together(self) -> ExperimentConfig:
        """Settings that leave nothing to learn from, or would have no effect, are a mistake of whoever gave them."""
        distillation = self.distillation
        if self.distills and distillation.alpha > 0 and not distillation.has_terms:
            raise SnowmeltError(
                "distillation: kl_weight and all other weights are 0; set one, or enabled to false",
                code="loss-weights-zero",
            )
        task = {"ce_weight": self.task.ce_weight, "dice_weight": self.task.dice_weight}
        if not any(weight or name in distillation.weight_schedules for name, weight in task.items()):
            raise SnowmeltError("task: ce_weight and dice_weight are both 0; set one of them", code="loss-weights-zero")
        if self.data.unlabelled is not None and not self.distills:
            raise SnowmeltError(
                "data.unlabelled: pictures without masks teach nothing without a teacher; set it to null",
                code="settings-unused",
            )
        if self.distills and distillation.matches_features and self.teacher.mode == "cached":
            raise SnowmeltError(
                "distillation.feature_weight: features are not cached; use teacher.mode=live", code="teacher-mode"
            )
        if self.distills and distillation.matches_features and self.teacher.lays_down_encoding:
            raise SnowmeltError(
                "teacher.cache_precision and cache_stride are for stored answers, but features ask the teacher live",
                code="settings-unused",
            )
        return self

    @property
    def distills(self) -> bool:
        """Whether a teacher takes part."""
        return self.distillation.enabled and self.teacher.source != "none"
