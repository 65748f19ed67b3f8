"""A checked ONNX model of a network, ready to be written as one file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
from torch import Tensor, nn

from snowmelt.errors import SnowmeltError
from snowmelt.export.facts import Facts, write_facts
from snowmelt.export.graph import Normalising, check_size, make_graph, opset_of
from snowmelt.export.parity import Parity, compare, shapes_to_compare
from snowmelt.export.simplify import simplify
from snowmelt.export.writing import whole_file
from snowmelt.models import Normalisation, fold_norms

Say = Callable[[str], None]


@dataclass(frozen=True)
class OnnxExport:
    """A model that answers as the network does, with what was found when the two were compared."""

    model: onnx.ModelProto
    facts: Facts
    parity: Parity
    simplified: bool


def make_onnx(network: nn.Module, facts: Facts, say: Say) -> OnnxExport:
    """Export, check, compare with PyTorch, simplify, check and compare again.

    A simplification that fails a check is dropped with a warning, and the plain graph kept.

    Args:
        network: of smp, float32 on the CPU, in eval mode.
        facts: what the file is to say about itself, and so whether it normalises and which size it demands.

    Errors: SnowmeltError where the network cannot be exported, or the graph does not answer as it does.
    """
    if facts.size is not None:
        check_size(facts.size, facts.stride)
    whole = Normalising(network, Normalisation(facts.mean, facts.std)).eval()
    reference = whole if facts.normalised_inside else network
    # The exporter folds norms, too, but not where a size is read off what feeds one.
    folded = fold_norms(network)
    plain = make_graph(
        Normalising(folded, Normalisation(facts.mean, facts.std)) if facts.normalised_inside else folded, facts.size
    )
    facts = replace(facts, opset=opset_of(plain))
    write_facts(plain, facts)
    shapes = shapes_to_compare(facts.image_size, facts.stride, facts.size)

    def normalise(pixels: Tensor) -> Tensor:
        return pixels if facts.normalised_inside else pixels * whole.scale + whole.shift

    try:
        parity = checked(plain, lambda: compare(plain, reference, shapes, normalise))
    except SnowmeltError as error:
        if facts.size is not None:
            raise
        raise SnowmeltError(
            f"{error}; with a fixed size (--size {facts.image_size}) it may work", code=error.code
        ) from error
    try:
        simpler = simplify(plain)
        write_facts(simpler, facts)
        found = checked(simpler, lambda: compare(simpler, reference, shapes, normalise))
    except SnowmeltError as error:
        say(f"warning: the simplified graph was dropped and the plain one kept: {error}")
        return OnnxExport(plain, facts, parity, simplified=False)
    return OnnxExport(simpler, facts, found, simplified=True)


def checked(model: onnx.ModelProto, comparison: Callable[[], Parity]) -> Parity:
    """The comparison's result.

    Errors: SnowmeltError where the model breaks ONNX's rules, or the comparison does not hold.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise SnowmeltError(
            f"onnx.checker refuses the graph: {' '.join(str(error).split())[:200]}", code="export-refused"
        ) from error
    parity = comparison()
    if not parity.holds:
        raise SnowmeltError(
            f"the ONNX graph does not answer as PyTorch does, so nothing was written: {parity.describe()}",
            code="export-not-equal",
        )
    return parity


def write_onnx(path: Path, model: onnx.ModelProto) -> None:
    """One file, with its weights inside; whole or not at all."""
    with whole_file(path) as aside:
        onnx.save(model, aside, format="protobuf")
