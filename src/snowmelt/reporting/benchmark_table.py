"""``benchmark.json`` for a person: a table, and the one sentence that it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

Content = Mapping[str, Any]
Row = Mapping[str, Any]


def benchmark_table(content: Content) -> Table:
    """Who, in what, how fast, how large, how good; fits 80 columns."""
    table = Table(
        title=f"{content['name']}: batch {content['batch']}, {side_text(content['image_size'])} pixels, "
        f"{threads_text(content['threads'])}",
        caption="ms: median and 90th percentile of a batch; mIoU: on validation images",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", no_wrap=True)
    table.add_column("in", no_wrap=True)
    for name in ("ms", "p90", "img/s", "params", "MACs", "file", "mIoU"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in content["rows"]:
        table.add_row(
            row["name"],
            form_of(row),
            _figure(row["latency_ms"]),
            _figure(row["p90_ms"]),
            _figure(row["images_per_second"]),
            _scaled(row["parameters"]),
            _scaled(row["macs"]),
            _scaled(row["file_bytes"], "B"),
            "-" if row["miou"] is None else f"{row['miou']:.4f}",
        )
    return table


def benchmark_sentence(content: Content) -> str:
    """What the distillation bought: the student against its teacher, else its own forms against each other."""
    rows = list(content["rows"])
    students = [row for row in rows if row["name"] == "student"]
    teacher = next((row for row in rows if row["name"] == "teacher"), None)
    fastest = min(students, key=lambda row: row["latency_ms"])
    plain = next((row for row in students if (row["runtime"], row["precision"]) == ("PyTorch", "float32")), fastest)
    if teacher is None:
        if fastest is plain:
            return f"The student answers fastest as it is, in {form_of(plain)}."
        return f"The student answers {times(plain, fastest)} as fast in {form_of(fastest)} as in {form_of(plain)}."
    text = (
        f"Against its teacher ({form_of(teacher)}), the student is {times(teacher, plain)} as fast in {form_of(plain)}"
    )
    if fastest is not plain:
        text += f" and {times(teacher, fastest)} in {form_of(fastest)}"
    text += _smaller(teacher, plain)
    given = fastest if fastest["miou"] is not None else plain
    if given["miou"] is not None and teacher["miou"] is not None:
        points = 100 * (given["miou"] - teacher["miou"])
        text += f", for {abs(points):.1f} points of mIoU {'more' if points > 0 else 'less'}"
    return text + "."


def form_of(row: Row) -> str:
    """``PyTorch float32``, ``ONNX int8``."""
    return f"{'ONNX' if row['runtime'] == 'onnxruntime' else row['runtime']} {row['precision']}"


def times(slower: Row, faster: Row) -> str:
    return f"{slower['latency_ms'] / faster['latency_ms']:.1f} times"


def side_text(size: int | list[int]) -> str:
    height, width = (size, size) if isinstance(size, int) else size
    return f"{height} x {width}"


def threads_text(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _smaller(teacher: Row, student: Row) -> str:
    parts = []
    for key, noun in (("parameters", "parameters"), ("macs", "multiply-adds")):
        if teacher[key] and student[key]:
            ratio = teacher[key] / student[key]
            parts.append(f"{ratio:.1f} times fewer {noun}" if ratio >= 1 else f"{1 / ratio:.1f} times as many {noun}")
    return f", with {' and '.join(parts)}" if parts else ""


def _figure(value: float) -> str:
    return f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def _scaled(count: int | None, unit: str = "") -> str:
    """Three digits and a letter: 702M, 4.01M, 16.2MB."""
    if count is None:
        return "-"
    for letter, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.3g}{letter}{unit}"
    return f"{count}{unit}"
