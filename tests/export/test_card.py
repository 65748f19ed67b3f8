"""The card holds what a stranger needs, its head is YAML, its code runs."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from snowmelt.data import build_evaluation_transform, read_image
from snowmelt.export import CardContent, Facts, Scores, card_text

SCORES = Scores(
    part="test",
    images=200,
    miou=0.61234,
    iou={"background": 0.9, "skin": 0.3, "hair | fur": None},
    teacher_miou=0.7,
    teacher_iou={"background": 0.95, "skin": 0.4, "hair | fur": None},
    agreement=0.9432,
)


@pytest.fixture(scope="module")
def content(facts: Facts) -> CardContent:
    return CardContent(
        name="my: run",
        facts=facts,
        data="ccp (masks: parts)",
        schedule="epochs  T\n0-9  4.00",
        epochs=40,
        teacher="unet with `b4`",
        scores=SCORES,
        onnx="model.onnx",
    )


def head_of(text: str) -> dict[str, Any]:
    _, head, _ = text.split("---\n", 2)
    return yaml.safe_load(head)


def test_the_head_is_what_a_hub_reads(content: CardContent) -> None:
    head = head_of(card_text(content))
    assert head["library_name"] == "segmentation-models-pytorch"
    assert head["pipeline_tag"] == "image-segmentation"
    assert "knowledge-distillation" in head["tags"]
    [model] = head["model-index"]
    assert model["name"] == "my: run"
    [result] = model["results"]
    assert result["metrics"] == [{"type": "mean_iou", "value": 0.6123}]
    assert result["dataset"] == {"type": "custom", "name": "ccp (masks: parts)", "split": "test"}
    assert "license" not in head  # nobody told


def test_every_part_is_there(content: CardContent) -> None:
    text = card_text(content)
    assert re.findall(r"(?m)^## (.+)$", text) == [
        "Data",
        "Schedule",
        "Scores",
        "Intended use",
        "Limits",
        "Use in segmentation-models-pytorch",
        "Use in onnxruntime",
    ]
    assert "40 epochs" in text
    assert "```\nepochs  T\n0-9  4.00\n```" in text
    assert "| skin | 0.3000 | 0.4000 |" in text
    assert "| hair \\| fur | absent | absent |" in text
    assert "| **mean** | 0.6123 | 0.7000 |" in text
    assert "94.3 %" in text
    assert "200 images of the test part" in text


def test_what_is_not_known_is_said(content: CardContent) -> None:
    bare = replace(content, schedule="", epochs=None, teacher=None, scores=None, onnx=None)
    text = card_text(bare)
    assert "model-index" not in head_of(text)
    assert "trained without a teacher" in text
    assert "Not scored yet" in text
    assert "Not known: the weights were exported without their run folder" in text
    assert "snowmelt export RUN --format onnx" in text
    alone = card_text(replace(content, scores=replace(SCORES, teacher_iou=None, part="val", images=None)))
    assert "| skin | 0.3000 |\n" in alone
    assert "The best epoch was chosen on these images" in alone


def test_a_licence_is_named_where_somebody_gave_one(content: CardContent) -> None:
    text = card_text(replace(content, licence="CC-BY-4.0", encoder_weights="`b0.safetensors`"))
    assert head_of(text)["license"] == "cc-by-4.0"
    assert "published under CC-BY-4.0" in text
    assert "what the encoder began with: `b0.safetensors`" in text
    bare = card_text(content)
    assert "names no licence" in bare
    assert "encoder began" not in bare


def test_the_code_prepares_a_picture_as_training_does(content: CardContent, tmp_path: Path) -> None:
    """A turned photograph of a size that does not fit, run through both snippets as they are printed."""
    random = np.random.default_rng(0)
    colours = random.integers(0, 256, (9, 13, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = tmp_path / "picture.png"
    Image.fromarray(colours).resize((233, 157), Image.Resampling.BICUBIC).save(file, exif=exif)
    upright = read_image(file)
    side = content.facts.image_size
    pixels = torch.from_numpy(upright).permute(2, 0, 1)
    expected, _ = build_evaluation_transform(side)(pixels, torch.zeros(pixels.shape[1:], dtype=torch.uint8))
    blocks = re.findall(r"(?s)```python\n(.*?)```", card_text(content))
    for block in blocks:
        lines = [line for line in block.splitlines() if line.startswith(("import numpy", "from PIL", "picture = "))]
        names: dict[str, Any] = {}
        exec("\n".join(lines).replace("picture.jpg", str(file)), names)
        shown = np.array(names["picture"]).astype(int)
        assert np.abs(shown - expected.permute(1, 2, 0).numpy()).max() <= 2  # two programs round


def test_scenes_are_announced(content: CardContent) -> None:
    assert "generated scenes" not in card_text(content)
    assert "generated scenes" in card_text(replace(content, generated=True))


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_the_code_is_python_and_fits_the_task(content: CardContent, binary: bool, inside: bool) -> None:
    classes = ("background", "person") if binary else content.facts.classes
    facts = replace(content.facts, classes=classes, normalised_inside=inside)
    text = card_text(replace(content, facts=facts))
    blocks = re.findall(r"(?s)```python\n(.*?)```", text)
    assert len(blocks) == 2
    for block in blocks:
        ast.parse(block)
        assert ("> 0" in block) is binary
        assert ("argmax" in block) is not binary
    assert ("/ 255" in blocks[1]) is not inside
    assert "/ 255" in blocks[0]  # smp's network never normalises by itself
