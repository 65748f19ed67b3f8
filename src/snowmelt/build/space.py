"""How much a run will write: checkpoints, weights, logs; and the answers of its teacher."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from snowmelt.build.data import FILES_SIZE
from snowmelt.build.networks import make_network, output_channels
from snowmelt.build.teaching import cache_root
from snowmelt.config import ExperimentConfig
from snowmelt.data import Splits
from snowmelt.disk import Need, check_space
from snowmelt.teachers.cache import candidates

CHECKPOINTS = 4  # the last, the one before, the one to go back to, and the one that is being written
WEIGHTS = 5  # the last and the best, what was the best before, and one that is being written for either
BESIDE = 32 << 20  # logs, plots, pictures, the page

REMEDY = (
    "free some space, choose another disk with --set output=DIR, or try it all the same with "
    "--set training.check_space=false"
)


def run_bytes(network: nn.Module, average: bool) -> int:
    """What the folder of a run holds at most, while a checkpoint is being written."""
    parameters = sum(each.numel() * each.element_size() for each in network.parameters())
    weights = parameters + sum(each.numel() * each.element_size() for each in network.buffers())
    checkpoint = weights * (2 if average else 1) + 2 * parameters  # AdamW keeps two moments of each
    return CHECKPOINTS * checkpoint + WEIGHTS * weights + BESIDE


def run_need(config: ExperimentConfig, network: nn.Module, what: str) -> Need:
    """What a run has still to write; a run that goes on has written most of it."""
    root = config.output / config.name
    there = sum(path.stat().st_size for path in (root / "checkpoints").glob("*") if path.is_file())
    return Need(what, root, max(BESIDE, run_bytes(network, config.training.average is not None) - there))


def refuse_without_room(config: ExperimentConfig, network: nn.Module) -> None:
    """Raises ``SnowmeltError`` where the disk has no room for the run of ``config``."""
    if config.training.check_space:
        check_space([run_need(config, network, "checkpoints and weights")], REMEDY)


def refuse_without_room_for_all(config: ExperimentConfig, teacher: ExperimentConfig | None, splits: Splits) -> None:
    """The same before a teacher is trained: for it, for its answers, and for the student after it.

    Answers are counted in the smallest form that they may be stored in, and not at all where some are stored already;
    what they really take is looked at when the teacher is there.

    Args:
        teacher: the experiment that trains it; ``None`` where it is there.
    """
    if not config.training.check_space:
        return
    channels, place = output_channels(splits.classes), cache_root(config)
    needs = []
    for each, what in ((teacher, "the teacher"), (config, "the student")):
        if each is not None:
            network = make_network(each.student, channels, each.seed, with_weights=False).network
            needs.append(run_need(each, network, what))
    if config.distills and config.teacher.mode != "live" and not _has_files(place):
        size = config.data.image_size or FILES_SIZE
        row = min(each.row_bytes for each in candidates(channels, size))
        needs.append(Need("the teacher's answers", place, row * len(splits.train)))
    check_space(needs, REMEDY)


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())
