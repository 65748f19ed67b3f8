"""Building networks on a device that keeps no numbers, without drawing the numbers."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

_DRAWS = frozenset({"normal_", "uniform_", "trunc_normal_", "bernoulli_", "fill_", "zero_"})
"""Methods of tensors that write numbers into them."""


class Undrawn(TorchFunctionMode):
    """While inside, tensors on the meta device are not initialised; all others are, and to the same bits.

    PyTorch goes through its own Python rules for each meta tensor that is filled: a third of the time that it takes to
    build hundreds of encoders.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init" or getattr(func, "__name__", None) in _DRAWS:
            target = args[0] if args else kwargs.get("tensor")
            if isinstance(target, Tensor) and target.is_meta:
                return target
        return func(*args, **kwargs)
