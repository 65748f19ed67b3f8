"""Export: a trained network as one ONNX file or as smp's own folder, checked; and what it costs to run."""

from snowmelt.export.card import CardContent, Scores, card_text
from snowmelt.export.costs import count_macs, count_parameters
from snowmelt.export.facts import Facts, read_facts, write_facts
from snowmelt.export.graph import check_size, make_graph, stride_of
from snowmelt.export.latency import Latency, time_in_turns
from snowmelt.export.onnx_file import OnnxExport, make_onnx, write_onnx
from snowmelt.export.parity import Parity, ask_runtime, compare, open_runtime
from snowmelt.export.pretrained import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    write_pretrained,
    write_safetensors,
)
from snowmelt.export.quantise import MOST_DROP, RECIPE, quantise
from snowmelt.export.simplify import simplify
from snowmelt.export.writing import refuse_strangers, whole_file, whole_folder

__all__ = [
    "CARD_FILE",
    "CONFIG_FILE",
    "MOST_DROP",
    "RECIPE",
    "WEIGHTS_FILE",
    "CardContent",
    "Facts",
    "Latency",
    "OnnxExport",
    "Parity",
    "Scores",
    "ask_runtime",
    "card_text",
    "check_size",
    "compare",
    "count_macs",
    "count_parameters",
    "make_graph",
    "make_onnx",
    "open_runtime",
    "quantise",
    "read_facts",
    "refuse_strangers",
    "simplify",
    "stride_of",
    "time_in_turns",
    "whole_file",
    "whole_folder",
    "write_facts",
    "write_onnx",
    "write_pretrained",
    "write_safetensors",
]
