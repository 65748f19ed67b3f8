"""The settings file that ``init`` writes: every choice with a line on why."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snowmelt.build.settling import ALPHA_OF_UNLABELLED
from snowmelt.config_manager import CONFIGS
from snowmelt.data.survey import FEW

RARE = 0.02  # of the pixels


@dataclass(frozen=True)
class Facts:
    """What the text is about, found in the data."""

    name: str
    source: str
    what: str  # how the layout was recognised
    val: str | None
    val_fraction: float | None  # None: the data has a val of its own
    image_folder: str
    mask_folder: str
    is_folder: bool
    classes: tuple[str, ...]
    classes_read: bool  # off the masks: nobody named them
    shares: tuple[float, ...]  # of the labelled and ignored pixels, by class
    ignored: float  # share of the pixels
    train: int
    val_images: int
    test_images: int
    long_side: int  # median
    image_size: int
    batch_size: int
    device: str
    small: tuple[str, ...]  # lines about classes with small regions
    schedule: Mapping[str, Any]
    given: Mapping[str, Any]  # settings of the data that were asked for and that no other field holds


def settings_text(facts: Facts) -> str:
    """The YAML file."""
    parts = [_head(facts), _data(facts), _networks(facts), _distillation(), _schedules(facts), _task(facts)]
    parts += [_training(facts), _reactions()]
    return "\n".join("\n".join(part) + "\n" for part in parts)


def class_weights(shares: Sequence[float]) -> list[float]:
    """One over the root of each class's share, with a mean of 1: rare classes count more, though not without bound."""
    raw = [1 / max(share, 1e-4) ** 0.5 for share in shares]
    return [round(weight * len(raw) / sum(raw), 2) for weight in raw]


def _head(facts: Facts) -> list[str]:
    return [
        f"# Written by 'snowmelt init' for {facts.train} training images. Edit freely; read the plan before you train:",
        "#   snowmelt plan FILE      snowmelt train FILE",
        f"name: {_quoted(facts.name)}",
        "# What is given below wins; all else, also what is added to auto later, is auto's choice (docs/recipe.md).",
        "base: auto",
    ]


def _data(facts: Facts) -> list[str]:
    lines = ["data:", f"  # {facts.what}. Change this line when the data moves.", f"  source: {_quoted(facts.source)}"]
    if facts.is_folder:
        lines += [f"  image_folder: {_quoted(facts.image_folder)}", f"  mask_folder: {_quoted(facts.mask_folder)}"]
        if facts.classes_read:
            lines += [
                f"  # {len(facts.classes)} classes, read off the masks. Name them here, background first:",
                f"  # classes: {_list(facts.classes)}",
            ]
        else:
            lines += [f"  # {len(facts.classes)} classes: {_short(facts.classes)}."]
    else:
        lines += [f"  # {len(facts.classes)} classes: {_short(facts.classes)}."]
    ignored = f"{100 * facts.ignored:.2g} % of the pixels" if facts.ignored else "no pixel here"
    lines += [f"  # Mask value 255 means ignored: it counts in no loss and no score ({ignored})."]
    if facts.val is not None:
        lines += [f"  # {facts.val_images} images to validate on.", f"  val: {_quoted(facts.val)}"]
    elif facts.val_fraction is None:
        test = f", {facts.test_images} in test" if facts.test_images else ""
        lines += [f"  # Validation is the data's own val, {facts.val_images} images{test}."]
    else:
        few = facts.val_images < FEW
        lines += [
            f"  # The data has no val of its own: {facts.val_images} images are set apart, by name and seed.",
            *(["  # Scores of so few vary by chance; a larger share leaves less to learn from."] if few else []),
            f"  val_fraction: {facts.val_fraction:g}",
        ]
    lines += [
        f"  # The long side of the images is {facts.long_side} pixels (median). Cost grows with the square of this"
        + (";" if facts.device == "cpu" else "."),
        *(["  # on a CPU 256 is about as much as is bearable."] if facts.device == "cpu" else []),
        *(f"  # {line}" for line in facts.small),
        f"  image_size: {facts.image_size}",
        "  # Flips, scale, crops, mild colours. 'heavy' for very few or very uniform images.",
        f"  augmentation: {facts.given.get('augmentation', 'light')}",
    ]
    more = {name: value for name, value in facts.given.items() if name != "augmentation"}
    if more:
        lines += ["  # As you gave it."]
        lines += [f"  {name}: {json.dumps(value, ensure_ascii=False)}" for name, value in more.items()]
    return lines


