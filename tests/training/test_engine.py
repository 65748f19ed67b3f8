"""Device and precision, chosen or refused."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError

import pytest
import torch

from snowmelt.errors import SnowmeltError
from snowmelt.training import Engine, mixed_precision_for, resolve_device, resolve_precision
from snowmelt.training import engine as module


def test_auto_is_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("auto") == "cpu"
    with pytest.raises(SnowmeltError, match="'cuda' is not available here; use --device cpu"):
        resolve_device("cuda")


@pytest.mark.parametrize(("instructions", "expected"), [(True, "bf16"), (False, "32")])
def test_auto_precision_follows_the_processor(
    monkeypatch: pytest.MonkeyPatch, instructions: bool, expected: str
) -> None:
    monkeypatch.setattr(module, "_has_bf16_instructions", lambda: instructions)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert resolve_precision("auto", "cpu") == expected
    assert resolve_precision("32", "cpu") == "32"
    assert resolve_precision("auto", "mps") == "32"


def test_fp16_is_refused_on_the_cpu() -> None:
    with pytest.raises(SnowmeltError, match="precision 16 is for GPUs"):
        resolve_precision("16", "cpu")
    assert mixed_precision_for("cpu") == "bf16"


@pytest.mark.parametrize("installed", [True, False])
def test_fabric_learns_the_version_of_torchmetrics_without_loading_it(
    monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    """It would load transformers, too, which takes seconds. One that is not installed stays so."""
    fabric, strategy = module.load_fabric()
    imports = "lightning_fabric.utilities.imports"
    monkeypatch.setattr(imports, sys.modules[imports])  # so that it is put back
    for name in ("torchmetrics", "lightning_fabric", *([imports] if installed else [])):
        monkeypatch.delitem(sys.modules, name, raising=False)
    asked: list[str] = []
    searched: list[str] = []

    class Watch:
        def find_spec(self, name: str, *_: object) -> None:
            searched.append(name)

    monkeypatch.setattr(sys, "meta_path", [Watch(), *sys.meta_path])

    def version(name: str) -> str:
        asked.append(name)
        if not installed:
            raise PackageNotFoundError(name)
        return "1.9.0"

    monkeypatch.setattr(module, "version", version)
    assert module.load_fabric() == (fabric, strategy)
    assert asked == ["torchmetrics"] and "torchmetrics" not in sys.modules
    assert "lightning_fabric" in searched and "torchmetrics" not in searched
    if installed:
        assert sys.modules[imports]._TORCHMETRICS_GREATER_EQUAL_1_0_0 is True


def test_wrapping_anew_keeps_the_parameters_and_works_after_the_old_wrapping_is_gone() -> None:
    engine = Engine("cpu", "32")
    network = torch.nn.Linear(3, 2)
    first = engine.wrap(network)
    second = engine.wrap(network, before=first)
    assert [id(parameter) for parameter in second.parameters()] == [id(parameter) for parameter in network.parameters()]
    second(torch.ones(1, 3)).sum().backward()
    assert network.weight.grad is not None


def test_bf16_computes_in_bf16_and_hands_out_float32() -> None:
    engine = Engine("cpu", "bf16")
    seen: list[torch.dtype] = []
    network = torch.nn.Linear(3, 2)
    network.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    assert engine.wrap(network)(torch.ones(1, 3)).dtype == torch.float32
    assert seen == [torch.bfloat16]
    assert engine.sum_over_processes(torch.ones(2)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("tasks", "world", "refused"), [("2", None, True), ("1", None, False), (None, None, False), ("2", "1", False)]
)
def test_slurm_tasks_that_know_nothing_of_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch, tasks: str | None, world: str | None, refused: bool
) -> None:
    for name, value in (("SLURM_NTASKS", tasks), ("WORLD_SIZE", world)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    if not refused:
        module.refuse_lone_tasks()
        return
    with pytest.raises(SnowmeltError, match="SLURM started 2 tasks") as error:
        Engine("cpu", "32")
    assert "srun --ntasks-per-node=1 torchrun --nnodes" in str(error.value)
    assert "\n" not in str(error.value)
