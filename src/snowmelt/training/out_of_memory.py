"""Steps that run out of memory and are made again in smaller pieces."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import NoReturn

import torch

from snowmelt.data import Batch
from snowmelt.errors import SnowmeltError
from snowmelt.training.buffers import Buffers
from snowmelt.training.events import Message
from snowmelt.training.memory import free_caches
from snowmelt.training.memory_notes import leave_note, read_notes
from snowmelt.training.run import TrainingRun
from snowmelt.training.seeding import seed_step
from snowmelt.training.state import TrainState
from snowmelt.training.step import StepOutcome, train_step

# Besides torch.OutOfMemoryError: the CPU's allocator, oneDNN, the C++ library, and CUDA's libraries, in their words.
SIGNS = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "could not create a memory",
    "std::bad_alloc",
    "MPS backend out of memory",
    "CUDA error: out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory could not be had."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


class CarefulSteps:
    """Makes optimizer steps; one that runs out of memory is made again with half the micro-batch.

    The effective batch and so the gradient's divisors stay. The repeated step is the step that a smaller micro-batch
    would have made in the first place: norm statistics are put back, random numbers are seeded anew by the position,
    gradients are dropped. Weights and moments change only at the very end of a step, when its memory was there; a fused
    AdamW (CPU, CUDA) needs none for it but the moments of blocks that have just thawed, which are zeros then.

    With ``options.memory`` off the first failure ends the run.
    """

    def __init__(self, run: TrainingRun) -> None:
        self._run = run
        self._buffers = Buffers(run.learner)

    def make(
        self, state: TrainState, batch: Batch, temperature: float | None, weights: Mapping[str, float] | None
    ) -> StepOutcome:
        """One step, in micro-batches that fit; the state keeps their size.

        Raises:
            SnowmeltError: out of memory with a single image, with several processes, or with the guard off.
        """
        self._buffers.keep()
        while True:
            size = min(state.micro_batch or self._run.options.batch_size, len(batch))
            outcome = self._attempt(batch, temperature, weights, size)
            if not isinstance(outcome, str):
                return outcome
            self._recover(state)
            shrink(self._run, state, size, outcome)

    def _attempt(
        self, batch: Batch, temperature: float | None, weights: Mapping[str, float] | None, size: int
    ) -> StepOutcome | str:
        """The step's outcome, or the first words of the error.

        Only words leave this function: the error itself holds the frames in which it arose, and all their tensors.
        """
        try:
            return train_step(self._run, batch, temperature, weights, size, self._buffers)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return first_words(error)

    def _recover(self, state: TrainState) -> None:
        """Everything as it was before the step."""
        self._buffers.put_back()
        clear_away(self._run)
        seed_step(self._run.options.seed, state.epoch, state.step_in_epoch, self._run.engine.rank)


def clear_away(run: TrainingRun) -> None:
    """Let go of all that a step which broke off has left in memory."""
    run.optimizer.zero_grad(set_to_none=True)
    if run.features is not None:
        run.features.forget()
    if run.engine.scaler is not None:
        run.engine.scaler._per_optimizer_states.clear()  # else it refuses to unscale gradients a second time
    gc.collect()
    free_caches(run.engine.device)


def shrink(run: TrainingRun, state: TrainState, size: int, words: str) -> None:
    """Halve the micro-batch after ``size`` images did not fit.

    Raises:
        SnowmeltError: there is nothing to halve, or others wait for this process.
    """
    blocks = "1 thawed block" if run.thaw.thawed == 1 else f"{run.thaw.thawed} thawed blocks"
    place = f"epoch {state.epoch}, step {state.step} ({blocks}): out of memory"
    if size == 1:
        raise SnowmeltError(
            f"{place} with a single image at a time ({words}); use a smaller data.image_size or network, or thaw fewer "
            "blocks (--set thaw.most=N)",
            code="memory-exhausted",
        )
    if run.options.memory == "off":
        raise SnowmeltError(
            f"{place} with {size} images at a time ({words}); go on with --resume --set reactions.memory=split, or "
            "start anew with a smaller training.batch_size",
            code="memory-exhausted",
        )
    half = size // 2
    if run.engine.world_size > 1:
        stop_all(run, f"{place} in process {run.engine.rank} with {size} images at a time ({words})", half)
    state.micro_batch = half
    text = (
        f"{place} with {size} images at a time ({words}): the step is made again, and the run goes on, in "
        f"micro-batches of {half}; {unchanged(run, half)}"
    )
    run.announcer.tell(Message(text, "warning"))


def stop_all(run: TrainingRun, reason: str, micro_batch: int) -> NoReturn:
    """Leave a note for the run that goes on, and end this process; ``torchrun`` then ends the others."""
    leave_note(run.checkpoints.folder, run.engine.rank, micro_batch)
    raise SnowmeltError(
        f"{reason}; go on with --resume, which then computes in micro-batches of {micro_batch}", code="memory-exhausted"
    )


def follow_notes(run: TrainingRun, state: TrainState) -> None:
    """Take the micro-batch that a process asked for before all stopped."""
    wanted = read_notes(run.checkpoints.folder)
    if wanted is not None and wanted < (state.micro_batch or run.options.batch_size):
        state.micro_batch = wanted
        text = f"a process ran out of memory before the cut: micro-batches of {wanted} from here on; "
        run.announcer.tell(Message(text + unchanged(run, wanted), "warning"))


def unchanged(run: TrainingRun, micro_batch: int) -> str:
    """What smaller micro-batches leave alone, and what they do not."""
    images = "1 image" if micro_batch == 1 else f"{micro_batch} images"
    return f"the effective batch stays {run.effective_batch}, but batch norms that learn see {images} at a time"


def first_words(error: BaseException, most: int = 120) -> str:
    """The first sentence of an error, shortened."""
    text = (str(error).splitlines() or [""])[0].split(". ")[0].strip() or type(error).__name__
    return text if len(text) <= most else text[: most - 3] + "..."
