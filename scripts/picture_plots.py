"""The pictures of the documents: a dark card that stands on light and on dark pages, legible on a phone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from PIL import Image

from snowmelt.data import Sample
from snowmelt.evaluation import overlay_mask
from snowmelt.schedules import Plan

CARD, INK, QUIET = "#0f1c2b", "#eef5fb", "#8fa6bb"
WARM, ICE, FROZEN = "#ffa64d", "#6ec6f2", "#1d3247"
HEAT = "magma"
MARGIN, TILE, GAP = 32, 300, 16
CARD_WIDTH = 1668  # margin, a tile, 56, four tiles with their gaps, margin
TEXT = 40  # pixels: nine on a phone that is 390 wide
DPI = 76  # a hundredth of an inch is a pixel of the layout, so a card is saved some 1270 wide
COLORS = 128


class Card:
    """A figure whose coordinates are pixels from the upper left corner."""

    def __init__(self, height: int, width: int = CARD_WIDTH) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / 100, height / 100), dpi=DPI, facecolor="none")
        self.page = self.axes(0, 0, width, height)
        self.page.set(xlim=(0, width), ylim=(height, 0))
        self.page.axis("off")
        corner = FancyBboxPatch((24, 24), width - 48, height - 48, boxstyle="round,pad=24,rounding_size=24")
        corner.set(facecolor=CARD, edgecolor="none")
        self.page.add_patch(corner)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        w, h = self.width, self.height
        axes = self.figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))
        axes.set_facecolor("none")
        axes.tick_params(colors=QUIET, labelsize=points(TEXT - 6), length=0, pad=8)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes

    def text(self, x: float, y: float, text: str, size: float = TEXT, color: str = INK, **more: Any) -> None:
        self.page.text(x, y, text, fontsize=points(size), color=color, **{"va": "center", **more})

    def tile(self, left: float, top: float, picture: np.ndarray, caption: str = "", side: int = TILE) -> Axes:
        """A picture, enlarged as it is, with a caption in its lower left corner."""
        axes = self.axes(left, top, side, side)
        axes.imshow(picture, interpolation="bicubic" if picture.ndim == 3 else "bilinear", vmin=0, vmax=1, cmap=HEAT)
        axes.set(xticks=[], yticks=[])
        if caption:
            box = {"facecolor": CARD, "alpha": 0.85, "edgecolor": "none", "boxstyle": "round,pad=0.25"}
            axes.text(
                0.04,
                0.05,
                caption,
                transform=axes.transAxes,
                color=INK,
                fontsize=points(TEXT - 2),
                va="bottom",
                bbox=box,
            )
        return axes

    def save(self, path: Path) -> None:
        """Write a PNG of few colours; its corners are transparent."""
        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())
        drawn = Image.fromarray(pixels[..., :3].copy())
        few = drawn.quantize(palette=drawn.quantize(COLORS), dither=Image.Dither.FLOYDSTEINBERG)
        indices = np.where(pixels[..., 3] < 128, COLORS, np.asarray(few)).astype(np.uint8)
        image = Image.fromarray(indices, "P")
        image.putpalette([*(few.getpalette() or [])[: 3 * COLORS], 0, 0, 0])
        image.save(path, optimize=True, transparency=COLORS)


def points(pixels: float) -> float:
    return pixels * 72 / 100


def softened(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Probability of a person in each pixel (H, W), of logits divided by the temperature."""
    return 1 / (1 + np.exp(-logits / temperature))


