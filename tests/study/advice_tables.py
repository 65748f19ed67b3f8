"""Tables of runs as ``read_metrics`` gives them, made up to show one thing each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from snowmelt.study import Advice, RunFacts, advise

FACTS = RunFacts(images=5000, epochs=20, blocks=4, start=4, every=2, temperature=4.0)
BLOCKS = ("blocks.3", "blocks.2", "blocks.1", "blocks.0")
LEVEL = [0.3, 0.4, 0.45, 0.48, *[0.5] * 16]  # twenty epochs that leave nothing to say
RISING = [0.2 + 0.02 * epoch for epoch in range(20)]
FALLING = [1.0 - 0.02 * epoch for epoch in range(20)]


def table(
    score: Sequence[float] = LEVEL,
    train: Sequence[float] = FALLING,
    val: Sequence[float] = FALLING,
    thawed: Sequence[int] | None = None,
    **more: Any,
) -> list[dict[str, Any]]:
    """Rows as ``read_metrics`` gives them; both losses are half cross-entropy, half Dice, under a total that lies."""
    if thawed is None:
        thawed = [planned(epoch) for epoch in range(len(score))]
    rows: list[dict[str, Any]] = []
    for epoch, (miou, loss, check, blocks) in enumerate(zip(score, train, val, thawed, strict=True)):
        row: dict[str, Any] = {"epoch": epoch, "step": 300 * (epoch + 1), "complete": True, "temperature": 4.0}
        row |= {"thawed_blocks": blocks, "lr/decoder": 1e-3, **{f"lr/{name}": 1e-4 for name in BLOCKS}}
        for part, value in (("train", loss), ("val", check)):
            row |= {f"{part}/cross_entropy": value / 2, f"{part}/dice": value / 2, f"{part}/total": 9.0 * epoch}
        rows.append(row | {"miou": miou, "teacher_miou": 0.9, "best": False, **more})
    return rows


def planned(epoch: int) -> int:
    """Blocks that the thaw of ``FACTS`` has in an epoch."""
    return 0 if epoch < 4 else min(1 + (epoch - 4) // 2, 4)


def kinds(rows: list[dict[str, Any]], facts: RunFacts = FACTS) -> list[str]:
    return [advice.kind for advice in advise(rows, facts)]


def one(rows: list[dict[str, Any]], facts: RunFacts = FACTS) -> Advice:
    [advice] = advise(rows, facts)
    return advice
