"""Everything that a training step changes, put aside and put back to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from snowmelt.training.run import TrainingRun


@contextmanager
def everything_kept(run: TrainingRun) -> Iterator[int]:
    """Whatever happens inside, the run is afterwards as it was before.

    Weights, buffers, modes, gradients, the optimizer with its state (an empty one is empty again) and its rates, which
    blocks are thawed, the loss scale, the sampler's position, random numbers. The network moves to the run's device,
    where it stays. What was wrapped around it is wrapped anew where there was something.

    Yields:
        Bytes of the copies, which lie in the main memory.
    """
    learner, device = run.learner.to(run.engine.device), run.engine.device
    weights = KeptTensors(learner)
    optimizer = KeptOptimizer(run.optimizer)
    gradients = [(parameter, parameter.grad) for parameter in learner.parameters()]
    modes = [(module, module.training) for module in learner.modules()]
    thawed, wrapped, stepper, position = run.thaw.thawed, run.module is not None, run.stepper, run.sampler.position
    scaler = run.engine.scaler
    scale = None if scaler is None else scaler.state_dict()
    for parameter, _ in gradients:
        parameter.grad = None
    try:
        with kept_randomness(device):
            yield weights.size + optimizer.size
    finally:
        run.thaw.to(thawed)
        if wrapped:
            run.module = run.engine.wrap(run.learner, before=run.module)
        elif run.module is not None:
            run.engine.release(run.module)
            run.module = None
        weights.put_back()
        optimizer.put_back()
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for module, training in modes:
            module.training = training
        run.stepper = stepper
        run.sampler.set_position(*position)
        if scaler is not None and scale is not None:
            scaler.load_state_dict(scale)


class KeptTensors:
    """Copies of a module's weights and buffers in the main memory."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._copies = {name: tensor.detach().to("cpu", copy=True) for name, tensor in self._tensors().items()}

    @property
    def size(self) -> int:
        """Bytes of the copies."""
        return sum(map(size_of, self._copies.values()))

    def put_back(self) -> None:
        with torch.no_grad():
            for name, tensor in self._tensors().items():
                tensor.copy_(self._copies[name])

    def _tensors(self) -> dict[str, Tensor]:
        # By name and not by identity: a module may put a new tensor in a buffer's place.
        return {**dict(self._module.named_parameters()), **dict(self._module.named_buffers())}


class KeptOptimizer:
    """Copies of an optimizer's state and of its groups' numbers."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._attributes = dict(vars(optimizer))  # a step leaves notes there, such as AdamW's found_inf
        self._groups = [_numbers(group) for group in optimizer.param_groups]
        self._state = {
            parameter: {key: _copy(value) for key, value in state.items()}
            for parameter, state in optimizer.state.items()
        }

    @property
    def size(self) -> int:
        """Bytes of the copies."""
        return sum(size_of(value) for state in self._state.values() for value in state.values())

    def put_back(self) -> None:
        vars(self._optimizer).clear()
        vars(self._optimizer).update(self._attributes)
        for group, numbers in zip(self._optimizer.param_groups, self._groups, strict=True):
            group.update(numbers)
        state = self._optimizer.state
        for parameter in [parameter for parameter in state if parameter not in self._state]:
            del state[parameter]
        for parameter, kept in self._state.items():
            for key, value in kept.items():
                present = state[parameter].get(key)
                if isinstance(value, Tensor) and isinstance(present, Tensor):
                    present.copy_(value)
                else:
                    state[parameter][key] = value


@contextmanager
def kept_randomness(device: torch.device) -> Iterator[None]:
    """The generators of the processor and of ``device`` go on afterwards as if nothing had been drawn."""
    host = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    mps = torch.mps.get_rng_state() if device.type == "mps" else None
    try:
        yield
    finally:
        torch.set_rng_state(host)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, device)
        if mps is not None:
            torch.mps.set_rng_state(mps)


def size_of(value: Any) -> int:
    """Bytes of a tensor; 0 for anything else."""
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0


def _copy(value: Any) -> Any:
    return value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value


def _numbers(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params"}
