"""Which images an evaluation is of, and who answers about them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snowmelt.build import digest_of, make_engine, make_evaluation_batches, make_input, open_second_data
from snowmelt.config import ExperimentConfig, read_overrides, with_values
from snowmelt.data import Batch, Source, Splits
from snowmelt.errors import SnowmeltError
from snowmelt.jobs.evaluating.request import EvaluateRequest
from snowmelt.jobs.opening import TrainedRun
from snowmelt.jobs.scoring import existing_teacher, settings_of_run
from snowmelt.jobs.session import open_session
from snowmelt.reporting import RunFolder
from snowmelt.training import Answer, Engine, answer_of

NAME_LENGTH = 40  # characters of other data in a file's name


@dataclass(frozen=True)
class Material:
    """All that is needed for the pass.

    Attributes:
        part: ``train``, ``val``, ``test``, or ``all`` for other data without parts.
        others: the SPEC of the images, where they are not the run's own.
        notes: what a reader of the scores should know.
    """

    config: ExperimentConfig
    engine: Engine
    part: str
    source: Source
    student: Answer
    teacher: Answer | None
    others: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def batches(self) -> Iterable[Batch]:
        """Of the whole set, in order, letterboxed to the size of training."""
        batches: Iterable[Batch] = make_evaluation_batches(self.config, self.source, self.engine)
        return batches

    def stem(self, weights: str) -> str:
        """Name of what is written: the part, and whatever is not as usual."""
        others = "" if self.others is None else name_of(self.others) + "-"
        return f"{others}{self.part}{'' if weights == 'best' else '-' + weights}"

    def describe(self) -> str:
        """Which images, such as ``20 test images``."""
        return f"{len(self.source)} {'' if self.part == 'all' else self.part + ' '}images"


def gather(run: TrainedRun, request: EvaluateRequest) -> Material:
    """Open images and teacher; the chosen images are checked, once.

    Raises:
        SnowmeltError: data that cannot be used, a part that is not there, or classes that are not the network's.
    """
    config = settings_for(run, request)
    others = request.data if run.config is None or not _same_data(request.data, config) else None
    if request.overrides and others is None:
        raise SnowmeltError("--set: is for the folders of other data; give --data, too", code="option-unused")
    teacher: Answer | None
    if others is None:
        session = open_session(config, check=False)
        config, engine = session.config, session.engine
        part, source = choose_part(session.splits, request.split)
        check_classes(run, source)
        teacher = existing_teacher(session, source)
    else:
        engine = make_engine(config)
        named = with_values(config, folder_names(request.overrides))
        source, part = open_second_data(named, others, run.classes, request.split, search=not request.overrides)
        teacher = _teacher_for_others(config, source)
    if engine.rank == 0:
        source.check()
    engine.barrier()
    student = answer_of(run.network, make_input(run.normalisation), engine)
    return Material(config, engine, part, source, student, teacher, others, notes_of(part, others, source))


def settings_for(run: TrainedRun, request: EvaluateRequest) -> ExperimentConfig:
    """Those of the run, where it lies now and on the device that is asked for; scoring fills no image store."""
    here = {"training": {"device": request.device or "auto"}, "data": {"store": "none"}}
    if run.root is None:
        if request.data is None:
            raise SnowmeltError(
                f"{run.weights}: lies in no run, so its images are not known; give --data SPEC", code="run-needed"
            )
        alone = {
            "name": run.name,
            "output": request.output or folder_of(run),  # what is learned about the files is kept there
            "data": {"image_size": run.image_size},
            "distillation": {"enabled": False},
            "training": {"precision": "32"},  # what it was trained in is not known; this is the same everywhere
        }
        return with_values(with_values(ExperimentConfig(), alone), here)
    root = run.root.resolve()
    asked = with_values(ExperimentConfig(), {"name": root.name, "output": _shown(run.root, root)})
    asked = with_values(asked, {"training": here["training"]})
    return with_values(settings_of_run(RunFolder(run.root), asked), {"data": here["data"]})


def folder_names(overrides: Iterable[str]) -> dict[str, Any]:
    """Settings that say where pictures and masks lie in other data; all else is the run's."""
    values = read_overrides(overrides)
    unknown = [f"data.{key}" for key in values.get("data", {}) if key not in ("image_folder", "mask_folder")]
    unknown += [key for key in values if key != "data"]
    if unknown:
        raise SnowmeltError(
            f"--set {unknown[0]}: an evaluation takes data.image_folder and data.mask_folder; all else is as the run "
            "was trained",
            code="option-unused",
        )
    return values


def folder_of(run: TrainedRun) -> Path:
    """Where an evaluation goes unless another folder is given."""
    return Path(f"{run.name}-evaluation") if run.root is None else run.root / "evaluation"


def name_of(spec: str) -> str:
    """Other data in the name of a file: the end of the SPEC, and a digest where that leaves a folder out."""
    end = re.sub(r"[^\w.-]+", "_", spec.rstrip("/").rpartition("/")[2]).strip("._")[-NAME_LENGTH:] or "data"
    return f"{end}-{digest_of({'data': spec})}" if "/" in spec else end


def choose_part(splits: Splits, split: str | None) -> tuple[str, Source]:
    """The part that is asked for; else test where there is one, else validation."""
    if split is None:
        split = "val" if splits.test is None else "test"
    source = {"train": splits.train, "val": splits.val, "test": splits.test}[split]
    if source is None:
        raise SnowmeltError(
            "the data have no test part; give --split val, or other images with --data", code="data-part-missing"
        )
    return split, source


def check_classes(run: TrainedRun, source: Source) -> None:
    """Two names may be anything; of several, each has to stand where the network has it."""
    same = len(run.classes) == len(source.classes) == 2 or run.classes == source.classes
    if not same:
        raise SnowmeltError(
            f"{run.weights}: its classes are {', '.join(run.classes)}, but those of the data are "
            f"{', '.join(source.classes)}; give --data with the classes that it was trained on",
            code="network-classes",
        )


def notes_of(part: str, others: str | None, source: Source) -> tuple[str, ...]:
    """What flatters or limits the scores."""
    if others is not None:
        return (f"these are {'all' if part == 'all' else f'the {part}'} images of {others}, not the run's own data",)
    if part == "train":
        return ("these are the images that the student was trained on, which says little about any others",)
    if part == "val":
        return ("the best weights were chosen on these images, which flatters their score",)
    return ()


def _teacher_for_others(config: ExperimentConfig, source: Source) -> Answer | None:
    """The teacher is that of the run's own data, which may have gone."""
    if not config.distills:
        return None
    try:
        session = open_session(config, check=False)
    except SnowmeltError as error:
        print(f"the teacher is not scored beside the student: {error}", flush=True)
        return None
    return existing_teacher(session, source)


def _same_data(given: str | None, config: ExperimentConfig) -> bool:
    own = config.data.source
    return given is None or given == own or (Path(given).exists() and Path(given).resolve() == Path(own).resolve())


def _shown(root: Path, resolved: Path) -> Path:
    """The folder around ``root``, as it was written where that is possible."""
    return root.parent if root.name == resolved.name else resolved.parent
