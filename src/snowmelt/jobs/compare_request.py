"""What a comparison is asked to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from snowmelt.config import ExperimentConfig
from snowmelt.errors import SnowmeltError
from snowmelt.study import Arm, make_arms

Budget = Literal["epochs", "seconds"]
ARMS = "plain,kd,cooled,thaw,cooled+thaw"
SEEDS = "3"


@dataclass(frozen=True)
class CompareRequest:
    """The experiment that all arms start from, and how they are compared.

    Attributes:
        arms: ready-made arms by name; ``own``: further ones as ``NAME: WORD...`` (see ``snowmelt.study.arms``).
        seeds: of the students; the teacher's is the experiment's own.
        budget: equal epochs, or as many epochs as fit into the seconds of the base arm's training.
        transfer: SPEC of a second data set on which everybody is scored.
    """

    config: ExperimentConfig
    arms: tuple[str, ...] = tuple(ARMS.split(","))
    own: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    budget: Budget = "epochs"
    transfer: str | None = None

    def make_arms(self) -> tuple[Arm, ...]:
        """The arms, in the order given. Needs neither data nor PyTorch, which takes seconds to import.

        Raises:
            SnowmeltError: as ``snowmelt.study.make_arms``.
        """
        return make_arms(self.config, self.arms, self.own)


def read_request(
    config: ExperimentConfig, arms: str, own: Sequence[str], seeds: str, budget: Budget, transfer: str | None
) -> CompareRequest:
    """What the words of the command ask for.

    Raises:
        SnowmeltError: seeds or arms that cannot be.
    """
    request = CompareRequest(config, read_names(arms), tuple(own), read_seeds(seeds), budget, transfer)
    request.make_arms()
    return request


def read_seeds(text: str) -> tuple[int, ...]:
    """``3`` is the three seeds 0, 1 and 2; ``0,1,4`` are just these, and ``4,`` is seed 4 alone.

    Raises:
        SnowmeltError: anything else, or a seed that is given twice.
    """
    words = [word.strip() for word in text.split(",")]
    if len(words) > 1 and words[-1] == "":
        words.pop()
    elif len(words) == 1 and _is_number(words[0]) and int(words[0]) > 0:
        return tuple(range(int(words[0])))
    if not all(_is_number(word) for word in words) or text.strip() == "0":
        raise SnowmeltError(
            f"--seeds {text}: write a number of seeds such as 3, or the seeds themselves such as 0,1,4",
            code="option-value",
        )
    seeds = tuple(int(word) for word in words)
    if len(set(seeds)) < len(seeds):
        raise SnowmeltError(
            f"--seeds {text}: a seed is given twice; each gives the same run again", code="option-value"
        )
    return seeds


def read_names(text: str) -> tuple[str, ...]:
    """Arms between commas; none at all is allowed, for a comparison of one's own arms alone."""
    return tuple(name for word in text.split(",") if (name := word.strip()))


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 9
