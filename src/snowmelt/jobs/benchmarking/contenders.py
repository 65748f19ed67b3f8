"""Who is timed: the teacher, the student in PyTorch, and its exported files in onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from snowmelt.build import make_input, open_teacher
from snowmelt.config import with_values
from snowmelt.errors import SnowmeltError
from snowmelt.export import (
    ask_runtime,
    count_macs,
    count_parameters,
    make_onnx,
    open_runtime,
    read_facts,
)
from snowmelt.jobs.exporting.quantising import quantise_export
from snowmelt.jobs.exporting.students import facts_of, place_of, plain_network
from snowmelt.jobs.opening import TrainedRun
from snowmelt.jobs.records import read_record
from snowmelt.jobs.scoring import teacher_source_of
from snowmelt.jobs.session import Session
from snowmelt.models import fold_norms, normalise
from snowmelt.reporting import RunFolder, read_metrics
from snowmelt.teachers import NetworkTeacher
from snowmelt.teachers.fitted import resize_pictures
from snowmelt.training import resolve_precision

Say = Callable[[str], None]
PYTORCH, RUNTIME = "PyTorch", "onnxruntime"


@dataclass(frozen=True)
class Contender:
    """One row: who in what form, how to ask it about the batch, and what is known without a clock."""

    name: str
    runtime: str
    precision: str
    ask: Callable[[], object]
    parameters: int | None = None
    macs: int | None = None
    file_bytes: int | None = None
    miou: float | None = None


@dataclass(frozen=True)
class Noted:
    """mIoU on validation images that the run noted at its best epoch, and in which precision it scored."""

    student: float | None = None
    teacher: float | None = None
    precision: str | None = None


def noted_scores(trained: TrainedRun) -> Noted:
    """From ``summary.json`` and ``metrics.csv``; nothing for a lone file or a run that has not ended."""
    record = None if trained.root is None else read_record(trained.root)
    if trained.root is None or record is None or trained.config is None or record.get("best_miou") is None:
        return Noted()
    folder = RunFolder(trained.root)
    rows = read_metrics(folder.metrics_file) if folder.metrics_file.exists() else []
    row = next((row for row in rows if row.get("epoch") == record["best_epoch"]), {})
    teacher = row.get("teacher_miou")
    known = teacher if isinstance(teacher, float) and teacher == teacher else None
    return Noted(float(record["best_miou"]), known, trained.config.training.precision)


def students(trained: TrainedRun, images: Tensor, noted: Noted) -> list[Contender]:
    """The student in PyTorch: in float32, and in bfloat16 where the processor computes in it.

    Its norms are folded into its convolutions, as those of a teacher are: neither is slower for how it was opened.
    """
    inputs = make_input(trained.normalisation)(images).contiguous(memory_format=torch.channels_last)
    parameters, macs = count_parameters(trained.network), count_macs(trained.network, inputs)
    quick = fold_norms(trained.network).to(memory_format=torch.channels_last)
    made = Contender("student", PYTORCH, "float32", lambda: quick(inputs), parameters, macs)
    made = replace(made, file_bytes=trained.weights.stat().st_size)
    forms = [replace(made, miou=noted.student if noted.precision == "32" else None)]
    if resolve_precision("auto", "cpu") == "bf16":

        def in_bfloat16() -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return quick(inputs)

        miou = noted.student if noted.precision == "bf16" else None
        forms.append(replace(made, precision="bf16", ask=in_bfloat16, miou=miou))
    return forms


def teacher(trained: TrainedRun, session: Session, images: Tensor, noted: Noted, say: Say) -> list[Contender]:
    """The teacher where it can be opened and asked; else nothing, and a line that says why."""
    config = session.config
    assert trained.config is not None  # there is no session without one
    # A teacher that was trained for a run is found by how that run computed, not by how it is asked here.
    as_trained = {"training": {"precision": trained.config.training.precision}}
    source = teacher_source_of(replace(session, config=with_values(config, as_trained)))
    if source is None:
        say("no teacher to time" if not config.distills else "the teacher is not there any more; it is not timed")
        return []
    try:
        opened = open_teacher(config, source, session.splits, session.engine, say)
    except SnowmeltError as error:
        say(f"the teacher is not timed: {error}")
        return []
    if opened.model is None:
        say("the teacher is a folder of maps, which takes no time to ask; it is not timed")
        return []
    inner = opened.model.model
    where = Path(source.split(":", 1)[-1].split("#")[0])
    size = _size_of(where)
    if not isinstance(inner, NetworkTeacher):
        runtime = RUNTIME if where.suffix == ".onnx" else PYTORCH
        whole = opened.model
        return [Contender("teacher", runtime, "float32", lambda: whole(images), file_bytes=size, miou=noted.teacher)]
    network: nn.Module = inner.network
    seen = resize_pictures(images, opened.model.size)
    inputs = normalise(seen, inner.normalisation).contiguous(memory_format=torch.channels_last)
    macs, parameters = count_macs(network, inputs), _parameters_of(network) + inner.folded
    return [Contender("teacher", PYTORCH, "float32", lambda: network(inputs), parameters, macs, size, noted.teacher)]


def exports(
    trained: TrainedRun, session: Session | None, images: Tensor, folder: Path, like: Contender, say: Say
) -> list[Contender]:
    """The student's ONNX files, float and int8: those of the run where they are of these weights, else made now.

    Args:
        session: the run's data, to calibrate on; ``None``: no int8 unless the file is there.
        folder: where files are written that are not in the run.
        like: the student in PyTorch, of the same parameters and multiply-adds.
    """
    network = plain_network(trained)
    facts = facts_of(trained, network)
    plain = _present(place_of(trained, "", ".onnx"), facts.weights_digest)
    int8 = _present(place_of(trained, "-int8", ".onnx"), facts.weights_digest)
    if plain is None:
        plain = _written(make_onnx(network, facts, say).model, folder / "float.onnx")
    if int8 is None and session is not None:
        quantised = quantise_export(onnx.load(plain), facts, session)
        if quantised.holds:
            int8 = _written(quantised.model, folder / "int8.onnx")
        else:
            say(f"int8 costs too much and is not timed: {quantised.describe()}")
    told = {} if int8 is None else (_facts_in(int8).get("quantisation") or {})
    inputs = make_input(trained.normalisation)(images).contiguous()
    forms = []
    for path, precision, miou in ((plain, "float32", "miou_float"), (int8, "int8", "miou_int8")):
        if path is not None:
            runtime = open_runtime(str(path))
            ask = _asking(runtime, inputs)
            made = replace(like, runtime=RUNTIME, precision=precision, ask=ask, miou=told.get(miou))
            forms.append(replace(made, file_bytes=path.stat().st_size))
    return forms


def _asking(runtime: Any, inputs: Tensor) -> Callable[[], object]:
    return lambda: ask_runtime(runtime, inputs)


def _written(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path


def _present(path: Path, digest: str) -> Path | None:
    """The file, if it is there and of these weights."""
    return path if path.is_file() and _facts_in(path).get("weights_digest") == digest else None


def _facts_in(path: Path) -> dict[str, Any]:
    return read_facts(onnx.load(path)) or {}


def _parameters_of(network: nn.Module) -> int:
    try:
        return count_parameters(network)
    except SnowmeltError:  # of another library than smp, whose unreached parameters nobody can tell
        return sum(value.numel() for value in network.parameters())


def _size_of(where: Path) -> int | None:
    """Of a weights file, or of the best weights in a run folder."""
    for path in (where, where / "checkpoints" / "best.safetensors", where / "model.safetensors"):
        if path.is_file():
            return path.stat().st_size
    return None
