"""Settings of what a run changes of its own accord, on top of its schedules."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from snowmelt.config.base import Settings
from snowmelt.config.fields import Count
from snowmelt.errors import SnowmeltError


class ReactionsConfig(Settings):
    """Schedules that react to what training shows; all are off by default."""

    thaw_guard: bool = False
    """Hold the next thaw and slow the newest block while validation loss rises and training loss falls."""
    guard_patience: Count = 2
    """Epochs in a row of such a rise before the guard reacts."""
    block_warmup: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Epochs over which the rate of a newly thawed block rises to its scheduled value."""
    memory: Literal["off", "refuse", "split", "delay"] = "off"
    """A stage that needs too much memory: the run is refused, its batches are split, or its thaw is delayed."""
    memory_limit: Count | None = None
    """MiB that training may take at once: tensors on a GPU, the whole process on a CPU; without it what is free."""

    @field_validator("memory", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: Any) -> Any:
        """YAML and ``--set`` read ``off`` as false."""
        return "off" if value is False else value

    @model_validator(mode="after")
    def _is_used(self) -> ReactionsConfig:
        if self.guard_patience != type(self).model_fields["guard_patience"].default and not self.thaw_guard:
            raise SnowmeltError(
                "guard_patience is given, but thaw_guard is off; set thaw_guard to true or leave it out",
                code="settings-unused",
            )
        if self.memory_limit is not None and self.memory == "off":
            raise SnowmeltError(
                "memory_limit is given, but memory is off; set memory to refuse, split or delay, or leave it out",
                code="settings-unused",
            )
        return self
