"""Drawing the embedded scenes: people and look-alikes as flat surfaces, to be given textures later."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

PARTS = ("background", "skin", "hair", "upper", "lower", "shoes")
_MAX_SURFACES = 250  # surface numbers are stored in eight bits

Point = tuple[float, float]


@dataclass
class Canvas:
    """A picture of surface numbers; each surface has a label and a place in the colour table."""

    size: int
    rng: np.random.Generator
    colours: np.ndarray  # (K, 3) the scene's palette, shared by people, look-alikes and ground
    labels: list[int] = field(default_factory=list)
    tints: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.image = Image.new("L", (self.size, self.size), 0)
        self.draw = ImageDraw.Draw(self.image)

    def surface(self, label: int, colour: np.ndarray | None = None) -> int:
        """A new surface number; without a colour it takes one of the palette, slightly off."""
        if len(self.labels) >= _MAX_SURFACES:
            raise RuntimeError("too many surfaces in one scene")
        if colour is None:
            colour = self.colours[self.rng.integers(len(self.colours))]
        self.labels.append(label)
        self.tints.append(colour + self.rng.uniform(-14, 14, 3))
        return len(self.labels) - 1

    def limb(self, points: list[Point], width: float, surface: int) -> None:
        """A bent tube with round ends."""
        thickness = max(1, round(width))
        self.draw.line(points, fill=surface, width=thickness, joint="curve")
        if thickness > 2:
            for x, y in (points[0], points[-1]):
                self.disc(x, y, width / 2, width / 2, surface)

    def disc(self, x: float, y: float, a: float, b: float, surface: int) -> None:
        self.draw.ellipse((x - a, y - b, x + a, y + b), fill=surface)

    def polygon(self, points: list[Point], surface: int) -> None:
        self.draw.polygon(points, fill=surface)


def skin_tone(rng: np.random.Generator) -> np.ndarray:
    """From pale to dark; the ramp passes through colours that wood, sand and walls have too."""
    light, dark = np.array([238.0, 200.0, 176.0]), np.array([74.0, 46.0, 34.0])
    share = rng.uniform(0, 1)
    return light + (dark - light) * share


def _step(start: Point, angle: float, length: float) -> Point:
    return start[0] + length * math.sin(angle), start[1] + length * math.cos(angle)


@dataclass
class _Body:
    """Joints and measures of one person, and the surfaces of its parts."""

    height: float
    hip: Point
    neck: Point
    lean: float
    broad: float  # half the shoulders
    skin: int
    hair: int
    upper: int
    lower: int
    shoes: int
    bare_arms: bool
    bare_legs: bool


def draw_person(canvas: Canvas) -> None:
    """A figure of legs, shoes, torso, arms, hands, head and hair, in a random pose and often cut by the border."""
    rng, size = canvas.rng, canvas.size
    height = size * rng.uniform(0.35, 1.05)
    lean = rng.normal(0, 0.12)
    hip = (rng.uniform(0.05, 0.95) * size, rng.uniform(0.35, 0.8) * size)
    body = _Body(
        height=height,
        hip=hip,
        neck=_step(hip, math.pi + lean, 0.30 * height),
        lean=lean,
        skin=canvas.surface(1, skin_tone(rng)),
        hair=canvas.surface(2, rng.choice([25.0, 60.0, 110.0, 170.0]) * np.array([1.0, 0.8, 0.6])),
        upper=canvas.surface(3),
        lower=canvas.surface(4),
        shoes=canvas.surface(5),
        bare_arms=rng.random() < 0.4,
        bare_legs=rng.random() < 0.25,
        broad=height * rng.uniform(0.085, 0.12),
    )
    _draw_legs(canvas, body)
    shoulders = [(body.neck[0] + side * body.broad, body.neck[1] + 0.03 * height) for side in (-1, 1)]
    waist = 0.85 * body.broad
    canvas.polygon([*shoulders, (hip[0] + waist, hip[1]), (hip[0] - waist, hip[1])], body.upper)
    if rng.random() < 0.25:  # a skirt or coat over the legs
        _draw_skirt(canvas, body)
    for side, shoulder in zip((-1, 1), shoulders, strict=True):
        _draw_arm(canvas, body, side, shoulder)
    _draw_head(canvas, body)


def _draw_legs(canvas: Canvas, body: _Body) -> None:
    rng, height = canvas.rng, body.height
    for side in (-1, 1):
        joint = (body.hip[0] + side * 0.5 * body.broad, body.hip[1])
        bend = side * abs(rng.normal(0.08, 0.2))
        knee = _step(joint, bend, 0.25 * height)
        foot = _step(knee, bend * rng.uniform(-0.6, 0.9), 0.23 * height)
        canvas.limb([joint, knee, foot], 0.062 * height, body.lower)
        if body.bare_legs:
            canvas.limb([knee, foot], 0.045 * height, body.skin)
        toes = (foot[0] + side * 0.05 * height, foot[1] + 0.01 * height)
        canvas.limb([foot, toes], 0.045 * height, body.shoes)


def _draw_skirt(canvas: Canvas, body: _Body) -> None:
    x, y = body.hip
    waist, flare = 0.8 * body.broad, body.broad * canvas.rng.uniform(1.1, 1.7)
    top, hem = y - 0.04 * body.height, y + 0.18 * body.height
    canvas.polygon([(x - waist, top), (x + waist, top), (x + flare, hem), (x - flare, hem)], body.lower)


def _draw_arm(canvas: Canvas, body: _Body, side: int, shoulder: Point) -> None:
    rng, height = canvas.rng, body.height
    raised = rng.random() < 0.2
    angle = side * (rng.uniform(1.6, 2.8) if raised else abs(rng.normal(0.25, 0.3)))
    elbow = _step(shoulder, angle, 0.17 * height)
    hand = _step(elbow, angle + side * rng.normal(0, 0.5), 0.16 * height)
    canvas.limb([shoulder, elbow, hand], 0.042 * height, body.skin if body.bare_arms else body.upper)
    canvas.limb([shoulder, elbow], 0.048 * height, body.upper)
    canvas.disc(*hand, 0.024 * height, 0.024 * height, body.skin)


def _draw_head(canvas: Canvas, body: _Body) -> None:
    rng, height = canvas.rng, body.height
    head = _step(body.neck, math.pi + body.lean + rng.normal(0, 0.15), 0.075 * height)
    x, y = head
    a, b = 0.048 * height, 0.064 * height
    canvas.limb([body.neck, head], 0.04 * height, body.skin)
    if rng.random() < 0.35:  # long hair behind the head
        ends = y + 1.9 * b
        canvas.polygon([(x - 1.2 * a, y), (x + 1.2 * a, y), (x + 1.1 * a, ends), (x - 1.1 * a, ends)], body.hair)
    canvas.disc(x, y - 0.15 * b, 1.12 * a, 1.1 * b, body.hair)
    if rng.random() < 0.75:  # otherwise seen from behind
        canvas.disc(x + rng.normal(0, 0.15) * a, y + 0.2 * b, 0.9 * a, 0.85 * b, body.skin)


def _draw_pole(canvas: Canvas) -> None:
    """A post or branch, as thin as an arm, sometimes with a ball like a head on top."""
    rng, size = canvas.rng, canvas.size
    surface = canvas.surface(0, skin_tone(rng) if rng.random() < 0.5 else None)
    start = (rng.uniform(0, size), rng.uniform(0.2, 1) * size)
    end = _step(start, math.pi + rng.normal(0, 0.5), size * rng.uniform(0.15, 0.7))
    canvas.limb([start, end], size * rng.uniform(0.012, 0.05), surface)
    if rng.random() < 0.5:
        radius = size * rng.uniform(0.02, 0.06)
        canvas.disc(*end, radius, radius * rng.uniform(0.9, 1.4), canvas.surface(0, skin_tone(rng)))


def _draw_animal(canvas: Canvas) -> None:
    """A body on four legs: the limbs and textures of a person in another arrangement."""
    rng, size = canvas.rng, canvas.size
    length = size * rng.uniform(0.15, 0.45)
    x, y = rng.uniform(0, 0.9) * size, rng.uniform(0.3, 0.95) * size
    coat = canvas.surface(0, skin_tone(rng) if rng.random() < 0.4 else None)
    canvas.limb([(x, y), (x + length, y + rng.normal(0, 0.05) * length)], 0.34 * length, coat)
    for share in (0.0, 0.12, 0.85, 1.0):
        hip = (x + share * length, y)
        canvas.limb([hip, _step(hip, rng.normal(0, 0.25), 0.55 * length)], 0.1 * length, coat)
    end = x + length if rng.random() < 0.5 else x
    outward = 1 if end > x else -1
    head = (end + outward * 0.22 * length, y - 0.28 * length)
    canvas.limb([(end, y), head], 0.14 * length, coat)
    canvas.disc(*head, 0.15 * length, 0.11 * length, canvas.surface(0))


def _draw_clothes(canvas: Canvas) -> None:
    """A shirt or trousers on a line: clothing without anybody in it."""
    rng, size = canvas.rng, canvas.size
    height = size * rng.uniform(0.3, 1.0)
    x, y = rng.uniform(0, 1) * size, rng.uniform(0.05, 0.8) * size
    broad = 0.1 * height
    cloth = canvas.surface(0)
    if rng.random() < 0.5:
        canvas.polygon(
            [
                (x - broad, y),
                (x + broad, y),
                (x + 0.85 * broad, y + 0.28 * height),
                (x - 0.85 * broad, y + 0.28 * height),
            ],
            cloth,
        )
        for side in (-1, 1):
            shoulder = (x + side * broad, y + 0.02 * height)
            canvas.limb(
                [shoulder, _step(shoulder, side * rng.uniform(0.1, 0.9), 0.28 * height)],
                0.045 * height,
                cloth,
            )
    else:
        for side in (-1, 1):
            top = (x + side * 0.4 * broad, y)
            canvas.limb([top, _step(top, side * rng.uniform(0, 0.2), 0.42 * height)], 0.062 * height, cloth)


def _draw_thing(canvas: Canvas) -> None:
    """A box, ball or bush."""
    rng, size = canvas.rng, canvas.size
    x, y = rng.uniform(0, size, 2)
    a, b = size * rng.uniform(0.03, 0.2, 2)
    surface = canvas.surface(0, skin_tone(rng) if rng.random() < 0.3 else None)
    kind = rng.integers(3)
    if kind == 0:
        tilt = rng.normal(0, 0.2)
        canvas.polygon([(x - a, y - b), (x + a, y - b + tilt * a), (x + a, y + b), (x - a, y + b - tilt * a)], surface)
    elif kind == 1:
        canvas.disc(x, y, a, b, surface)
    else:
        for dx, dy in rng.uniform(-1, 1, (5, 2)):
            canvas.disc(x + dx * a, y + dy * b, 0.6 * a, 0.6 * b, surface)


_LOOK_ALIKES = (_draw_pole, _draw_animal, _draw_clothes, _draw_thing)


def draw_look_alike(canvas: Canvas) -> None:
    """Something that is background but shares colours, textures or shapes with people."""
    _LOOK_ALIKES[canvas.rng.integers(len(_LOOK_ALIKES))](canvas)


def draw_ground(canvas: Canvas) -> None:
    """Wall and floor, and a few large panels."""
    rng, size = canvas.rng, canvas.size
    canvas.surface(0)  # number 0 fills the fresh canvas
    horizon = size * rng.uniform(0.3, 0.9)
    tilt = size * rng.normal(0, 0.04)
    floor = canvas.surface(0)
    canvas.polygon([(0, horizon), (size, horizon + tilt), (size, size), (0, size)], floor)
    for _ in range(rng.integers(0, 4)):
        x, y = rng.uniform(0, size, 2)
        w, h = size * rng.uniform(0.1, 0.6, 2)
        canvas.draw.rectangle((x - w / 2, y - h / 2, x + w / 2, y + h / 2), fill=canvas.surface(0))
