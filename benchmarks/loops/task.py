"""What a contender is to train, as it goes from the script to the process; torch is not imported."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

ALL = -1
"""So many thawed blocks as there are."""

PAIRS = {
    "b3-b0": ("timm-efficientnet-b3", "timm-efficientnet-b0"),
    "b4-mobilenetv2": ("tu-tf_efficientnet_b4", "tu-mobilenetv2_100"),
}
"""Name -> encoders of teacher and student, both with a UNet decoder."""


@dataclass(frozen=True)
class Task:
    """One contender's work.

    Attributes:
        teacher, student: names of the encoders.
        teaching: ``live``, ``cached`` (Snowmelt alone can do that) or ``none``.
        classes: background included; two classes are one logit.
        size: side of the square that the networks see, in pixels.
        data: a COCO spec or a folder, as Snowmelt takes it.
        folder: of this contender's own, for what it writes.
        thawed: encoder blocks that learn in the beginning, or ``ALL``.
        workers: loading processes of the loops that are not Snowmelt's.
        compile: compile the networks (floor) or the student (Snowmelt).
        epochs: of Snowmelt's run; the other loops have no end.
    """

    teacher: str
    student: str
    teaching: str
    classes: int
    size: int
    batch: int
    data: str
    folder: str
    device: str = "cpu"
    thawed: int = ALL
    workers: int = 2
    compile: bool = False
    epochs: int = 500

    @property
    def channels(self) -> int:
        return 1 if self.classes == 2 else self.classes

    @property
    def path(self) -> Path:
        return Path(self.folder)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Task:
        return Task(**json.loads(text))


def encoders_of(pair: str) -> tuple[str, str]:
    """Encoders of teacher and student: a name of ``PAIRS``, or ``TEACHER:STUDENT``."""
    if pair in PAIRS:
        return PAIRS[pair]
    teacher, colon, student = pair.partition(":")
    if not (teacher and colon and student):
        raise SystemExit(f"--pair {pair}: choose one of {', '.join(PAIRS)}, or write TEACHER:STUDENT")
    return teacher, student
