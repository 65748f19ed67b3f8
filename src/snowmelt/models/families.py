"""How the encoder families are cut into blocks: a table, first match wins.

A row matches an encoder if it knows each of its parameters: as part of a numbered block, of the stem, or of a
classifier that is never reached. An encoder that no row describes is cut at its feature maps instead, one block per
stride (``partition.py``), so that no parameter is left behind for want of a rule. To add a family, add a row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import nn

# What some encoders keep of the classifier that they were.
_CLASSIFIER = re.compile(r"(?:_?conv_head|_?bn[12]|_?fc|head|norm|classifier|last_linear)\.")


@dataclass(frozen=True)
class Family:
    """One row of the table."""

    name: str
    block: re.Pattern[str]
    """Finds the number of a block, or of a layer in it, in a parameter name."""
    label: str
    """Template of a block's name."""
    stem: re.Pattern[str]
    """Names what comes before the first block and belongs to it."""
    grouping: Callable[[nn.Module], Mapping[int, int]] | None = None
    """Where names number layers rather than blocks: layer number -> block number."""

    def cut(self, encoder: nn.Module, reached: Iterable[str]) -> dict[str, list[str]] | None:
        """Block name -> names of reached parameters, deepest block first; None if the encoder is of another family.

        Names are relative to the encoder.
        """
        if not all(self._knows(_bare(name)) for name, _ in encoder.named_parameters()):
            return None
        groups = self.grouping(encoder) if self.grouping else None
        numbered: dict[int, list[str]] = {}
        stem: list[str] = []
        for name in reached:
            bare = _bare(name)
            if found := self.block.match(bare):
                number = int(found.group(1))
                numbered.setdefault(groups[number] if groups else number, []).append(name)
            elif self.stem.match(bare):
                stem.append(name)
            else:  # a classifier that is reached after all
                return None
        if not numbered:
            return {"stem": stem} if stem else None
        first = min(numbered)
        numbered[first] = stem + numbered[first]
        return {self.label.format(number): numbered[number] for number in sorted(numbered, reverse=True)}

    def _knows(self, bare: str) -> bool:
        return any(pattern.match(bare) for pattern in (self.block, self.stem, _CLASSIFIER))


def _bare(name: str) -> str:
    """timm's universal encoder holds the network one level below."""
    return name.removeprefix("model.")


def _efficientnet_stages(encoder: nn.Module) -> Mapping[int, int]:
    """smp's own EfficientNet numbers its layers through; a stage starts where the width changes."""
    stages: dict[int, int] = {}
    stage, width = -1, 0
    for index, layer in enumerate(getattr(encoder, "_blocks", ())):
        stage += layer._project_conv.out_channels != width
        width = layer._project_conv.out_channels
        stages[index] = stage
    return stages


def _mobilenet_v2_stages(_: nn.Module) -> Mapping[int, int]:
    """torchvision's ``features``: 0 is the stem, 18 the last 1x1 convolution (table 2 of the MobileNetV2 paper)."""
    first_layers = (0, 2, 4, 7, 11, 14, 17)
    return {layer: sum(layer >= first for first in first_layers) - 1 for layer in range(19)}


_NO_STEM = re.compile(r"(?!)")  # matches nothing

FAMILIES = (
    # One block per stage of the architecture, as timm builds it: seven, but six in MobileNetV3-Small and in the small
    # EfficientNetV2, which have six stages.
    Family(
        "EfficientNet and MobileNet of timm",
        re.compile(r"blocks\.(\d+)\.\d+\.(?:conv|bn|se\.)"),
        "blocks.{}",
        re.compile(r"conv_stem\.|bn1\."),
    ),
    Family(
        "EfficientNet of smp",
        re.compile(r"_blocks\.(\d+)\."),
        "blocks.{}",
        re.compile(r"_conv_stem\.|_bn0\."),
        _efficientnet_stages,
    ),
    Family(
        "MobileNetV2 of torchvision",
        re.compile(r"features\.(\d+)\.(?:conv\.)?\d+\."),
        "blocks.{}",
        _NO_STEM,
        _mobilenet_v2_stages,
    ),
    # Also ResNeXt, SE-ResNet (its stem is layer0), ResNeSt and SK-ResNet; some ResNets learn their pooling.
    Family(
        "ResNet",
        re.compile(r"layer([1-4])\."),
        "layer{}",
        re.compile(r"(?:conv1|bn1|layer0|maxpool)\."),
    ),
    Family("RegNet", re.compile(r"s([1-4])\."), "s{}", re.compile(r"stem\.")),
    Family("ConvNeXt", re.compile(r"stages_(\d+)\."), "stages.{}", re.compile(r"stem_\d+\.")),
    Family(
        "Mix Transformer",
        re.compile(r"(?:patch_embed|block|norm)([1-4])\."),
        "block{}",
        _NO_STEM,
    ),
)