def _networks(facts: Facts) -> list[str]:
    return [
        "student:",
        "  # What you take away at the end. Smaller and faster: tu-mobilenetv3_small_100.",
        "  encoder: timm-efficientnet-b0",
        "  # ImageNet weights where the hub answers or they are cached, else random ones and a warning; or a file.",
        "  weights: auto",
        "teacher:",
        "  # Trained on the same data first, then reused. A model that you have is better: a run folder, .pth, .onnx,",
        "  # hf:NAME (docs/teachers.md). 'none' trains the student alone.",
        "  source: auto",
        "  network:",
        "    # Larger than the student, or it has nothing to teach.",
        "    encoder: timm-efficientnet-b3",
        "    weights: auto",
    ]


def _distillation() -> list[str]:
    """A comment alone: an alpha that is given would win over the one that ``auto`` takes for pictures without masks."""
    alpha, more = CONFIGS["auto"].distillation.alpha, ALPHA_OF_UNLABELLED
    return [
        f"# As auto has it: {alpha:g} of the loss listens to the teacher, the rest to the masks. Pictures without",
        f"# masks (data.unlabelled) have nothing else to learn from: with them it is {more:g}, and the student learns",
        "# the relations that the teacher sees between pixels and classes (DIST). To choose it yourself:",
        "# distillation:",
        f"#   alpha: {alpha:g}",
    ]


def _schedules(facts: Facts) -> list[str]:
    plan = facts.schedule
    return [
        "temperature:",
        "  # The teacher's answers are softened at first and sharp at the end.",
        "  kind: cosine",
        "  initial: 4.0",
        "  final: 1.0",
        "thaw:",
        f"  # As auto has it. {plan['why'][0].upper()}{plan['why'][1:]}.",
        f"  # progressive: {json.dumps(plan['progressive'])}",
        "  # true, or a start of your own, thaws block by block; what is not given then is as published for "
        f"{plan['images']}",
        f"  # training images ({plan['published']}).",
        f"  lr_scale: {plan['lr_scale']:g}  # of the decoder's rate",
    ]


def _task(facts: Facts) -> list[str]:
    rare = [
        f"{name} {100 * share:.2g} %"
        for name, share in zip(facts.classes[1:], facts.shares[1:], strict=True)
        if share < RARE
    ]
    lines = ["task:", "  # Cross-entropy and Dice together; Dice does not drown small classes.", "  dice_weight: 1.0"]
    if rare:
        lines += [
            f"  # Rare among the pixels: {_short(rare)}. Should they stay at 0, weigh the cross-entropy:",
            f"  # class_weights: {json.dumps(class_weights(facts.shares))}",
        ]
    return lines


def _training(facts: Facts) -> list[str]:
    steps = -(-facts.train // facts.batch_size)
    average = CONFIGS["auto"].training.average
    return [
        "training:",
        "  # Few images need more epochs for as many steps: auto takes 100 below 1000 images, else 50.",
        f"  epochs: {facts.schedule['epochs']}",
        f"  # {steps} steps an epoch (chosen for {facts.device}). What does not fit into memory is computed in parts.",
        f"  batch_size: {facts.batch_size}",
        f"  # As auto has it, average: {average:g}. An average of the weights is scored and saved as best: it costs no",
        "  # step, and on photographs it lifted every test score that was compared (docs/recipe.md).",
    ]


def _reactions() -> list[str]:
    auto = CONFIGS["auto"].reactions
    return [
        "# As auto has them; the first two act only where a thaw is asked for:",
        "# reactions:",
        f"#   thaw_guard: {json.dumps(auto.thaw_guard)}  # a block waits while validation loss rises and training loss "
        "falls",
        f"#   block_warmup: {auto.block_warmup:g}  # epochs over which the rate of a newly thawed block rises",
        f"#   memory: {auto.memory}  # a batch that does not fit is computed in parts; tried before the first step",
    ]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _list(names: Sequence[str]) -> str:
    return json.dumps(list(names), ensure_ascii=False)


def _short(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
