"""The same bits from every run on a GPU, too: PyTorch's deterministic algorithms, or a refusal that says why."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.deterministic

from snowmelt.errors import SnowmeltError

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
CUBLAS_FIXED = (":4096:8", ":16:8")  # the workspaces with which cuBLAS adds in a fixed order, by its documentation

_ALERT = re.compile(r"(\S+) does not have a deterministic implementation")


@contextmanager
def deterministic(wanted: bool, device: str, processes: int = 1) -> Iterator[None]:
    """Inside, everything that is computed on ``device`` gives the same bits again, or ends in an error.

    On a CPU nothing needs to be switched for that. On CUDA the settings of PyTorch and cuBLAS are put back afterwards.

    Args:
        wanted: ``False`` changes nothing.
        device: ``cpu``, ``cuda`` or ``mps``, not ``auto``.
        processes: that train together.

    Raises:
        SnowmeltError: where it cannot be had: on MPS, with gloo's sums over more than two processes, with another
            workspace of cuBLAS than it needs, and when an operation is met that has no deterministic version.
    """
    if not wanted:
        yield
        return
    refuse_what_varies(device, processes)
    if device == "cpu":
        yield
        return
    with _switched():
        try:
            yield
        except RuntimeError as error:
            met = _ALERT.search(str(error))
            if met is None:
                raise
            raise SnowmeltError(
                f"training.deterministic: {met[1]} has no deterministic version on {device}; leave it off, take other "
                "networks or losses, or train with --device cpu",
                code="not-deterministic",
            ) from error


def refuse_what_varies(device: str, processes: int) -> None:
    """Raises ``SnowmeltError`` for what no switch makes deterministic."""
    if device == "mps":
        raise SnowmeltError(
            "training.deterministic: PyTorch does not promise it on MPS; leave it off, or train with --device cpu",
            code="not-deterministic",
        )
    if device == "cpu" and processes > 2:
        raise SnowmeltError(
            f"training.deterministic: gloo adds the gradients of {processes} processes in an order that changes; "
            "leave it off, or take one or two processes",
            code="not-deterministic",
        )
    given = os.environ.get(CUBLAS)
    if device == "cuda" and given is not None and given not in CUBLAS_FIXED:
        raise SnowmeltError(
            f"training.deterministic: the environment has {CUBLAS}={given}, with which sums vary; unset it, or give "
            f"one of {', '.join(CUBLAS_FIXED)}",
            code="not-deterministic",
        )


@contextmanager
def _switched() -> Iterator[None]:
    cudnn = torch.backends.cudnn
    filled: Any = torch.utils.deterministic  # a module whose class has the property
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        cudnn.deterministic,
        cudnn.benchmark,
        filled.fill_uninitialized_memory,
        os.environ.get(CUBLAS),
    )
    os.environ.setdefault(CUBLAS, CUBLAS_FIXED[0])  # read when cuBLAS is first used
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    filled.fill_uninitialized_memory = False  # nothing here reads what it has not written; filling it costs time
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        cudnn.deterministic, cudnn.benchmark, filled.fill_uninitialized_memory = before[2:5]
        if before[5] is None:
            os.environ.pop(CUBLAS, None)