def draw_run(path: Path, sample: Sample, teacher: np.ndarray, masks: Mapping[int, np.ndarray], plan: Plan) -> None:
    """What the teacher teaches and what the student makes of it at some epochs, above the two schedules.

    The pictures stand over their epochs on the axis below, so ``masks`` must be evenly spaced.
    """
    card = Card(height=1160)
    left, first = MARGIN, MARGIN + TILE + 56
    rows = (84, 84 + TILE + 72)
    temperatures = {epoch: plan.epochs[epoch].temperature or 1.0 for epoch in masks}
    card.text(left, 46, "scene")
    card.text(first, 46, "what the teacher shows at temperature T")
    card.text(left, rows[1] - 36, "truth")
    card.text(first, rows[1] - 36, "the student's mask after the epoch")
    card.tile(left, rows[0], sample.image)
    card.tile(left, rows[1], overlay_mask(sample.image, sample.mask, 2))
    epochs = list(masks)
    for column, epoch in enumerate(epochs):
        x = first + column * (TILE + GAP)
        card.tile(x, rows[0], softened(teacher, temperatures[epoch]), f"T = {temperatures[epoch]:.1f}")
        card.tile(x, rows[1], overlay_mask(sample.image, masks[epoch].astype(np.uint8), 2), f"epoch {epoch}")

    top, height = rows[1] + TILE + 40, 290
    step = epochs[1] - epochs[0]
    spacing = (TILE + GAP) / step  # pixels an epoch
    axes = card.axes(first, top, 4 * TILE + 3 * GAP, height)
    begin = epochs[0] - TILE / 2 / spacing
    axes.set_xlim(begin, begin + (4 * TILE + 3 * GAP) / spacing)
    _schedules(axes, plan, marked=epochs)
    axes.set_xticks(epochs)
    for row, (text, color) in enumerate((("temperature", WARM), ("cools", WARM), ("", INK), ("encoder thaws", ICE))):
        card.text(left, top + 34 + 50 * row, text, color=color)
    card.text(left, top + 34 + 200, "block by block", color=ICE)
    card.text(left, top + height + 32, "epoch", color=QUIET, size=TEXT - 6)
    card.save(path)


def draw_schedule(path: Path, plan: Plan) -> None:
    """Temperature curve and thaw staircase of a plan."""
    card = Card(height=650)
    axes = card.axes(MARGIN + 40, 110, CARD_WIDTH - 2 * MARGIN - 80, 440)
    axes.set_xlim(-0.5, len(plan.epochs) - 0.5)
    _schedules(axes, plan, marked=(0, 10, 20, 30, 40, 49), numbers=True)
    axes.set_xticks([stage.first_epoch for stage in plan.stages] + [len(plan.epochs) - 1])
    card.text(MARGIN + 40, 56, "temperature cools", color=WARM)
    card.text(CARD_WIDTH - MARGIN - 40, 56, "blocks that learn", color=ICE, ha="right")
    card.text(CARD_WIDTH / 2, 618, "epoch", color=QUIET, size=TEXT - 6, ha="center")
    card.save(path)


def _schedules(axes: Axes, plan: Plan, marked: Any = (), numbers: bool = False) -> None:
    """The staircase of blocks with the temperature over it; a dot and a line up at each marked epoch."""
    epochs = len(plan.epochs)
    blocks = plan.stages[-1].thawed_blocks
    top = 4.4
    unit = top / (blocks + 0.6)
    for stage in plan.stages:
        width = stage.last_epoch - stage.first_epoch + 1
        for row in range(blocks):
            color = ICE if row < stage.thawed_blocks else FROZEN
            corner = (stage.first_epoch - 0.5, row * unit + 0.04)
            axes.add_patch(Rectangle(corner, width - 0.08, unit - 0.08, color=color, alpha=0.62, linewidth=0))
        if numbers:
            middle = stage.first_epoch - 0.5 + width / 2
            axes.text(
                middle, -0.28, str(stage.thawed_blocks), color=ICE, fontsize=points(TEXT), ha="center", va="center"
            )
    curve = [row.temperature or 1.0 for row in plan.epochs]
    axes.plot(range(epochs), curve, color=CARD, linewidth=12, solid_capstyle="round")
    axes.plot(range(epochs), curve, color=WARM, linewidth=6, solid_capstyle="round")
    for epoch in marked:
        axes.plot(epoch, curve[epoch], "o", color=WARM, markeredgecolor=CARD, markeredgewidth=3, markersize=17)
        if numbers:
            last = epoch == epochs - 1
            x, side = (epoch + 0.3, "right") if last else (epoch + 0.5, "left")
            label = f"{curve[epoch]:.1f}"
            axes.text(x, curve[epoch] + 0.12, label, fontsize=points(TEXT - 4), ha=side, va="bottom", color=INK)
    axes.set_ylim(-0.5 if numbers else 0, top + (0.5 if numbers else 0.2))
    axes.set_yticks([])


