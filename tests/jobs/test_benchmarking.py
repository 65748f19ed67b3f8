"""``snowmelt benchmark`` on a tiny run: who is timed, what is written, and what is said where somebody is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from tiny_experiments import overheard

import snowmelt.jobs.benchmarking.contenders as contenders
from snowmelt.errors import SnowmeltError
from snowmelt.export import Facts, Latency, OnnxExport, Parity, count_parameters
from snowmelt.jobs import BenchmarkRequest, benchmark_run
from snowmelt.jobs.opening import open_run
from snowmelt.models import fold_norms
from snowmelt.training import resolve_precision

ROW = {
    *("name", "runtime", "precision", "latency_ms", "p90_ms", "images_per_second", "parameters", "macs"),
    *("file_bytes", "miou"),
}


@pytest.fixture(scope="module")
def stand_in() -> onnx.ModelProto:
    """A graph of one convolution: how real networks are exported is tested elsewhere, and takes seconds."""
    shape = ["batch", 3, "height", "width"]
    floats = onnx.TensorProto.FLOAT
    weights = torch.randn(1, 3, 3, 3, generator=torch.Generator().manual_seed(0)).numpy()
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["image", "w"], ["logits"], pads=[1, 1, 1, 1], name="c")],
        "g",
        [onnx.helper.make_tensor_value_info("image", floats, shape)],
        [onnx.helper.make_tensor_value_info("logits", floats, ["batch", 1, "height", "width"])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture(autouse=True)
def quick_exports(stand_in: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> list[Facts]:
    asked: list[Facts] = []

    def make(_: object, facts: Facts, __: object) -> OnnxExport:
        asked.append(facts)
        return OnnxExport(stand_in, facts, Parity(0, 0, 1, ()), simplified=True)

    monkeypatch.setattr(contenders, "make_onnx", make)
    monkeypatch.setattr("snowmelt.jobs.exporting.quantising.MOST_DROP", 1.0)
    return asked


def test_teacher_and_student_in_every_form(cycle_copy: Any) -> None:
    root = cycle_copy.output / "distilled"
    content, said = overheard(benchmark_run, BenchmarkRequest(str(root), rounds=2, batch=2, threads=1))
    assert json.loads((root / "benchmark.json").read_text()) == content
    assert {key: content[key] for key in ("format", "device", "threads", "image_size", "batch")} == {
        "format": 1,
        "device": "cpu",
        "threads": 1,
        "image_size": 64,
        "batch": 2,
    }
    assert all(set(row) == ROW for row in content["rows"])
    half = [("student", "PyTorch", "bf16")] if resolve_precision("auto", "cpu") == "bf16" else []
    assert [(row["name"], row["runtime"], row["precision"]) for row in content["rows"]] == [
        ("teacher", "PyTorch", "float32"),
        ("student", "PyTorch", "float32"),
        *half,
        ("student", "onnxruntime", "float32"),
        ("student", "onnxruntime", "int8"),
    ]
    for row in content["rows"]:
        assert 0 < row["latency_ms"] <= row["p90_ms"]
        assert row["images_per_second"] == pytest.approx(2000 / row["latency_ms"])
    teacher, student = content["rows"][:2]
    assert teacher["parameters"] > student["parameters"] > 0  # the student's decoder is narrower
    assert teacher["macs"] > student["macs"] > 0
    record = json.loads((root / "summary.json").read_text())
    assert student["miou"] == record["best_miou"]
    assert content["sentence"] in " ".join(said.split())
    assert content["sentence"].startswith("Against its teacher (PyTorch float32), the student is")


def test_teacher_and_student_are_counted_and_opened_alike(cycle_copy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Teachers come with their norms folded, which takes parameters away and makes them quicker."""
    timed: list[Any] = []

    def time(asks: list[Any], rounds: int) -> list[Latency]:
        timed.extend(asks)
        return [Latency(1.0, 1.0)] * len(asks)

    folded: list[torch.nn.Module] = []

    def fold(network: torch.nn.Module) -> torch.nn.Module:
        folded.append(fold_norms(network))
        return folded[-1]

    monkeypatch.setattr("snowmelt.jobs.benchmarking.job.time_in_turns", time)
    monkeypatch.setattr(contenders, "fold_norms", fold)
    content, _ = overheard(benchmark_run, BenchmarkRequest(str(cycle_copy.output / "distilled"), rounds=1))
    [best] = (cycle_copy.output / "teachers").glob("*/checkpoints/best.safetensors")
    own = cycle_copy.output / "distilled" / "checkpoints" / "best.safetensors"
    for row, path in zip(content["rows"][:2], (best, own), strict=True):
        assert row["parameters"] == count_parameters(open_run(path).network)
    asked: list[object] = []
    hook = torch.nn.modules.module.register_module_forward_hook(lambda module, *_: asked.append(module))
    try:
        with torch.inference_mode():
            timed[1]()
    finally:
        hook.remove()
    assert asked[-1] is folded[0]


