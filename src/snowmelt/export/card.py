"""The model card: what a stranger has to know before using the weights, as Markdown with a YAML head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from snowmelt.data import PAD_COLOUR
from snowmelt.export.facts import Facts


@dataclass(frozen=True)
class Scores:
    """Scores are fractions; ``None`` where there is no such figure or a class is absent."""

    part: str
    images: int | None
    miou: float | None
    iou: Mapping[str, float | None]
    teacher_miou: float | None = None
    teacher_iou: Mapping[str, float | None] | None = None
    agreement: float | None = None


@dataclass(frozen=True)
class CardContent:
    """Everything that a card is made of. Names of data and teacher come without their folders."""

    name: str
    facts: Facts
    data: str
    schedule: str
    """The plan's table as text, empty where it is not known."""
    epochs: int | None
    teacher: str | None
    scores: Scores | None
    onnx: str | None
    """The float ONNX file that lies beside the card."""
    int8: str | None = None
    encoder_weights: str | None = None
    """Where the encoder's weights came from, as a phrase; ``None`` where it began at random or nobody knows."""
    licence: str | None = None
    """An SPDX identifier, as whoever publishes the weights gives it."""
    generated: bool = False
    """Trained on embedded scenes, which are of no use to anybody."""


def card_text(content: CardContent) -> str:
    """The whole ``README.md``."""
    parts = [_head(content), _title(content), _data(content), _schedule(content), _scores(content)]
    parts += [_use(content), _load_in_smp(content), _load_in_onnxruntime(content)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _head(content: CardContent) -> str:
    head: dict[str, Any] = {
        "library_name": "segmentation-models-pytorch",
        "pipeline_tag": "image-segmentation",
        "tags": ["segmentation-models-pytorch", "semantic-segmentation", "pytorch", "onnx", "snowmelt"],
    }
    if content.licence is not None:
        head["license"] = content.licence.lower()  # as hubs spell them
    if content.teacher is not None:
        head["tags"].append("knowledge-distillation")
    scores = content.scores
    if scores is not None and scores.miou is not None:
        result = {
            "task": {"type": "image-segmentation"},
            "dataset": {"type": "custom", "name": content.data, "split": scores.part},
            "metrics": [{"type": "mean_iou", "value": round(scores.miou, 4)}],
        }
        head["model-index"] = [{"name": content.name, "results": [result]}]
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---"


def _title(content: CardContent) -> str:
    facts = content.facts
    network = facts.network
    taught = f", distilled from {content.teacher}" if content.teacher else ", trained without a teacher"
    return (
        f"# {_plain(content.name)}\n\n"
        f"A segmentation network: {network['architecture']} with the encoder `{network['encoder']}`{taught}. "
        f"It takes RGB pictures and gives a logit for {_logits(facts)} at every pixel. Made with Snowmelt "
        f"{facts.snowmelt_version}, which lets the distillation temperature cool and the encoder thaw on a schedule."
    )


def _logits(facts: Facts) -> str:
    return f"`{facts.classes[1]}`" if facts.task == "binary" else f"each of {len(facts.classes)} classes"


def _data(content: CardContent) -> str:
    classes = ", ".join(f"{number} `{name}`" for number, name in enumerate(content.facts.classes))
    text = (
        f"## Data\n\n{_plain(content.data)}. Classes: {classes}. Pictures were fitted into a square of "
        f"{content.facts.image_size} pixels, aspect kept, padding ignored."
    )
    if content.generated:
        text += (
            "\n\n**These are generated scenes. The network proves that the machinery works and knows nothing else.**"
        )
    return text


def _schedule(content: CardContent) -> str:
    if not content.schedule:
        return "## Schedule\n\nNot known: the weights were exported without their run folder."
    return (
        f"## Schedule\n\n{content.epochs} epochs. T is the temperature of the distillation, `thawed` the number of "
        f"encoder blocks that learn.\n\n```\n{content.schedule.rstrip()}\n```"
    )


def _scores(content: CardContent) -> str:
    scores = content.scores
    if scores is None:
        return "## Scores\n\nNot scored yet (`snowmelt evaluate RUN`)."
    images = f"{scores.images} images of the {scores.part} part" if scores.images else f"the {scores.part} part"
    taught = scores.teacher_iou is not None
    lines = ["| IoU | student |" + (" teacher |" if taught else ""), "|---|---:|" + ("---:|" if taught else "")]
    rows = [*scores.iou.items(), ("**mean**", scores.miou)]
    for name, value in rows:
        line = f"| {_cell(name)} | {_figure(value)} |"
        if scores.teacher_iou is not None:
            line += f" {_figure(scores.teacher_iou.get(name, scores.teacher_miou))} |"
        lines.append(line)
    text = f"## Scores\n\nOn {images}, at {content.facts.image_size} pixels, from one confusion matrix:\n\n"
    text += "\n".join(lines)
    if scores.agreement is not None:
        text += f"\n\nStudent and teacher name the same class on {100 * scores.agreement:.1f} % of the pixels."
    if scores.part == "val":
        text += "\n\nThe best epoch was chosen on these images, which flatters the score."
    return text


def _use(content: CardContent) -> str:
    facts = content.facts
    names = ", ".join(f"`{name}`" for name in facts.classes)
    return (
        f"## Intended use\n\nTelling {names} apart in pictures like those that it was trained on.\n\n"
        "## Limits\n\n"
        f"- Scored at {facts.image_size} pixels only. Other sizes run (multiples of {facts.stride}), with scores that "
        "nobody has measured.\n"
        "- Pictures of another kind than the training data (camera, light, subject) were not tried unless the scores "
        "say so.\n"
        "- A class that was rare in training is found less often than its IoU here suggests on other data.\n"
        f"- {_licence(content)}"
    )


def _licence(content: CardContent) -> str:
    started = f" So may what the encoder began with: {content.encoder_weights}." if content.encoder_weights else ""
    if content.licence is None:
        return f"This card names no licence. The data that it was trained on may have one that binds you.{started}"
    return (
        f"The weights are published under {content.licence}. The data that they were trained on may have a licence of "
        f"their own.{started}"
    )


def _load_in_smp(content: CardContent) -> str:
    side = content.facts.image_size
    decide = "(logits[0, 0] > 0).long()" if content.facts.task == "binary" else "logits[0].argmax(0)"
    return f"""## Use in segmentation-models-pytorch

```python
import numpy as np
import segmentation_models_pytorch as smp
import torch
from PIL import Image, ImageOps

network = smp.from_pretrained("FOLDER").eval()
{_fitted((side, side))}
pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255
mean = torch.tensor({list(content.facts.mean)}).view(3, 1, 1)
std = torch.tensor({list(content.facts.std)}).view(3, 1, 1)
with torch.no_grad():
    logits = network((pixels - mean) / std)
labels = {decide}  # ({side}, {side}) class numbers, with those of the filling
```"""


def _load_in_onnxruntime(content: CardContent) -> str:
    facts, side = content.facts, content.facts.image_size
    made = "" if content.onnx else "Write the file first: `snowmelt export RUN --format onnx --output model.onnx`.\n\n"
    if content.int8:
        made = f"`{content.int8}` is the same in 8-bit integers: smaller and, on processors made for it, faster.\n\n"
    if facts.normalised_inside:
        feed = "pixels.astype(np.float32)"
    else:
        feed = f"((pixels / 255 - {list(facts.mean)}) / {list(facts.std)}).astype(np.float32)"
    decide = "(logits[0, 0] > 0).astype(np.uint8)" if facts.task == "binary" else "logits[0].argmax(0)"
    return f"""## Use in onnxruntime

{made}```python
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("FOLDER/{content.onnx or "model.onnx"}")
{_fitted(facts.size or (side, side))}
pixels = np.array(picture)
image = {feed}.transpose(2, 0, 1)[None]
(logits,) = session.run(["logits"], {{"image": image}})
labels = {decide}
```

Classes, mean, deviation and size stand in the file's metadata under `snowmelt`, as JSON."""


def _fitted(size: tuple[int, int]) -> str:
    """The code that makes of a file what training saw: upright, aspect kept, the rest filled, below or on the right."""
    width_first = (size[1], size[0])
    return f"""picture = ImageOps.exif_transpose(Image.open("picture.jpg")).convert("RGB")
picture = ImageOps.pad(picture, {width_first}, Image.Resampling.BILINEAR, {PAD_COLOUR}, centering=(0, 0))"""


def _figure(value: float | None) -> str:
    return "absent" if value is None else f"{value:.4f}"


def _plain(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")
