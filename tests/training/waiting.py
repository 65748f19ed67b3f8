"""Counts what would make the host wait for a device, on a machine without one.

On a CPU nothing waits, so calls are counted whose result the host needs before it can go on. PyTorch's own tags name
the operations (a value, or a shape, that depends on the data); Python's ways to read a tensor are named here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

READS = {
    getattr(torch.Tensor, name)
    for name in ("item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__", "__array__")
}
TAGS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)


class _Operations(TorchDispatchMode):
    def __init__(self, seen: Counter[str]) -> None:
        super().__init__()
        self._seen = seen

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(tag in func.tags for tag in TAGS) and not _by_position(func, args):
            self._seen[str(func)] += 1
        return func(*args, **(kwargs or {}))


def _by_position(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether this is indexing by whole numbers, whose shape is known; a mask's is not."""
    indexing = func is torch.ops.aten.index.Tensor
    return indexing and all(each is None or each.dtype != torch.bool for each in args[1])


class _Calls(TorchFunctionMode):
    def __init__(self, seen: Counter[str]) -> None:
        super().__init__()
        self._seen = seen

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in READS:
            self._seen[getattr(func, "__name__", str(func))] += 1
        return func(*args, **(kwargs or {}))


class Waits:
    """``with Waits() as waits: ...``, and ``waits.seen`` tells by name what the host would have waited for."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self._modes = (_Operations(self.seen), _Calls(self.seen))

    def __enter__(self) -> Waits:
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)
