"""Opening what a training left: the student of a run, or a lone weights file of ours, ready to be used."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from snowmelt.build import load_network
from snowmelt.config import ExperimentConfig
from snowmelt.errors import SnowmeltError
from snowmelt.models import Normalisation, load_weights
from snowmelt.reporting import RunFolder

EXPERIMENTS = Path("experiments")  # where run folders lie unless the settings say otherwise
SUFFIX = ".safetensors"
LARGEST_SIDE = 8192

Weights = Literal["best", "last"]


@dataclass(frozen=True)
class TrainedRun:
    """A run's student with what is needed to use it.

    Attributes:
        root: the run folder; ``None`` for a lone weights file.
        weights: the .safetensors file that was loaded.
        config: the settings it was trained with, as ``config.yaml`` has them; ``None`` for a lone file.
        network: in eval mode, float32, on the CPU; (B, 3, H, W) normalised float -> (B, K, H, W) logits, where K is 1
            for two classes.
        normalisation: mean and deviation per channel of images scaled to 0..1.
        classes: names, background first.
        image_size: side of the square in pixels that it was trained at.
        metadata: what the weights file says of itself (epoch, step, best_miou, network and more).
    """

    root: Path | None
    weights: Path
    config: ExperimentConfig | None
    network: nn.Module
    normalisation: Normalisation
    classes: tuple[str, ...]
    image_size: int
    metadata: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of the run, or of the file."""
        return self.weights.stem if self.root is None else self.root.resolve().name


def open_run(source: str | Path, weights: Weights = "best") -> TrainedRun:
    """Open a run folder, a name under ``experiments/``, or a weights file of ours in a run or alone.

    Args:
        weights: which of a run's two; a file that is named itself is taken as it is.

    Raises:
        SnowmeltError: no such run (with the names that are close), no weights yet, or a file of another program.
    """
    root, path = _find(Path(source), weights)
    state, metadata = load_weights(path)
    del state  # load_network reads it again, and checks it
    classes, size = metadata.get("classes"), metadata.get("image_size")
    if not isinstance(metadata.get("network"), dict) or not isinstance(classes, list) or not is_side(size):
        raise SnowmeltError(
            f"{path}: does not say what network, classes and size it is of, so Snowmelt's training did not write it; "
            "give a run folder or a file of its checkpoints/",
            code="weights-foreign",
        )
    config = None if root is None else RunFolder(root).read_settings()
    names = tuple(str(name) for name in classes)
    built = load_network(path, (config or ExperimentConfig()).student, names)
    return TrainedRun(
        root=root,
        weights=path,
        config=config,
        network=built.network.float().eval(),
        normalisation=_trained_with(metadata, built.normalisation),
        classes=names,
        image_size=int(metadata["image_size"]),
        metadata=metadata,
    )


def is_side(value: Any) -> bool:
    """Whether it can be the side, in pixels, that a network was trained at: pictures are made that large."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_SIDE


def _find(source: Path, weights: Weights) -> tuple[Path | None, Path]:
    """The run folder (``None`` for a lone file) and the weights file."""
    if source.is_file():
        if source.suffix.lower() != SUFFIX:
            raise SnowmeltError(
                f"{source}: is no {SUFFIX} file; give a run folder or a file of its checkpoints/",
                code="weights-foreign",
            )
        folder = source.resolve().parent
        around = source.parent.parent if source.parent.name == "checkpoints" else folder.parent
        inside = folder.name == "checkpoints" and RunFolder(around).config_file.is_file()
        return (around if inside else None), source
    root = source if source.is_dir() else EXPERIMENTS / source
    if source.suffix.lower() == SUFFIX or not root.is_dir():
        raise SnowmeltError(
            f"{source}: there is no such run or weights file{names_close_to(source)}", code="run-missing"
        )
    run = RunFolder(root)
    path = run.checkpoints / f"{weights}{SUFFIX}"
    if path.is_file() and run.config_file.is_file():
        return root, path
    if not run.is_run:
        raise SnowmeltError(
            f"{root}: is no run folder (it has no config.yaml){names_close_to(root / 'x')}", code="run-missing"
        )
    missing = path.relative_to(root) if run.config_file.is_file() else "config.yaml"
    raise SnowmeltError(
        f"{root}: has no {missing} yet; train it first, or wait until its first epoch is over", code="run-unfinished"
    )


def names_close_to(source: Path) -> str:
    """How the message about a name that is not there goes on: with those that are."""
    places = dict.fromkeys([source.parent, EXPERIMENTS, EXPERIMENTS / source.parent])
    runs = {path.name: path for place in places if place.is_dir() for path in place.iterdir() if RunFolder(path).is_run}
    found = difflib.get_close_matches(source.name, list(runs), n=3, cutoff=0.5) or sorted(runs)[:5]
    if not found:
        return "; train one first (snowmelt demo, snowmelt train), or give its path"
    return f"; there is {', '.join(str(runs[name]) for name in found)}"


def _trained_with(metadata: Mapping[str, Any], built: Normalisation) -> Normalisation:
    """As the file says, else as its encoder has it."""
    mean, std = metadata.get("mean"), metadata.get("std")
    if not (isinstance(mean, list) and isinstance(std, list) and len(mean) == len(std) == 3):
        return built
    return Normalisation((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))
