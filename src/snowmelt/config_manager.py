"""The named experiments. Add your own to ``CONFIGS``: any name, an ``ExperimentConfig``, and it trains by that name."""

from __future__ import annotations

import difflib
from pathlib import Path

from snowmelt.config import (
    DataConfig,
    DistillationConfig,
    ExperimentConfig,
    NetworkConfig,
    OptimizerConfig,
    ReactionsConfig,
    TeacherConfig,
    TemperatureConfig,
    ThawConfig,
    TrainingConfig,
    read_attribute,
    read_yaml,
    with_values,
)
from snowmelt.errors import SnowmeltError

__all__ = ["CONFIGS", "REFERENCE", "ConfigManager", "DistillationConfig", "ExperimentConfig"]

REFERENCE = "rgb_hierarchical_unet_v2_distillation_b0_from_b3_temp_prog"

# The temperatures of the published table, which no formula gives: linear between the stages' first epochs.
PUBLISHED_COLUMN = {0: 4.0, 10: 3.5, 15: 3.0, 20: 2.5, 25: 2.0, 30: 1.5, 35: 1.3, 40: 1.1, 49: 1.0}

MOBILENET = NetworkConfig(encoder="tu-mobilenetv2_100")
B4 = NetworkConfig(encoder="tu-tf_efficientnet_b4")

CONFIGS: dict[str, ExperimentConfig] = {
    "rgb_hierarchical_unet_v2_distillation_b0_from_b3_temp_prog": ExperimentConfig(
        description="The reference: EfficientNet-B3 UNet teaches EfficientNet-B0 UNet, cooling and thawing",
        distillation=DistillationConfig(
            feature_match_layers=[
                *("temp_scheduling", "true", "4.0", "1.0", "cosine"),
                *("progressive_unfreeze", "true", "10", "5", "0.1"),
            ],
        ),
    ),
    "published_temperatures": ExperimentConfig(
        description="The reference with the temperature column that the guide prints (piecewise)",
        temperature=TemperatureConfig(kind="piecewise", milestones=PUBLISHED_COLUMN),
        thaw=ThawConfig(start=10, every=5, lr_scale=0.1),
    ),
    "plain": ExperimentConfig(
        description="The reference's student alone: no teacher, whole encoder learns from epoch 0",
        distillation=DistillationConfig(enabled=False),
        thaw=ThawConfig(progressive=False),
    ),
    "unscheduled": ExperimentConfig(
        description="The reference without schedules: constant temperature, whole encoder learns from epoch 0",
        temperature=TemperatureConfig(kind="constant", initial=4.0),
        thaw=ThawConfig(progressive=False),
    ),
    "cooled": ExperimentConfig(
        description="The reference with cooling alone: whole encoder learns from epoch 0",
        temperature=TemperatureConfig(kind="cosine", initial=4.0, final=1.0),
        thaw=ThawConfig(progressive=False),
    ),
    "thawed": ExperimentConfig(
        description="The reference with thawing alone: no teacher",
        distillation=DistillationConfig(enabled=False),
        thaw=ThawConfig(start=10, every=5, lr_scale=0.1),
    ),
    "mobilenetv2_from_b4": ExperimentConfig(
        description="EfficientNet-B4 UNet teaches MobileNetV2 UNet, cooling and thawing",
        student=MOBILENET,
        teacher=TeacherConfig(network=B4),
        temperature=TemperatureConfig(kind="cosine", initial=4.0, final=1.0),
        thaw=ThawConfig(start=10, every=5, lr_scale=0.1),
    ),
    "fine_tuning": ExperimentConfig(
        description="For a student that is nearly there: cool start, only the three deepest blocks thaw",
        temperature=TemperatureConfig(kind="cosine", initial=2.0, final=1.0),
        thaw=ThawConfig(start=5, every=5, lr_scale=0.05, most=3),
        optimizer=OptimizerConfig(lr=3e-4),
    ),
    "small_data": ExperimentConfig(
        description="Under 1000 images: thaw late and slowly, encoder at a hundredth of the rate",
        thaw=ThawConfig(start=20, every=10, lr_scale=0.01),
        training=TrainingConfig(epochs=100),
    ),
    "medium_data": ExperimentConfig(
        description="1000 to 10000 images: the reference's thaw",
        thaw=ThawConfig(start=10, every=5, lr_scale=0.1),
    ),
    "large_data": ExperimentConfig(
        description="Over 10000 images: thaw early, encoder at a third of the rate",
        thaw=ThawConfig(start=5, every=3, lr_scale=0.3),
    ),
    "auto": ExperimentConfig(
        description="What measured best: whole encoder at a third of the rate, cooling, guards on; says what it chose",
        schedule_by_size=True,
        reactions=ReactionsConfig(thaw_guard=True, block_warmup=1.0, memory="split"),
        # Begins lower (``WeightAverage``), so that short runs do not score a network that is long gone.
        training=TrainingConfig(average=0.998),
    ),
    "demo": ExperimentConfig(
        description="The whole cycle in minutes on two cores: embedded scenes, small networks",
        data=DataConfig(source="scenes:160", image_size=96),
        student=NetworkConfig(
            encoder="tu-mobilenetv3_small_050", weights="none", decoder_channels=[64, 32, 24, 16, 16]
        ),
        teacher=TeacherConfig(network=NetworkConfig(encoder="timm-efficientnet-b0", weights="none"), epochs=22),
        thaw=ThawConfig(start=2, every=1, lr_scale=1.0),
        optimizer=OptimizerConfig(lr=2e-3),
        training=TrainingConfig(epochs=16, batch_size=8),
    ),
}


class ConfigManager:
    """Finds experiments by name, by file, or by ``file.py:attribute``."""

    @staticmethod
    def list_configs() -> list[str]:
        """Names of the registered experiments, in the order of registration."""
        return list(CONFIGS)

    @staticmethod
    def get_config(config: str) -> ExperimentConfig:
        """The experiment that ``config`` names.

        Args:
            config: a registered name, a YAML file (its ``base: NAME`` inherits from a registered one), or
                ``file.py:attribute``, which runs that file.

        Raises:
            SnowmeltError: nothing of that name, or settings that do not hold.
        """
        if config in CONFIGS:
            experiment = CONFIGS[config]
            return experiment if experiment.name else with_values(experiment, {"name": config})
        if config.lower().endswith((".yaml", ".yml")):
            return ConfigManager._from_yaml(Path(config))
        if ".py:" in config:
            return read_attribute(config)
        close = difflib.get_close_matches(config, CONFIGS, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else "'snowmelt configs' lists them;"
        raise SnowmeltError(
            f"there is no experiment named {config!r}; {hint} A file is given as FILE.yaml or FILE.py:ATTRIBUTE",
            code="experiment-unknown",
        )

    @staticmethod
    def _from_yaml(path: Path) -> ExperimentConfig:
        values = read_yaml(path)
        base = values.pop("base", None)
        values.pop("provenance", None)  # a run folder's config.yaml can be given back
        if base is not None and (not isinstance(base, str) or base not in CONFIGS):
            raise SnowmeltError(
                f"{path}: base {base!r} is no registered experiment; 'snowmelt configs' lists them",
                code="experiment-unknown",
            )
        values.setdefault("name", path.stem)
        try:
            return with_values(CONFIGS[base], values) if base else ExperimentConfig(**values)
        except SnowmeltError as error:
            raise SnowmeltError(f"{path}: {error}", code=error.code) from None
