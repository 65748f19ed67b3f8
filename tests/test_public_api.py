"""What others import into their own programs: names and signatures that must not move, and the promised snippet."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch

import snowmelt

REQUIRED = inspect.Parameter.empty
SOURCE = Path(snowmelt.__file__).parent
PACKAGES = sorted({path.parent.name for path in SOURCE.glob("*/__init__.py")} - {"cli"})  # commands are not imported

# Module, name, and its leading parameters with their defaults. Whatever follows must be optional.
PAIR = {"student_logits": REQUIRED, "teacher_logits": REQUIRED}
PROMISED = [
    ("schedules", "TemperatureSchedule", {"kind": "cosine", "initial": 4.0, "final": 1.0}),
    ("schedules", "TemperatureSchedule.at", {"self": REQUIRED, "epoch": REQUIRED, "epochs": REQUIRED}),
    ("schedules", "ThawSchedule", {"start": 10, "every": 5, "lr_scale": 0.1}),
    ("schedules", "ThawSchedule.blocks_at", {"self": REQUIRED, "epoch": REQUIRED, "blocks": REQUIRED}),
    (
        "losses",
        "distillation_kl",
        {"student_logits": REQUIRED, "teacher_logits": REQUIRED, "temperature": 4.0, "valid": None},
    ),
    ("losses", "logit_mse", {"student_logits": REQUIRED, "teacher_logits": REQUIRED, "valid": None}),
    ("losses", "cross_entropy", {"logits": REQUIRED, "target": REQUIRED, "ignore_index": 255, "class_weights": None}),
    ("losses", "dice", {"logits": REQUIRED, "target": REQUIRED, "ignore_index": 255}),
    ("losses", "channel_wise_distillation", {**PAIR, "temperature": 4.0, "valid": None}),
    ("losses", "standardised_kl", {**PAIR, "temperature": 4.0, "valid": None}),
    ("losses", "dist_inter", {**PAIR, "temperature": 1.0, "valid": None}),
    ("losses", "dist_intra", {**PAIR, "temperature": 1.0, "valid": None}),
    ("losses", "feature_matching", {"student": REQUIRED, "teacher": REQUIRED, "valid": None}),
    ("losses", "standardise_logits", {"logits": REQUIRED}),
    ("models", "Thaw", {"model": REQUIRED, "lr_scale": 0.1}),
    (
        "evaluation",
        "mean_iou",
        {"predictions": REQUIRED, "targets": REQUIRED, "classes": REQUIRED, "ignore_index": None},
    ),
    ("evaluation", "ConfusionMatrix", {"classes": REQUIRED, "ignore_index": None}),
]


def resolve(module: str, name: str) -> Any:
    found: Any = importlib.import_module(f"snowmelt.{module}")
    for part in name.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize(("module", "name", "parameters"), PROMISED, ids=lambda value: str(value)[:40])
def test_signatures_stay_as_promised(module: str, name: str, parameters: dict[str, Any]) -> None:
    signature: list[inspect.Parameter] = list(inspect.signature(resolve(module, name)).parameters.values())
    leading, rest = signature[: len(parameters)], signature[len(parameters) :]
    assert {parameter.name: parameter.default for parameter in leading} == parameters
    assert [parameter.name for parameter in leading] == list(parameters)
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    assert all(parameter.default is not REQUIRED or parameter.kind in variadic for parameter in rest)


@pytest.mark.parametrize(
    ("method", "arguments", "keywords"),
    [("param_groups", (), {"lr": 1e-4, "weight_decay": 1e-4}), ("to", (3,), {})],
)
def test_thaw_is_called_as_promised(method: str, arguments: tuple[int, ...], keywords: dict[str, float]) -> None:
    function: Callable[..., Any] = resolve("models", f"Thaw.{method}")
    bound = inspect.signature(function).bind(None, *arguments, **keywords).arguments
    assert list(bound.values())[1:] == [*arguments, *keywords.values()]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_declares_what_is_public(package: str) -> None:
    module = importlib.import_module(f"snowmelt.{package}")
    assert len(module.__all__) == len(set(module.__all__))
    assert all(hasattr(module, name) for name in module.__all__)
    assert not [name for name in module.__all__ if name.startswith("_")]


def test_the_guides_names_stand_where_its_readers_look() -> None:
    from snowmelt.config_manager import ConfigManager, DistillationConfig, ExperimentConfig

    strings = ["temp_scheduling", "true", "4.0", "1.0", "cosine", "progressive_unfreeze", "true", "10", "5", "0.1"]
    experiment = ExperimentConfig(distillation=DistillationConfig(feature_match_layers=strings))
    assert isinstance(experiment, ExperimentConfig)
    assert isinstance(ConfigManager, type)


def test_the_promised_snippet_runs() -> None:
    """The library section of the design, word for word where it can be."""
    from torch.optim import AdamW

    from snowmelt.evaluation import mean_iou
    from snowmelt.losses import distillation_kl
    from snowmelt.models import Thaw
    from snowmelt.schedules import TemperatureSchedule, ThawSchedule

    temperature = TemperatureSchedule(kind="cosine", initial=4.0, final=1.0).at(epoch=10, epochs=50)
    blocks = ThawSchedule(start=10, every=5, lr_scale=0.1).blocks_at(epoch=20, blocks=7)
    assert (round(temperature, 3), blocks) == (3.702, 3)

    model = smp.Unet("mobilenet_v2", encoder_weights=None, decoder_channels=(16, 8, 8, 8, 8))
    thaw = Thaw(model, lr_scale=0.1)
    assert len(thaw.blocks) == 7
    optimizer = AdamW(thaw.param_groups(lr=1e-4, weight_decay=1e-4))
    assert len(optimizer.param_groups) >= 8  # the decoder and head, then every block, frozen or not
    thaw.to(3)
    model.train()

    student = model(torch.rand(2, 3, 32, 32))
    teacher = torch.randn(2, 1, 32, 32)
    valid = torch.ones(2, 32, 32, dtype=torch.bool)
    loss = distillation_kl(student, teacher, temperature=4.0, valid=valid)
    assert loss.shape == ()
    loss.backward()
    optimizer.step()
    learning = sum(parameter.grad is not None for parameter in model.encoder.parameters())
    assert 0 < learning < len(list(model.encoder.parameters()))

    predictions = (student[:, 0] > 0).long()
    mean, per_class = mean_iou(predictions, predictions.clone(), classes=2, ignore_index=None)
    assert float(mean) == 1.0
    assert len(per_class) == 2
