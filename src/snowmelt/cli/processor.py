"""What torch and its threads are told about this machine before they are imported."""

from __future__ import annotations

import os


def suit_the_processor() -> None:
    """What torch reads from the environment when it is imported, unless the user has set it already.

    Maps of some megabytes come and go at every step, and the kernel hands them out page by page; in large pages, a
    step of distillation is a few percent faster on a CPU. THP_MEM_ALLOC_ENABLE=0 brings the small ones back.

    Threads that wait for each other spin, which is best on a machine of one's own. Where others already use all cores,
    they spin for what the scheduler has given away, and a step takes many times as long: there they sleep.
    OMP_WAIT_POLICY=ACTIVE makes them spin again. Results do not depend on either.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if is_busy():
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def is_busy() -> bool:
    """Whether others want all cores of this machine, by the load of the last minute; this process has had none yet."""
    try:
        return os.getloadavg()[0] >= (os.cpu_count() or 1)
    except (AttributeError, OSError):  # no such number on this system
        return False
