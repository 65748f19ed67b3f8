"""Whether two folders hold the same run: weights, tables, logs and TensorBoard, without a gap and without a double."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from snowmelt.reporting import RunFolder

EXACT = ("metrics.csv", "validation.json", "plan.csv", "checkpoints/best.safetensors", "checkpoints/last.safetensors")
TIMING = re.compile(r"epoch=\d+ train_seconds=")
KEPT_ALL = {"scalars": 0, "images": 0}


def differences(run: Path, reference: Path) -> Iterator[str]:
    """A line for each thing in which ``run`` is not ``reference``."""
    for name in EXACT:
        if not (run / name).exists() or (run / name).read_bytes() != (reference / name).read_bytes():
            yield f"{run / name} differs"
    files = [RunFolder(root).checkpoints / "last.ckpt" for root in (run, reference)]
    left, right = (torch.load(file, map_location="cpu", weights_only=True) for file in files)
    for part in left.keys() | right.keys():
        if part != "identity" and not same(left.get(part), right.get(part)):
            yield f"{files[0]}: {part} differs"
    records = [json.loads((root / "summary.json").read_text()) for root in (run, reference)]
    if records[0] != records[1]:
        yield f"{run / 'summary.json'} differs"
    if log_lines(run) != log_lines(reference):
        yield f"{run / 'logs'}: the text logs together differ: {_first(log_lines(run), log_lines(reference))}"
    for place in ("logs", "logs/steps"):
        points = [board_points(root / place) for root in (run, reference)]
        if points[0] != points[1]:
            yield f"{run / place}: TensorBoard differs: {_first(points[0], points[1])}"
    yield from (f"{path} is left over" for path in run.rglob("*") if path.name.endswith((".tmp", ".part")))


def log_lines(root: Path) -> list[str]:
    """Every line about a step or an epoch in all logs together, in the order in which the run came by; no clock."""
    found = []
    for path in sorted((root / "logs").glob("training_log_*.txt")):
        lines = (line.split(" ", 2) for line in path.read_text().splitlines())
        topics = [parts[2] for parts in lines if len(parts) == 3 and re.match(r"(step|epoch)=\d+ ", parts[2])]
        found += [text for text in topics if not TIMING.match(text)]
    return sorted(found, key=_position)


def _position(line: str) -> tuple[int, int]:
    """Epoch and step; an epoch's own lines stand after its last step, in the order of the file."""
    of_step = re.match(r"step=(\d+) in_epoch=(\d+) ", line)
    if of_step:
        return int(of_step[2]), int(of_step[1])
    return int(line.split()[0].removeprefix("epoch=")), sys.maxsize


def board_points(folder: Path) -> dict[str, list[Any]]:
    """Tag -> (step, value) of all points that TensorBoard shows, and the steps of pictures; speeds are left out."""
    events = EventAccumulator(str(folder), size_guidance=KEPT_ALL).Reload()
    tags = events.Tags()
    points: dict[str, list[Any]] = {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in tags["scalars"]
        if not tag.startswith("speed/")
    }
    return {**points, **{tag: [event.step for event in events.Images(tag)] for tag in tags["images"]}}


def _first(left: Any, right: Any) -> str:
    if isinstance(left, dict):
        tag = next(tag for tag in sorted(left.keys() | right.keys()) if left.get(tag) != right.get(tag))
        return f"{tag}: {left.get(tag)} in place of {right.get(tag)}"
    pairs = zip([*left, "nothing"], [*right, "nothing"], strict=False)
    return next((f"{one!r} in place of {other!r}" for one, other in pairs if one != other), "its length")


def same(left: Any, right: Any) -> bool:
    """Whether two states hold the same bits."""
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)
