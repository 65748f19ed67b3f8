"""The whole of ``snowmelt export``, to be read top to bottom."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from snowmelt.errors import SnowmeltError
from snowmelt.export import (
    CARD_FILE,
    CONFIG_FILE,
    MOST_DROP,
    WEIGHTS_FILE,
    Facts,
    OnnxExport,
    make_onnx,
    refuse_strangers,
    whole_folder,
    write_onnx,
    write_pretrained,
    write_safetensors,
)
from snowmelt.jobs.exporting.carding import card_of
from snowmelt.jobs.exporting.quantising import Quantised, open_data_of, quantise_export
from snowmelt.jobs.exporting.request import ExportRequest
from snowmelt.jobs.exporting.students import facts_of, place_of, plain_network
from snowmelt.jobs.opening import TrainedRun, open_run

CARD_ONNX, CARD_INT8 = "model.onnx", "model-int8.onnx"
CARD_FILES = frozenset({CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, CARD_ONNX, CARD_INT8})


def export_run(request: ExportRequest, as_json: bool = False) -> dict[str, Any]:
    """Write the student of a run in another form, and return what is to be known about the file.

    Args:
        as_json: print that as JSON and nothing else; what is said goes to standard error.

    Raises:
        SnowmeltError: no such run, a network that cannot be exported, a check that does not hold, an int8 export that
            costs too much. Nothing is written then.
    """
    if not as_json:
        return _export(request)
    with contextlib.redirect_stdout(sys.stderr):
        outcome = _export(request)
    print(json.dumps(outcome, indent=2, allow_nan=False, ensure_ascii=False))
    return outcome


def _export(request: ExportRequest) -> dict[str, Any]:
    trained = open_run(request.source)
    network = plain_network(trained)
    path = request.output or place_of(trained, request.marks, _suffix(request))
    _refuse_place(path, trained, request)
    made = _make_onnx(request, trained, network) if request.format == "onnx" else None
    metadata = dict(trained.metadata)
    if request.card:
        with whole_folder(path, CARD_FILES) as folder:
            names = _write_models(folder, made)
            card = card_of(trained, _facts(request, trained, network), names, request.licence)
            write_pretrained(folder, network, metadata, card)
    elif made is None:
        write_safetensors(path, network, metadata)
    else:
        write_onnx(path, made[-1].model)
    outcome = _outcome(request, trained, path, made)
    _say(f"wrote {path} ({_size(outcome['bytes'])})")
    return outcome


def _make_onnx(request: ExportRequest, trained: TrainedRun, network: nn.Module) -> list[OnnxExport | Quantised]:
    """The float export, and behind it the int8 one where it is asked for and holds."""
    facts = _facts(request, trained, network)
    session = open_data_of(trained, request.size and request.size[0]) if request.int8 else None  # fails at once
    _say(f"exporting {trained.name} ({trained.metadata['network']['encoder']}) to ONNX")
    export = make_onnx(network, facts, _say)
    plain = "simplified" if export.simplified else "not simplified"
    _say(f"compared with PyTorch at {len(export.parity.shapes)} shapes, {plain}: {export.parity.describe()}")
    if session is None:
        return [export]
    quantised = quantise_export(export.model, export.facts, session)
    _say(f"int8, ranges from {quantised.calibration_images} training images: {quantised.describe()}")
    if not quantised.holds:
        too_much = f"int8 costs too much: {quantised.describe()}, and at most {100 * MOST_DROP:.0f} point is accepted"
        if not request.force:
            raise SnowmeltError(
                f"{too_much}; nothing was written; --force writes it all the same", code="export-accuracy"
            )
        _say(f"warning: {too_much}; written because of --force")
    return [export, quantised]


def _write_models(folder: Path, made: list[OnnxExport | Quantised] | None) -> list[str]:
    """The ONNX files that lie beside a card, by name."""
    names = []
    for each in made or []:
        name = CARD_ONNX if isinstance(each, OnnxExport) else CARD_INT8
        write_onnx(folder / name, each.model)
        names.append(name)
    return names


def _outcome(
    request: ExportRequest, trained: TrainedRun, path: Path, made: list[OnnxExport | Quantised] | None
) -> dict[str, Any]:
    """What a script wants to know about the export."""
    files = [path] if path.is_file() else sorted(path.iterdir())
    outcome: dict[str, Any] = {
        "format": request.format,
        "path": str(path),
        "files": [file.name for file in files],
        "bytes": sum(file.stat().st_size for file in files),
        "source": str(trained.weights),
        "classes": list(trained.classes),
    }
    if made is None:
        return outcome
    export = made[0]
    assert isinstance(export, OnnxExport)
    parity = {**asdict(export.parity), "allowed_error": export.parity.allowed_error}
    facts = json.loads(made[-1].facts.to_json())
    return {**outcome, "simplified": export.simplified, "parity": parity, "metadata": facts}


def _facts(request: ExportRequest, trained: TrainedRun, network: nn.Module) -> Facts:
    return facts_of(trained, network, request.size, request.bake_normalisation)


def _suffix(request: ExportRequest) -> str:
    return "" if request.card else f".{request.format}"


def _refuse_place(path: Path, trained: TrainedRun, request: ExportRequest) -> None:
    """Before anything is computed: a place that must not be written to."""
    if path.resolve() == trained.weights.resolve():
        raise SnowmeltError(
            f"{path}: is the file that is exported; choose another place with --output", code="output-taken"
        )
    if request.card:
        refuse_strangers(path, CARD_FILES)
    elif path.is_dir():
        raise SnowmeltError(f"{path}: is a folder; name a file with --output", code="output-taken")


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _say(text: str) -> None:
    print(text, flush=True)