def test_json_alone_on_stdout(cycle_copy: Any, capsys: pytest.CaptureFixture[str]) -> None:
    root = cycle_copy.output / "plain"
    threads = torch.get_num_threads()
    content = benchmark_run(BenchmarkRequest(str(root), size=(64, 96), rounds=1), as_json=True)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == content
    assert content["image_size"] == [64, 96]
    assert content["notes"] == ["no teacher to time"]
    assert "timing" in captured.err
    assert torch.get_num_threads() == threads


def test_a_teacher_that_is_gone_and_int8_that_costs_too_much_are_said(
    cycle_copy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snowmelt.jobs.exporting.quantising.MOST_DROP", -2.0)
    cycle_copy.teacher.rename(cycle_copy.output / "elsewhere")
    content, said = overheard(benchmark_run, BenchmarkRequest(str(cycle_copy.output / "distilled"), rounds=1))
    assert {row["name"] for row in content["rows"]} == {"student"}
    assert "int8" not in {row["precision"] for row in content["rows"]}
    assert "the teacher is not there any more; it is not timed" in said
    assert any(note.startswith("int8 costs too much and is not timed: mIoU") for note in content["notes"])


def test_the_teacher_is_found_by_the_precision_that_the_run_had(
    cycle_copy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked in full precision, but was trained in the run's, and its folder is named after that."""
    root = cycle_copy.output / "distilled"
    settings = (root / "config.yaml").read_text()
    assert settings.count("precision: '32'") == 1
    (root / "config.yaml").write_text(settings.replace("precision: '32'", "precision: bf16"))
    asked: list[str] = []
    monkeypatch.setattr(
        contenders, "teacher_source_of", lambda session: asked.append(session.config.training.precision)
    )
    overheard(benchmark_run, BenchmarkRequest(str(root), rounds=1))
    assert asked == ["bf16"]


def test_a_lone_file_is_timed_without_teacher_and_int8(cycle_copy: Any, tmp_path: Path) -> None:
    lone = tmp_path / "lone.safetensors"
    shutil.copy(cycle_copy.output / "plain" / "checkpoints" / "best.safetensors", lone)
    content, said = overheard(benchmark_run, BenchmarkRequest(str(lone), rounds=1))
    assert {row["precision"] for row in content["rows"]} <= {"float32", "bf16"}
    assert "neither teacher nor a new int8 file is timed" in said
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".json")] == []


def test_files_of_the_run_are_taken_if_they_are_of_these_weights(
    cycle_copy: Any, stand_in: onnx.ModelProto, quick_exports: list[Facts]
) -> None:
    from snowmelt.export import write_facts, write_onnx

    root = cycle_copy.output / "plain"
    request = BenchmarkRequest(str(root), rounds=1)
    overheard(benchmark_run, request)
    [facts] = quick_exports
    model = onnx.ModelProto()
    model.CopyFrom(stand_in)
    model.producer_name = "x" * 1000  # so that its size tells it
    write_facts(model, facts)
    place = root / "export" / "plain.onnx"
    write_onnx(place, model)
    content, _ = overheard(benchmark_run, request)
    sizes = [row["file_bytes"] for row in content["rows"] if row["runtime"] == "onnxruntime"]
    assert sizes[0] == place.stat().st_size
    assert len(quick_exports) == 1
    other = json.loads(facts.to_json())["weights_digest"][::-1] + "x"
    write_facts(model, Facts(**{**vars(facts), "weights_digest": other}))
    write_onnx(place, model)
    content, _ = overheard(benchmark_run, request)
    assert place.stat().st_size not in [row["file_bytes"] for row in content["rows"]]
    assert len(quick_exports) == 2


def test_a_size_that_the_stride_does_not_divide_is_refused(cycle: Any) -> None:
    with pytest.raises(SnowmeltError, match="--size 65x64: both sides have to be multiples of 32"):
        overheard(benchmark_run, BenchmarkRequest(str(cycle.output / "plain"), size=(65, 64)))
