"""The folder of one run: what lies where, and that nothing in it is lost unasked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from snowmelt.config import ExperimentConfig, read_yaml
from snowmelt.errors import SnowmeltError
from snowmelt.reporting.csv_cells import replace_file
from snowmelt.reporting.plan_table import plan_csv
from snowmelt.reporting.provenance import git_commit, package_versions
from snowmelt.schedules import Plan

PROVENANCE = "provenance"


@dataclass(frozen=True)
class RunFolder:
    """Paths in ``experiments/<name>/``. The object holds no files open and may be made for any folder."""

    root: Path

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def config_file(self) -> Path:
        """Resolved settings, with versions and git commit."""
        return self.root / "config.yaml"

    @property
    def plan_file(self) -> Path:
        return self.root / "plan.csv"

    @property
    def metrics_file(self) -> Path:
        """What a run with this seed always gives, a row an epoch."""
        return self.root / "metrics.csv"

    @property
    def timing_file(self) -> Path:
        """Speed and memory, which differ from machine to machine."""
        return self.root / "timing.csv"

    @property
    def validation_file(self) -> Path:
        """The best weights on the validation images: IoU by class, and the confusion matrix."""
        return self.root / "validation.json"

    @property
    def not_finite_file(self) -> Path:
        """What was not finite when, in a run that went back or gave up."""
        return self.root / "not_finite.json"

    @property
    def logs(self) -> Path:
        """TensorBoard events and text logs."""
        return self.root / "logs"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def plots(self) -> Path:
        return self.root / "plots"

    @property
    def predictions(self) -> Path:
        return self.root / "predictions"

    @property
    def report_file(self) -> Path:
        return self.root / "report.html"

    @property
    def is_run(self) -> bool:
        """Whether a run was begun here: it has settings or a checkpoint."""
        return self.config_file.exists() or (self.checkpoints.is_dir() and any(self.checkpoints.iterdir()))

    @classmethod
    def create(cls, path: Path | str, resume: bool = False, overwrite: bool = False) -> RunFolder:
        """Make the folder and those below it, or take the one that is there.

        Args:
            resume: go on in a run that exists; a new one is begun where none does.
            overwrite: move a run that exists aside, to ``<name>.old-<time>``, and begin anew. Nothing is deleted.

        Raises:
            SnowmeltError: a run exists and neither was asked for, both were, or the path is a file.
        """
        folder = cls(Path(path))
        if resume and overwrite:
            raise SnowmeltError("--resume and --overwrite exclude each other; give one of them", code="option-conflict")
        if folder.root.exists() and not folder.root.is_dir():
            raise SnowmeltError(
                f"{folder.root}: is a file, a run needs a folder; choose another name with --run-name", code="run-name"
            )
        if folder.is_run and overwrite:
            folder._move_aside()
        elif folder.is_run and not resume:
            raise SnowmeltError(
                f"{folder.root}: a run is there already; go on with --resume, move it aside with --overwrite, "
                "or choose another name with --run-name",
                code="run-exists",
            )
        try:
            for each in (folder.logs, folder.checkpoints, folder.plots, folder.predictions):
                each.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SnowmeltError(
                f"{folder.root}: cannot be made ({error}); choose a place you may write", code="file-unwritable"
            ) from error
        return folder

    def write_config(
        self, settings: Mapping[str, Any], versions: Mapping[str, str] | None = None, launcher: str | None = None
    ) -> None:
        """Write the resolved settings, and under ``provenance`` the versions and the git commit of the caller.

        Args:
            versions: package -> version; the installed ones that shape a run by default.
            launcher: what tells the program that started this process from others of its kind, where there is one.
        """
        if PROVENANCE in settings:
            raise SnowmeltError(
                f"settings have a key {PROVENANCE!r}, which config.yaml keeps for itself; rename it",
                code="argument-value",
            )
        provenance = {
            "created": datetime.now().astimezone().isoformat(timespec="seconds"),
            "git_commit": git_commit(Path.cwd()),
            "versions": dict(package_versions() if versions is None else versions),
        }
        if launcher is not None:
            provenance["launcher"] = launcher
        content = {**_plain(settings), PROVENANCE: provenance}
        replace_file(self.config_file, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    def read_config(self) -> dict[str, Any]:
        """The settings as they were written, without ``provenance``."""
        content = self._read_yaml()
        content.pop(PROVENANCE, None)
        return content

    def read_settings(self) -> ExperimentConfig:
        """The settings as the run has them.

        Raises:
            SnowmeltError: the file is damaged, or names settings that do not hold.
        """
        try:
            return ExperimentConfig(**self.read_config())
        except SnowmeltError as error:
            if str(self.config_file) in str(error):
                raise
            raise SnowmeltError(f"{self.config_file}: {error}", code="run-damaged") from error

    def read_provenance(self) -> dict[str, Any]:
        """Time, git commit (``None`` where there was none) and versions that the run was begun with."""
        provenance = self._read_yaml().get(PROVENANCE)
        return provenance if isinstance(provenance, dict) else {}

    def write_plan(self, plan: Plan) -> None:
        replace_file(self.plan_file, plan_csv(plan))

    def _read_yaml(self) -> dict[str, Any]:
        try:
            content = read_yaml(self.config_file)
        except SnowmeltError as error:
            raise SnowmeltError(
                f"{error}; is this a run folder? mend or remove the file", code="run-damaged"
            ) from error
        if not content:
            raise SnowmeltError(
                f"{self.config_file}: holds no settings; expected `key: value` lines", code="run-damaged"
            )
        return content

    def _move_aside(self) -> None:
        stem = f"{self.root.name}.old-{datetime.now():%Y%m%d_%H%M%S}"
        target, count = self.root.with_name(stem), 0
        while target.exists():
            count += 1
            target = self.root.with_name(f"{stem}-{count}")
        try:
            self.root.rename(target)
        except OSError as error:
            raise SnowmeltError(
                f"{self.root}: cannot be moved aside ({error}); close what uses it, or choose another --run-name",
                code="file-unwritable",
            ) from error


def _plain(value: Any) -> Any:
    """Only what YAML has: mappings, lists, text, numbers, booleans and null."""
    if isinstance(value, Mapping):
        return {key if isinstance(key, int) else str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return [_plain(item) for item in items]
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, Path):
        return str(value)
    return value
