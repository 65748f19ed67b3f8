"""Snowmelt with norms that drift in frozen blocks, to measure what holding them is worth.

    python benchmarks/ccp/drifting_norms.py compare benchmarks/ccp/parts_compare.yaml --data DIR --run-name drifting ...

The norms of frozen blocks stay in training mode, so their statistics follow the training images while their weights
rest. Tools that only set `requires_grad` to False do this. The arguments are a command of Snowmelt as usual; give its
run a name of its own, since settings do not tell such runs apart.
"""

from __future__ import annotations

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


if __name__ == "__main__":
    let_drift()
    main()
