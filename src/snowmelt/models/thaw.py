"""Freezing an encoder and thawing it block by block, with optimizer groups that never change."""

from __future__ import annotations

import functools
import math
from typing import Any

from torch import nn

from snowmelt.errors import SnowmeltError
from snowmelt.models.partition import partition
from snowmelt.models.statistics import keeps_statistics


class Thaw:
    """Which blocks of an smp model's encoder learn.

    Frozen means: ``requires_grad`` is False, the gradient is None, and every module of the block stays in eval mode
    (dropout and stochastic depth off, running statistics and their counters fixed) whatever calls ``train()`` on it
    or above it: the model, the encoder, a wrapper such as DDP, a copy. ``eval()`` still reaches everything. The
    decoder, the head and all else outside the encoder always learn; parameters that the forward pass never reaches
    never do.

    A new Thaw starts with everything thawed; ``to(0)`` freezes the encoder. It is made from the final modules:
    replacing some of them later (SyncBatchNorm) needs a new one. Never combine it with smp's ``freeze_encoder``.

    With ``norm_eval`` the batch norms of the encoder stay in eval mode in thawed blocks, too: weight and bias learn,
    the statistics are those that the encoder came with. A batch of few images estimates them badly.

    Errors: SnowmeltError for a model without encoder, an ``lr_scale`` that is not positive and finite, or
    ``norm_eval`` for an encoder without batch norms.
    """

    def __init__(self, model: nn.Module, lr_scale: float = 0.1, norm_eval: bool = False) -> None:
        if not (math.isfinite(lr_scale) and lr_scale > 0):
            raise SnowmeltError(f"lr_scale must be positive and finite, but is {lr_scale}", code="settings-value")
        parts = partition(model)
        self._model = model
        self._lr_scale = lr_scale
        self._blocks = parts.blocks
        elsewhere = set(parts.idle_parameters).union(*(block.parameters for block in parts.blocks))
        self._norm_eval = norm_eval
        if norm_eval and not any(
            keeps_statistics(module) for block in parts.blocks for module in block.modules.values()
        ):
            raise SnowmeltError(
                "norm_eval (thaw.norm_eval, of a teacher teacher.norm_eval): this encoder has no batch norms whose "
                "statistics could be kept; set it to false",
                code="settings-unused",
            )
        self._decoder = {n: p for n, p in model.named_parameters() if n not in elsewhere}
        for parameter in parts.idle_parameters.values():
            _stop(parameter)
        for module in parts.idle_modules.values():
            _hold(module)
        for parameter in self._decoder.values():
            parameter.requires_grad_(True)
        self._thawed = len(self._blocks)
        self.to(self._thawed)

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the blocks, deepest first."""
        return tuple(block.name for block in self._blocks)

    @property
    def thawed(self) -> int:
        """How many blocks learn, counted from the deepest."""
        return self._thawed

    @property
    def norm_eval(self) -> bool:
        """Whether the encoder's batch norms keep their statistics wherever they learn."""
        return self._norm_eval

    @property
    def frozen_blocks(self) -> tuple[str, ...]:
        """Names of the frozen blocks, deepest first."""
        return self.blocks[self._thawed :]

    def to(self, n: int) -> None:
        """Lets the ``n`` deepest blocks learn and freezes the others; only flags change, in either direction.

        A block that thaws takes the model's present train or eval mode. Gradients of frozen blocks are dropped.
        Errors: SnowmeltError unless 0 <= n <= number of blocks.
        """
        self._check(n)
        for block in self._blocks[:n]:
            for parameter in block.parameters.values():
                parameter.requires_grad_(True)
            for module in block.modules.values():
                if self._norm_eval and keeps_statistics(module):
                    _rest(module)
                else:
                    _release(module, self._model.training)
        for block in self._blocks[n:]:
            for parameter in block.parameters.values():
                _stop(parameter)
            for module in block.modules.values():
                _hold(module)
        self._thawed = n

    def param_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Groups for one optimizer, fixed for the whole run: ``decoder`` first, then each block, deepest first.

        A group holds ``name``, ``params``, ``lr`` (``lr`` times ``lr_scale`` in blocks), ``weight_decay`` and
        ``lr_scale`` (1.0 for the decoder), by which a schedule multiplies its base rate. Frozen parameters are in it
        from the start: without a gradient, AdamW touches neither them nor their moments, and decays nothing.
        """
        groups = [("decoder", self._decoder, 1.0)]
        groups += [(block.name, dict(block.parameters), self._lr_scale) for block in self._blocks]
        return [
            {
                "name": name,
                "params": list(parameters.values()),
                "lr": lr * scale,
                "weight_decay": weight_decay,
                "lr_scale": scale,
            }
            for name, parameters, scale in groups
        ]

    def trainable_parameters(self) -> list[nn.Parameter]:
        """What learns now: decoder, head and the thawed blocks, in the order of ``param_groups``."""
        return self._learning(self._thawed)

    def trainable_count(self, blocks: int | None = None) -> int:
        """Number of learning scalars now, or as it would be with ``blocks`` thawed blocks."""
        n = self._thawed if blocks is None else blocks
        self._check(n)
        return sum(parameter.numel() for parameter in self._learning(n))

    def _learning(self, n: int) -> list[nn.Parameter]:
        return [*self._decoder.values(), *(p for block in self._blocks[:n] for p in block.parameters.values())]

    def _check(self, n: int) -> None:
        if not isinstance(n, int) or isinstance(n, bool) or not 0 <= n <= len(self._blocks):
            raise SnowmeltError(
                f"the number of thawed blocks must be 0 to {len(self._blocks)}, but is {n!r}", code="argument-value"
            )


def _stop(parameter: nn.Parameter) -> None:
    parameter.requires_grad_(False)
    parameter.grad = None  # a stale one would still move the weight at the next optimizer step


def _hold(module: nn.Module) -> None:
    """Eval mode that ``train()`` cannot leave.

    ``train`` becomes an attribute of the instance, which every caller finds before the class's method, recursion from
    above included. Copying and pickling a partial copies its arguments along, so the copy of a module holds itself.
    """
    module.__dict__["train"] = functools.partial(_stay_in_eval, module)
    module.training = False


def _rest(module: nn.Module) -> None:
    """Eval mode that ``train()`` cannot leave, for the module alone: timm's norms have an activation inside."""
    module.__dict__["train"] = functools.partial(_train_what_is_inside, module)
    module.training = False


def _release(module: nn.Module, mode: bool) -> None:
    if module.__dict__.pop("train", None) is not None:
        module.training = mode


def _stay_in_eval(module: nn.Module, mode: bool = True) -> nn.Module:
    type(module).train(module, False)
    return module


def _train_what_is_inside(module: nn.Module, mode: bool = True) -> nn.Module:
    type(module).train(module, mode)
    module.training = False
    return module
