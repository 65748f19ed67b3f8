"""Settings of who teaches, and of how much the student listens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from snowmelt.config.base import Settings
from snowmelt.config.fields import Channels, Count, Epochs, ImageSize, Positive, Share, Weight
from snowmelt.config.ten_strings import read_ten_strings
from snowmelt.errors import SnowmeltError
from snowmelt.schedules import WeightKind, WeightSchedule

TEACHER_ENCODER = "timm-efficientnet-b3"
TASK_WEIGHTS = ("ce_weight", "dice_weight")
"""Weights of the task that may follow a schedule, as alpha and every weight of distillation may."""


class NetworkConfig(Settings):
    """A segmentation network of segmentation-models-pytorch."""

    architecture: str = "unet"
    """Name of the architecture."""
    encoder: str = "timm-efficientnet-b0"
    """Name of the encoder; ``timm-efficientnet-*`` and ``tu-*`` have different parameter names."""
    weights: str = "auto"
    """Encoder weights: ``imagenet``, ``none``, a .safetensors or .pth file, or ``auto``."""
    depth: Annotated[int, Field(ge=3, le=5)] = 5
    """Number of encoder stages in use."""
    decoder_channels: list[Channels] | None = None
    """Channels of the decoder's stages, deepest first; without it the architecture's own."""


class TeacherConfig(Settings):
    """Who teaches, how it is asked, and how it is trained where it has to be."""

    source: str = "auto"
    """``auto`` (trained on the same data when missing), ``none``, or a teacher of any kind (see docs/teachers.md)."""
    mode: Literal["auto", "live", "cached"] = "auto"
    """``live`` asks the teacher at every step, ``cached`` once per image; ``auto`` caches wherever that is possible."""
    image_size: ImageSize | None = None
    """Side of the square that the teacher sees; without it its own where its file tells, else the student's."""
    class_map: dict[str | int, str | None] = Field(default_factory=dict)
    """Teacher class (name or id, ``*`` for all others) to student class, or ``null`` to drop it."""
    outputs: Literal["auto", "logits", "probabilities"] = "auto"
    """What a foreign teacher answers with; ``auto`` looks at its answers to a few images."""
    mean: Annotated[list[float], Field(min_length=3, max_length=3)] | None = None
    """Mean per RGB channel of images in [0, 1] that a foreign teacher expects; without it its own, or ImageNet's."""
    std: Annotated[list[Positive], Field(min_length=3, max_length=3)] | None = None
    """Standard deviation per RGB channel, as ``mean``."""
    cache_folder: Path | None = None
    """Where cached answers lie; without it ``teacher-cache`` in the output folder."""
    cache_precision: Literal["auto", "uint8", "float16"] = "auto"
    """Precision of cached answers; ``auto`` measures what it costs and takes the cheapest that is good enough."""
    cache_stride: Literal["auto", 1, 2, 4, 8] = "auto"
    """Pixels per stored value, along each side; ``auto`` as for the precision."""
    network: NetworkConfig = NetworkConfig(encoder=TEACHER_ENCODER)
    """The teacher's network where it is trained; EfficientNet-B3 where its encoder is not named."""
    epochs: Epochs | None = None
    """Most epochs of its training; without it as many as the student's."""
    patience: Count = 10
    """Its training ends early after so many epochs without a better score."""
    lr_scale: Positive | None = None
    """Rate of its encoder as a share of its decoder's; without it 0.1 where pretrained and 1.0 where random."""
    norm_eval: bool = False
    """Batch norms of its encoder keep the statistics that they came with while it is trained; their weights learn."""

    @field_validator("network", mode="before")
    @classmethod
    def _keeps_its_encoder(cls, value: Any) -> Any:
        """A network given in part, such as its weights alone, must not fall back to the student's encoder."""
        if isinstance(value, NetworkConfig):
            value = value.model_dump(exclude_unset=True)
        return {"encoder": TEACHER_ENCODER, **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _is_used(self) -> TeacherConfig:
        if (self.mean is None) != (self.std is None):
            raise SnowmeltError("mean and std belong together; give both or neither", code="settings-conflict")
        foreign = {
            "class_map": self.class_map,
            "mean": self.mean,
            "outputs": self.outputs != "auto",
            "image_size": self.image_size,  # one that is trained here learns at the student's
        }
        given = [name for name, value in foreign.items() if value]
        if given and self.source in ("auto", "none"):
            raise SnowmeltError(
                f"{given[0]} is for teachers that are given, but source is {self.source!r}", code="settings-unused"
            )
        if self.mode == "live" and self.lays_down_encoding:
            raise SnowmeltError(
                "cache_precision and cache_stride are for stored answers, but mode is 'live'", code="settings-unused"
            )
        return self

    @property
    def lays_down_encoding(self) -> bool:
        """Whether the form of stored answers is given, not left to measurement."""
        return self.cache_precision != "auto" or self.cache_stride != "auto"


class WeightScheduleConfig(Settings):
    """One weight over the epochs; the formulas are the temperature's."""

    kind: WeightKind = "linear"
    """``constant``, ``linear``, ``cosine``, ``exponential`` or ``piecewise``."""
    initial: float = 1.0
    """Value in the first epoch."""
    final: float = 1.0
    """Value in the last epoch."""
    milestones: dict[int, float] = Field(default_factory=dict)
    """Epoch to value, for ``piecewise``."""

    @model_validator(mode="after")
    def _in_range(self) -> WeightScheduleConfig:
        self.schedule()
        return self

    def schedule(self) -> WeightSchedule:
        """The schedule that these settings describe."""
        return WeightSchedule(self.kind, self.initial, self.final, self.milestones)

    @property
    def values(self) -> list[float]:
        """The values between which it moves."""
        return list(self.milestones.values()) if self.kind == "piecewise" else [self.initial, self.final]


class DistillationConfig(Settings):
    """How much the student listens to the teacher, and through which losses."""

    enabled: bool = True
    """Off: no teacher, plain training."""
    alpha: Share = 0.5
    """Share of the distillation losses in the total: (1 - alpha) task + alpha distill."""
    kl_weight: Weight = 1.0
    """Weight of the temperature-softened KL divergence inside the distillation loss."""
    mse_weight: Weight = 0.0
    """Weight of the mean squared difference of the logits inside the distillation loss."""
    cwd_weight: Weight = 0.0
    """Weight of channel-wise distillation (CWD) inside the distillation loss."""
    dist_inter_weight: Weight = 0.0
    """Weight of DIST's relation between classes, pixel by pixel; needs three classes."""
    dist_intra_weight: Weight = 0.0
    """Weight of DIST's relation between pixels, class by class."""
    feature_weight: Weight = 0.0
    """Weight of feature matching on ``feature_layers``; asks the teacher live."""
    feature_layers: list[str] = Field(default_factory=list)
    """Where features are matched: ``encoder.N``, ``decoder.N`` or ``decoder``."""
    logit_standardisation: bool = False
    """KL of logits brought to mean 0 and deviation 1 in each pixel; needs three classes."""
    weight_schedules: dict[str, WeightScheduleConfig] = Field(default_factory=dict)
    """Weights that follow a schedule over the epochs, by name: ``alpha``, ``kl_weight``, ``dice_weight`` and so on."""
    adaptive: bool = False
    """Fade distillation out once the student has passed its teacher on validation."""
    adaptive_epochs: Count = 5
    """Epochs over which it fades."""
    feature_match_layers: list[Any] = Field(default_factory=list)
    """The published ten-string list; read once, into ``temperature`` and ``thaw``."""

    @field_validator("feature_match_layers")
    @classmethod
    def _well_formed(cls, value: list[Any]) -> list[Any]:
        read_ten_strings(value)
        return value

    @model_validator(mode="after")
    def _hangs_together(self) -> DistillationConfig:
        for name, schedule in self.weight_schedules.items():
            if name not in (known := ("alpha", *distillation_weights(), *TASK_WEIGHTS)):
                raise SnowmeltError(
                    f"weight_schedules: there is no weight {name!r}; known: {', '.join(known)}", code="loss-unknown"
                )
            if name == "alpha" and max(schedule.values) > 1:
                raise SnowmeltError(
                    f"weight_schedules: alpha is a share, but rises to {max(schedule.values):g}", code="settings-value"
                )
        if bool(self.feature_layers) != self.matches_features:
            raise SnowmeltError(
                "feature_layers and feature_weight belong together; give both or neither", code="settings-conflict"
            )
        if self.logit_standardisation and not self._takes_part("kl_weight"):
            raise SnowmeltError(
                "logit_standardisation is about the KL, but kl_weight is 0; set one of them", code="settings-unused"
            )
        if self.adaptive_epochs != type(self).model_fields["adaptive_epochs"].default and not self.adaptive:
            raise SnowmeltError(
                "adaptive_epochs is given, but adaptive is off; set adaptive to true or leave it out",
                code="settings-unused",
            )
        return self

    @property
    def matches_features(self) -> bool:
        """Whether feature matching takes part."""
        return self._takes_part("feature_weight")

    @property
    def has_terms(self) -> bool:
        """Whether any distillation loss has a weight, now or later in the run."""
        return any(self._takes_part(name) for name in distillation_weights())

    def _takes_part(self, name: str) -> bool:
        return getattr(self, name) > 0 or name in self.weight_schedules


def distillation_weights() -> tuple[str, ...]:
    """The settings' names of the weights of all distillation losses: whatever ends in ``_weight`` is one."""
    return tuple(name for name in DistillationConfig.model_fields if name.endswith("_weight"))
