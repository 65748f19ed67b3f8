"""How much memory training has taken at most, and how much it may take.

On CUDA the figures are those of PyTorch's own allocator, on MPS what the driver has given the process. On a CPU they
are the process's resident memory, in which everything lies: libraries, data, teacher, student. None of them is exact:

- CUDA: the peak counts tensors. What lies unused between them (fragments) and what CUDA itself takes (its context, some
  hundred MiB) are not in it. The latter is not in what is free either.
- MPS: what the driver gave is what was needed at once or a little more, as blocks are kept for reuse.
- CPU: the allocator keeps freed memory for later, so a peak may hold some of what came before; glibc is asked to give
  it back first. Linux forgets an old peak on demand; where the system does not (macOS, some sandboxes), a peak is that
  of the whole process so far, so only what needs more than anything before it is measured rightly.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path

import torch

from snowmelt.training.host_memory import host_room, read_kib

MIB = 1 << 20
STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
FORGET_PEAK = "5"  # proc(5): resets the peak resident set ("high water mark") to the present one


def reset_peak(device: torch.device) -> bool:
    """Free what is kept for reuse and measure anew from here on; whether the peak so far could be forgotten."""
    free_caches(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    if device.type in ("cuda", "mps"):
        return True
    try:
        CLEAR_REFS.write_text(FORGET_PEAK)
    except OSError:
        return False
    return True


def read_peak(device: torch.device) -> int:
    """Bytes held at once at most, since the last ``reset_peak`` where that could forget."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    peak = read_kib(STATUS, "VmHWM")
    if peak is not None:
        return peak
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def memory_room(device: torch.device) -> int:
    """Bytes that this process may hold in all: what it holds, and what is free.

    CUDA: all that others (other processes, and CUDA itself) do not hold. MPS: what the driver recommends. CPU: what the
    machine has available, or what the process's control groups leave where that is less; processes that ``torchrun``
    started on this machine share it evenly.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    held = read_kib(STATUS, "VmRSS")
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return host_room() // processes + (read_peak(device) if held is None else held)


def free_caches(device: torch.device) -> None:
    """Give back what is only kept for reuse."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    else:
        _trim_heap()


def _trim_heap() -> None:
    """Ask the C library to return freed memory to the system; only glibc has a function for it."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        return
