"""The table fits a terminal, and the sentence says what the rows say."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from snowmelt.reporting import benchmark_sentence, benchmark_table


def row(name: str, runtime: str, precision: str, ms: float, miou: float | None, **values: Any) -> dict[str, Any]:
    made = {"latency_ms": ms, "p90_ms": 2 * ms, "images_per_second": 1000 / ms, "parameters": 4_010_000}
    made |= {"macs": 702_300_000, "file_bytes": 16_200_000}
    return {"name": name, "runtime": runtime, "precision": precision, "miou": miou, **made, **values}


TEACHER = row("teacher", "PyTorch", "float32", 1000.0, 0.66, parameters=20_050_000, macs=1_404_600_000)
PLAIN = row("student", "PyTorch", "float32", 100.0, 0.59)
AGAINST = "Against its teacher (PyTorch float32), the student is"
INT8 = row("student", "onnxruntime", "int8", 25.0, 0.587, file_bytes=4_400_000)


def content(*rows: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {"name": "a run", "threads": 1, "image_size": 128, "batch": 1, "rows": list(rows), **values}


def test_the_table_fits_eighty_columns() -> None:
    slow = row("teacher", "onnxruntime", "float32", 1234.5, 0.6612, parameters=123_456_789, macs=123_456_789_000)
    console = Console(file=io.StringIO(), width=80)
    console.print(benchmark_table(content(slow, PLAIN, INT8, threads=16)))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    for shown in (
        "a run: batch 1, 128 x 128 pixels, 16 threads",
        "1234",
        "ONNX int8",
        "123M",
        "123G",
        "4.4MB",
        "0.5870",
        "16.2MB",
    ):
        assert shown in text


def test_what_is_not_known_is_a_dash() -> None:
    console = Console(file=io.StringIO(), width=80)
    bare = row("teacher", "onnxruntime", "float32", 5.0, None, parameters=None, macs=None, file_bytes=None)
    console.print(benchmark_table(content(bare, image_size=[64, 96])))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "64 x 96 pixels, 1 thread" in text
    [line] = [line for line in text.splitlines() if "teacher" in line]
    assert line.split()[-4:] == ["-"] * 4


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            (TEACHER, PLAIN, INT8),
            f"{AGAINST} 10.0 times as fast in PyTorch float32 and 40.0 times in ONNX int8, with 5.0 times fewer "
            "parameters and 2.0 times fewer multiply-adds, for 7.3 points of mIoU less.",
        ),
        (
            ({**TEACHER, "parameters": 2_005_000, "macs": 702_300_000, "miou": None}, PLAIN),
            f"{AGAINST} 10.0 times as fast in PyTorch float32, with 2.0 times as many parameters and 1.0 times fewer "
            "multiply-adds.",
        ),
        (
            ({**TEACHER, "parameters": None, "macs": None, "miou": 0.5}, PLAIN),
            f"{AGAINST} 10.0 times as fast in PyTorch float32, for 9.0 points of mIoU more.",
        ),
        ((PLAIN, INT8), "The student answers 4.0 times as fast in ONNX int8 as in PyTorch float32."),
        ((PLAIN,), "The student answers fastest as it is, in PyTorch float32."),
    ],
)
def test_the_sentence(rows: tuple[dict[str, Any], ...], sentence: str) -> None:
    assert benchmark_sentence(content(*rows)) == sentence
