"""What each encoding of a teacher's answers costs, for a person."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from snowmelt.teachers.cache import Effect, Encoding

SHOWN = 10  # rows; with many classes there are dozens of candidates


def effects_table(effects: Sequence[Effect], chosen: Encoding) -> Table:
    """The candidates from small to large, the chosen one marked; of many, those around it."""
    table = Table(
        title="Encodings of the teacher's answers, measured on your images",
        box=box.SIMPLE_HEAD,
        caption="loss: T^2 KL(exact || stored), as a share of all that there is to learn from this teacher",
    )
    table.add_column("")
    table.add_column("precision")
    table.add_column("stride", justify="right")
    table.add_column("classes kept", justify="right")
    table.add_column("bytes an image", justify="right")
    table.add_column("loss", justify="right")
    ordered = sorted(effects, key=lambda effect: (effect.bytes, effect.share))
    place = next((number for number, effect in enumerate(ordered) if effect.encoding == chosen), 0)
    first = max(0, min(place - SHOWN // 2, len(ordered) - SHOWN))
    for effect in ordered[first : first + SHOWN]:
        encoding, taken = effect.encoding, effect.encoding == chosen
        table.add_row(
            "->" if taken else "",
            encoding.precision,
            str(encoding.stride),
            "all" if encoding.top is None else str(encoding.top),
            f"{effect.bytes:,}",
            f"{100 * effect.share:.3f} %",
            style="bold" if taken else None,
        )
    return table
