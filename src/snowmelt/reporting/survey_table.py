"""A survey of a data set on the terminal: tables of splits and classes, and a line for each finding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.table import Table

SHOWN = 3  # files named in a line
CLASSES = 24  # rows of the table; JSON has all
Content = Mapping[str, Any]


def survey_tables(content: Content) -> Iterator[Table]:
    """The tables of a survey, as its JSON holds it."""
    yield splits_table(content)
    if any(row["masks"] for row in content["splits"]):
        yield classes_table(content)


def splits_table(content: Content) -> Table:
    """Images of each split and their sizes."""
    table = _table("Images: least / median / most")
    for head in ("split", "images", "masks", "width", "height", "width : height"):
        table.add_column(head, justify="left" if head == "split" else "right", no_wrap=True)
    for row in content["splits"]:
        spreads = [
            _spread(row.get(key), form) for key, form in (("width", ".0f"), ("height", ".0f"), ("aspect", ".2f"))
        ]
        masks = "-" if row["name"] == "unlabelled" else str(row["masks"])
        table.add_row(row["name"], str(row["images"]), masks, *spreads)
    return table


def classes_table(content: Content) -> Table:
    """What share of the labelled pixels a class has, and in how many images it is, by split."""
    splits = [row["name"] for row in content["splits"] if row["masks"]]
    table = _table("Classes: share of the pixels, and images that hold them")
    table.add_column("class", overflow="fold", min_width=10)
    for split in splits:
        table.add_column(split, justify="right", no_wrap=True)
        table.add_column("images", justify="right", no_wrap=True)
    rows = [(each["name"], each["splits"]) for each in content["classes"]]
    left_out = len(rows) - CLASSES
    rows = rows[:CLASSES]
    if any(each["pixels"] for each in content["ignored"].values()):
        rows.append(("(ignored)", content["ignored"]))
    for name, counts in rows:
        cells: list[str] = []
        for split in splits:
            found = counts[split]
            cells += [f"{100 * found['share']:.2f} %" if found["images"] else "-", str(found["images"])]
        table.add_row(name, *cells)
    if left_out > 0:
        table.caption = f"and {left_out} more classes (--json)"
    return table


def finding_line(finding: Content, root: str, shown: int = SHOWN) -> str:
    """``what: first files (n more); what to do``; paths below ``root`` are written from there."""
    line = str(finding["what"])
    files = [_file(item, root) for item in finding["files"][:shown]]
    if files:
        more = finding["count"] - len(files)
        line += f": {', '.join(files)}" + (f" ({more} more)" if more else "")
    return f"{line}; {finding['do']}" if finding["do"] else line


def _file(item: Content, root: str) -> str:
    text = _short(item["file"], root)
    if "other" in item:
        return f"{text} = {_short(item['other'], root)}"
    return f"{text} ({item['detail']})" if "detail" in item else text


def _short(path: str, root: str) -> str:
    return path.removeprefix(root.rstrip("/") + "/")


def _spread(found: Content | None, form: str) -> str:
    if found is None:
        return "-"
    numbers = [format(found[key], form) for key in ("min", "median", "max")]
    return numbers[0] if len(set(numbers)) == 1 else " / ".join(numbers)


def _table(title: str) -> Table:
    return Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title_justify="left")
