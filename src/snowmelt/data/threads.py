"""Threads that prepare data beside the arithmetic of the main one."""

from __future__ import annotations

import torch
from threadpoolctl import threadpool_limits


def compute_alone() -> None:
    """Let torch's operations in the calling thread run in it alone; the initializer of a pool of threads.

    Every thread that starts a parallel operation gets helpers of its own from OpenMP. As soon as there are more of
    them than cores, GNU's OpenMP no longer spins where threads wait for each other, and the main thread's step takes
    a third longer, for items that are too small to share out anyway.
    """
    torch.get_num_threads()  # at a thread's first question torch sets its number, and would later undo ours
    threadpool_limits(limits=1, user_api="openmp")