def draw_temperature(path: Path, sample: Sample, teacher: np.ndarray) -> None:
    """A teacher's answer at three temperatures, and along one line of pixels."""
    temperatures = {4: WARM, 2: "#f2d9b8", 1: ICE}
    line = busiest_row(teacher)
    side, top = 384, 84
    width = MARGIN * 2 + 4 * side + 3 * GAP
    card = Card(height=950, width=width)
    captions = ["scene", *(f"T = {temperature}" for temperature in temperatures)]
    pictures = [sample.image, *(softened(teacher, temperature) for temperature in temperatures)]
    for column, (caption, picture) in enumerate(zip(captions, pictures, strict=True)):
        x = MARGIN + column * (side + GAP)
        card.text(x, 46, caption, color=[INK, *temperatures.values()][column])
        axes = card.tile(x, top, picture, side=side)
        axes.axhline(line, color="white", linewidth=3, linestyle=(0, (2, 1.5)))
    axes = card.axes(MARGIN + 60, top + side + 96, width - 2 * MARGIN - 80, 330)
    card.text(MARGIN, top + side + 54, "the teacher's probability of a person along the dashed line", color=INK)
    for temperature, color in temperatures.items():
        axes.plot(softened(teacher[line], temperature), color=color, linewidth=7, label=f"T = {temperature}")
    axes.axhline(0.5, color=QUIET, linewidth=2, linestyle=(0, (1, 2)))
    axes.set(ylim=(-0.03, 1.03), xlim=(0, teacher.shape[1] - 1), yticks=[0, 0.5, 1], xticks=[])
    axes.set_yticklabels(["0", "½", "1"])
    card.text(width / 2, 916, "pixels, left to right", color=QUIET, size=TEXT - 6, ha="center")
    card.save(path)


def busiest_row(logits: np.ndarray) -> int:
    """The row of pixels on which the teacher's answer swings most between sure and sure of the opposite."""
    return int(np.abs(np.diff(softened(logits, 1.0), axis=1)).sum(axis=1).argmax())


def draw_thawing(path: Path, plan: Plan) -> None:
    """Which part learns in which epoch, and the share of the parameters that does."""
    parts = list(plan.stages[-1].learning_rates)  # decoder, then blocks, deepest first
    epochs, total = len(plan.epochs), plan.stages[-1].trainable_parameters or 1
    row, top, left = 72, 96, 330
    width = CARD_WIDTH - left - MARGIN - 20
    card = Card(height=top + row * len(parts) + 370)
    card.text(MARGIN, 50, "what learns, epoch by epoch")
    axes = card.axes(left, top, width, row * len(parts))
    axes.set(xlim=(-0.5, epochs - 0.5), ylim=(len(parts) - 0.5, -0.5), xticks=[], yticks=[])
    for number, part in enumerate(parts):
        begin = 0 if number == 0 else next(e.epoch for e in plan.epochs if e.thawed_blocks >= number)
        color = WARM if number == 0 else ICE
        axes.add_patch(Rectangle((-0.5, number - 0.42), epochs, 0.84, color=FROZEN, linewidth=0))
        axes.add_patch(Rectangle((begin - 0.5, number - 0.42), epochs - begin, 0.84, color=color, linewidth=0))
        if number:
            axes.text(-0.1, number, "frozen", color=QUIET, fontsize=points(TEXT - 8), va="center")
        label = "decoder, head" if number == 0 else part + (", stem" if number == len(parts) - 1 else "")
        card.text(left - 20, top + row * (number + 0.5), label, ha="right", size=TEXT - 4, color=color)
    share = card.axes(left, top + row * len(parts) + 84, width, 210)
    shares = [
        100 * (stage.trainable_parameters or 0) / total
        for stage in plan.stages
        for _ in range(stage.first_epoch, stage.last_epoch + 1)
    ]
    edges = np.arange(epochs + 1) - 0.5
    share.stairs(shares, edges, color=INK, fill=True, alpha=0.22)
    share.stairs(shares, edges, color=INK, linewidth=5, baseline=None)
    share.set(xlim=(-0.5, epochs - 0.5), ylim=(0, 108), yticks=[50, 100])
    share.set_yticklabels(["50 %", "100 %"])
    share.set_xticks([stage.first_epoch for stage in plan.stages] + [epochs - 1])
    card.text(left, top + row * len(parts) + 50, "share of the student's parameters that learn")
    card.text(left - 20, card.height - 50, "epoch", color=QUIET, size=TEXT - 6, ha="right")
    card.save(path)
