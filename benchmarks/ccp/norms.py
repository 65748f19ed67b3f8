"""Snowmelt with its encoder's batch norms handled in another way, to measure what the handling is worth.

    python benchmarks/ccp/norms.py drifting compare benchmarks/ccp/parts_compare.yaml --data DIR --run-name drifting ...

`drifting`: the norms of frozen blocks stay in training mode, so their statistics follow the training images while
their weights rest. Tools that only set `requires_grad` to False do this. `fixed`: the norms of the whole encoder keep
the statistics that they came with, thawed or not. What follows is a command of Snowmelt as usual; give its run a name
of its own, since settings do not tell such runs apart.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from snowmelt.cli.app import main
from snowmelt.models import thaw


def let_drift() -> None:
    """Norms of frozen blocks go on counting."""
    hold = thaw._hold

    def hold_all_but_norms(module: nn.Module) -> None:
        # A module that holds itself takes those inside it along, so those with a norm inside are left alone, too.
        if not any(isinstance(inner, _BatchNorm) for inner in module.modules()):
            hold(module)

    thaw._hold = hold_all_but_norms


def fix() -> None:
    """No norm of the encoder ever counts, whatever thaws."""
    to = thaw.Thaw.to

    def to_with_fixed_norms(self: thaw.Thaw, n: int) -> None:
        to(self, n)
        for block in self._blocks:
            for module in block.modules.values():
                if isinstance(module, _BatchNorm):
                    thaw._hold(module)

    thaw.Thaw.to = to_with_fixed_norms  # type: ignore[method-assign]


WAYS: dict[str, Callable[[], None]] = {"drifting": let_drift, "fixed": fix}


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in WAYS:
        raise SystemExit(f"usage: norms.py {'|'.join(WAYS)} COMMAND ...; COMMAND is one of snowmelt's")
    WAYS[sys.argv.pop(1)]()
    main()
