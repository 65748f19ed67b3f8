"""Device, precision, processes: Lightning Fabric, set up for a trainable set that changes."""

from __future__ import annotations

import gc
import logging
import os
import sys
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from snowmelt.errors import SnowmeltError
from snowmelt.training.restarting import join_restarted, refuse_shared_store

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

PATIENCE = timedelta(days=1)
"""How long processes wait for each other: while one of them looks at every picture of a large data set. The half hour
that is usual would end such a run; that a process has died is noticed by torchrun."""

FABRIC_PRECISION: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def resolve_device(device: str) -> str:
    """``auto`` as what this machine has; anything else must be there.

    Raises:
        SnowmeltError: a device that this machine or this build of PyTorch lacks.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if available[name])
    if not available.get(device, False):
        raise SnowmeltError(
            f"device {device!r} is not available here; use --device cpu or --device auto", code="device-unavailable"
        )
    return device


def resolve_precision(precision: str, device: str) -> str:
    """``auto`` as bf16 where the processor computes in it, else 32.

    Raises:
        SnowmeltError: fp16 on a CPU, which has no fast fp16 and needs no loss scaling with bf16.
    """
    if precision == "16" and device == "cpu":
        raise SnowmeltError(
            "precision 16 is for GPUs; on the CPU use --precision bf16 or 32", code="precision-unavailable"
        )
    if precision != "auto":
        return precision
    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "16"
    if device == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported() and _has_bf16_instructions():
        return "bf16"
    return "32"


def mixed_precision_for(device: str) -> str:
    """The half precision that ``device`` can compute in, whether or not it is the faster one."""
    cuda = resolve_device(device) == "cuda"
    return "16" if cuda and not torch.cuda.is_bf16_supported(including_emulation=False) else "bf16"


def _has_bf16_instructions() -> bool:
    # oneDNN also "supports" bf16 by converting on AVX512 without BF16, which is slower than float32.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def refuse_lone_tasks() -> None:
    """SLURM started several tasks, but nobody told this process of the others: each would train the whole run alone.

    Raises:
        SnowmeltError: with the launch line that starts one torchrun a machine instead.
    """
    tasks = os.environ.get("SLURM_NTASKS", "")
    if tasks.isdigit() and int(tasks) > 1 and "WORLD_SIZE" not in os.environ:
        raise SnowmeltError(
            f"SLURM started {tasks} tasks, which know nothing of each other; start one a machine, with `srun "
            '--ntasks-per-node=1 torchrun --nnodes "$SLURM_NNODES" --nproc-per-node GPUS ...` (docs/scale.md has the '
            "whole line), or set WORLD_SIZE=1 if a single process is meant",
            code="processes-unconnected",
        )


def load_fabric() -> tuple[type[Fabric], type[DDPStrategy]]:
    """``Fabric`` and ``DDPStrategy``, imported where they are needed: ``plan`` passes through this module without.

    Lightning Fabric imports torchmetrics, where that is installed, to read its version, and torchmetrics imports
    transformers: two seconds at the start of every process. It is shown a module that has a version and nothing else.
    """
    name = "torchmetrics"
    if name not in sys.modules and "lightning_fabric" not in sys.modules:
        with suppress(ImportError):  # not installed, or a Fabric that wants more of it, which is imported below then
            sys.modules[name] = shown = ModuleType(name)
            try:
                shown.__version__ = version(name)  # type: ignore[attr-defined]
                import_module("lightning_fabric.utilities.imports")
            finally:
                sys.modules.pop(name, None)
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    return Fabric, DDPStrategy


class Engine:
    """Runs a network on a device, in a precision, in one process or in those that ``torchrun`` started.

    The gradient synchroniser of several processes (DDP) only ever knows the parameters that were trainable when it
    was built; ``wrap`` is therefore called anew at every thaw. The same holds for ``torch.compile``, which
    would go on with a graph in which the newly thawed parameters are constants.
    """

    def __init__(self, device: str = "auto", precision: str = "auto", compile: bool | str = False) -> None:
        refuse_lone_tasks()
        self.device_name = resolve_device(device)
        self.precision = resolve_precision(precision, self.device_name)
        self._compile = compile
        make_fabric, make_ddp = load_fabric()
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # the run says its precision by itself
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        local = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
        options: dict[str, Any] = {"devices": 1}
        if processes > 1:
            backend = "nccl" if self.device_name == "cuda" else "gloo"
            refuse_shared_store()
            join_restarted(backend, PATIENCE)
            options = {
                "devices": local,
                "num_nodes": processes // local,
                # Buffers are made equal where that matters (``share_buffers``), not twice in every step.
                "strategy": make_ddp(process_group_backend=backend, broadcast_buffers=False, timeout=PATIENCE),
            }
        self.fabric = make_fabric(accelerator=self.device_name, precision=FABRIC_PRECISION[self.precision], **options)
        self.fabric.launch()

    @property
    def device(self) -> torch.device:
        return self.fabric.device

    @property
    def rank(self) -> int:
        return self.fabric.global_rank

    @property
    def world_size(self) -> int:
        return self.fabric.world_size

    @property
    def compiles(self) -> bool:
        """Whether the network is compiled, which the first step of every stage waits for."""
        return bool(self._compile)

    def wrap(self, network: nn.Module, before: nn.Module | None = None) -> nn.Module:
        """The network ready for training steps; ``before`` is the previous wrapping, which is given up.

        The parameters stay the same objects, so an optimizer over them keeps its state.
        """
        if before is not None:
            self.release(before)
        target = network
        if self._compile:
            torch.compiler.reset()
            backend = self._compile if isinstance(self._compile, str) else "inductor"
            target = torch.compile(network, backend=backend)  # type: ignore[assignment]
        self.share_buffers(network)  # of a network whose norms were calibrated by each process
        return self.fabric.setup_module(target)

    @staticmethod
    def release(wrapped: nn.Module) -> None:
        """Give up what was wrapped around a network; the network itself stays as it is."""
        # The old synchroniser takes its gradient hooks with it only when it is really freed.
        wrapped.__dict__.pop("_original_module", None)
        wrapped._modules.clear()
        gc.collect()

    def set_up(self, optimizer: Optimizer) -> Optimizer:
        """The optimizer behind Fabric's loss scaling."""
        return self.fabric.setup_optimizers(optimizer)  # type: ignore[return-value]

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        """The loss scaler of fp16; ``None`` in any other precision."""
        return getattr(self.fabric.strategy.precision, "scaler", None)

    def autocast(self) -> AbstractContextManager[None]:
        """The precision of the networks, for forward passes outside the wrapped module (teacher, scoring)."""
        return self.fabric.autocast()

    def sum_over_processes(self, value: Tensor) -> Tensor:
        """Elementwise sum over all processes; the value itself where there is one."""
        if self.world_size == 1:
            return value
        total = value.clone()
        torch.distributed.all_reduce(total)  # Fabric's own would put a barrier before it, for which the host waits
        return total

    def largest(self, *values: float) -> list[float]:
        """Of each value the largest that any process has; the values themselves where there is one process."""
        if self.world_size == 1:
            return list(values)
        table = torch.zeros(self.world_size, len(values), dtype=torch.float64)
        table[self.rank] = torch.tensor(values, dtype=torch.float64)
        # Every other row is zero, so this gathers.
        return self.sum_over_processes(table.to(self.device)).amax(dim=0).tolist()

    def share_buffers(self, network: nn.Module) -> None:
        """Give every process the first one's buffers (norm statistics).

        Frozen norms have to be the same everywhere, and what is scored has to be what is saved. Norms that learn use
        their own batch in a step, whatever their statistics say.
        """
        if self.world_size > 1:
            for buffer in network.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def barrier(self) -> None:
        """Wait for the other processes."""
        self.fabric.barrier()
