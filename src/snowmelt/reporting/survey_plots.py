"""A survey of a data set as pictures: classes by split, sizes of the images, and a sheet of suspicious masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from snowmelt.reporting.plots import BLUE, GREEN, GREY, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"train": BLUE, "val": ORANGE, "test": GREEN, "unlabelled": GREY}
MARKS = {"train": "o", "val": "s", "test": "^", "unlabelled": "x"}
TILE, GAP, LINE = 220, 10, 16  # pixels of the sheet
COLUMNS = 4
Content = Mapping[str, Any]


def classes_figure(content: Content) -> Figure:
    """Three panels, a row for each class: share of the pixels, share of the images, and both against train."""
    from matplotlib.figure import Figure  # slow to import, and pyplot would keep every figure alive

    splits = [row["name"] for row in content["splits"] if row["masks"]]
    classes = content["classes"]
    figure = Figure(figsize=(12, 1.6 + (0.14 + 0.16 * len(splits)) * len(classes) + 0.4), layout="constrained")
    figure.suptitle("Classes by split")
    pixels, images, ratio = figure.subplots(1, 3, sharey=True)
    rows = np.arange(len(classes))
    thickness = 0.8 / max(len(splits), 1)
    masks = {row["name"]: max(row["masks"], 1) for row in content["splits"]}
    for position, split in enumerate(splits):
        counts = [each["splits"][split] for each in classes]
        place = rows + (position - (len(splits) - 1) / 2) * thickness
        shares = 100 * np.array([each["share"] for each in counts])
        pixels.barh(place, shares, thickness * 0.9, color=COLOURS[split], label=split)
        held = [100 * each["images"] / masks[split] for each in counts]
        images.barh(place, held, thickness * 0.9, color=COLOURS[split])
        for row, share in zip(place, shares, strict=True):
            pixels.annotate(_percent(share), (share, row), (3, 0), textcoords="offset points", va="center", fontsize=7)
        if split != "train":
            _draw_ratios(ratio, classes, split, place)
    pixels.set_xlim(0, 1.18 * max(pixels.get_xlim()[1], 1))
    pixels.set_xlabel("% of the labelled pixels")
    images.set_xlabel("% of the images hold it")
    images.set_xlim(0, 102)
    ratio.set_xlabel("times as much of an image as in train")
    pixels.set_yticks(rows, [each["name"] for each in classes])
    pixels.invert_yaxis()
    _finish_ratios(ratio)
    for axes in (pixels, images, ratio):
        axes.grid(axis="x", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=max(len(splits), 1), frameon=False)
    return figure


def _draw_ratios(axes: Axes, classes: Sequence[Content], split: str, place: np.ndarray) -> None:
    """Points with an interval of two standard errors, where both splits hold the class."""
    for row, each in zip(place, classes, strict=True):
        ours, theirs = each["splits"][split], each["splits"].get("train")
        if theirs is None or not ours["share_of_image"] or not theirs["share_of_image"]:
            continue
        ratio = ours["share_of_image"] / theirs["share_of_image"]
        relative = np.hypot(
            ours["standard_error"] / ours["share_of_image"], theirs["standard_error"] / theirs["share_of_image"]
        )
        ends = ratio * np.exp(np.array([-2, 2]) * relative)
        axes.plot(ends, [row, row], color=COLOURS[split], linewidth=1.5)
        axes.plot(ratio, row, MARKS[split], color=COLOURS[split], markersize=5)


def _finish_ratios(axes: Axes) -> None:
    from matplotlib.ticker import NullFormatter

    low, high = axes.get_xlim() if axes.lines else (1.0, 1.0)
    reach = min(max(2.0, high, 1 / max(low, 1e-3)), 50.0)
    axes.axvline(1, color=GREY, linewidth=1, zorder=1)
    axes.set_xscale("log")
    axes.set_xlim(1 / reach, reach)
    ticks = [tick for tick in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if 1 / reach <= tick <= reach]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())


def sizes_figure(sizes: Mapping[str, np.ndarray], image_size: int) -> Figure:
    """Width against height of every image.

    Args:
        sizes: by split, (N, 2) heights and widths in pixels.
        image_size: side of the square that the networks see, which is drawn.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    for split, found in sizes.items():
        different, counts = np.unique(found, axis=0, return_counts=True)
        area = 12 + 160 * np.sqrt(counts / max(len(found), 1))
        axes.scatter(
            different[:, 1], different[:, 0], area, alpha=0.45, color=COLOURS[split], label=f"{split} ({len(found)})"
        )
    axes.add_patch(Rectangle((0, 0), image_size, image_size, fill=False, linestyle="--", edgecolor=GREY))
    axes.annotate(
        f"{image_size} px, what the networks see", (0, image_size), (2, 3), textcoords="offset points", fontsize=8
    )
    most = max(float(found.max()) for found in sizes.values()) if sizes else image_size
    axes.set_xlim(0, 1.08 * max(most, image_size))
    axes.set_ylim(0, 1.08 * max(most, image_size))
    axes.set_aspect("equal")
    axes.set(xlabel="width in pixels", ylabel="height in pixels", title="Sizes of the images")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    legend = axes.legend(
        loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, title="larger dot: more of a size"
    )
    for handle in legend.legend_handles:
        handle.set_sizes([40])  # type: ignore[union-attr]
    return figure


def contact_sheet(tiles: Sequence[tuple[str, str, np.ndarray]]) -> Image.Image:
    """Pictures in rows of four: what is odd about each in bold place above, its file below.

    Args:
        tiles: what, file, and (H, W, 3) uint8.
    """
    font = ImageFont.load_default(size=12)
    width = GAP + COLUMNS * (TILE + GAP)
    height = TILE + 2 * LINE + 2 * GAP
    sheet = Image.new("RGB", (width, GAP + height * -(-len(tiles) // COLUMNS)), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    for position, (what, file, pixels) in enumerate(tiles):
        left, top = GAP + (position % COLUMNS) * (TILE + GAP), GAP + (position // COLUMNS) * height
        picture = Image.fromarray(pixels)
        scale = TILE / max(picture.size)
        picture = picture.resize(
            (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), Image.Resampling.NEAREST
        )
        pen.text((left, top), _clipped(font, what), font=font, fill=(160, 40, 0))
        sheet.paste(picture, (left, top + LINE + 2))
        pen.text(
            (left, top + LINE + 4 + picture.height), _clipped(font, file, keep_end=True), font=font, fill=(20, 20, 20)
        )
    return sheet


def _clipped(font: Any, text: str, keep_end: bool = False) -> str:
    if font.getlength(text) <= TILE:
        return text
    while font.getlength(text + "...") > TILE:
        text = text[1:] if keep_end else text[:-1]
    return f"...{text}" if keep_end else f"{text}..."


def _percent(share: float) -> str:
    return "" if share == 0 else f"{share:.1f}" if share >= 1 else f"{share:.2g}"
