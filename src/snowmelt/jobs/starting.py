"""``snowmelt init``: look at the data and write a commented settings file for it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from snowmelt.build.data import FILES_SIZE, SCENES_SIZE
from snowmelt.config import ExperimentConfig, read_overrides
from snowmelt.config_manager import ConfigManager
from snowmelt.data.layouts import Layout, find_layout
from snowmelt.data.stored_files import write_flushed
from snowmelt.data.survey import Survey
from snowmelt.errors import SnowmeltError
from snowmelt.jobs.init_text import Facts, settings_text
from snowmelt.jobs.request import prepare
from snowmelt.jobs.surveying import describe_survey, schedule_for, survey_data
from snowmelt.reporting import finding_line

LARGEST = 512
WRITTEN = ("source", "val", "val_fraction", "image_folder", "mask_folder", "image_size")  # with a line on why
STEPS = 8  # an epoch, at least: fewer and the schedules would move in jumps


def init_experiment(
    spec: str, *, output: Path | None = None, force: bool = False, overrides: Iterable[str] = ()
) -> Path:
    """Write the settings file for a data folder (or any SPEC) and say what was found.


    Args:
        output: the file; without it NAME.yaml here, after the data.
        force: replace a file that is there.
        overrides: settings of the data, ``data.mask_folder=people``.

    Raises:
        SnowmeltError: the file is there, a setting is not the data's, the layout is not known, or the data cannot be
            looked at; also where training would refuse the data, after the file was written, which serves once they
            are mended.
    """
    overrides = list(overrides)
    given = given_settings(overrides)
    layout = recognise(spec, prepare("auto", overrides=overrides), overrides)
    path = output if output is not None else Path(f"{_name_of(spec)}.yaml")
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise SnowmeltError(f"{path}: settings files end in .yaml; choose another --output", code="option-value")
    if path.exists() and not force:
        raise SnowmeltError(
            f"{path}: is there already; --force replaces it, --output writes another file", code="output-exists"
        )
    values = [f"data.image_folder={layout.image_folder}", f"data.mask_folder={layout.mask_folder}"]
    config = prepare("auto", data=layout.source, val=layout.val, overrides=[*values, *overrides])
    found = survey_data(config)
    if not found.meaning.maps or not found.count("train"):
        errors = [finding_line(each.to_dict(), found.spec, 1) for each in found.findings if each.level == "error"]
        raise SnowmeltError(
            f"no settings for this data: {errors[0] if errors else 'it has no images with masks'}", code="data-refused"
        )
    facts = _facts(config, layout, found, path.stem, given)
    _write(path, settings_text(facts))
    _tell(path, facts, found, spec)
    return path


def given_settings(overrides: Iterable[str]) -> list[str]:
    """Names of the settings of the data that are to be written as they are; the others have a line of their own.

    Raises:
        SnowmeltError: a setting of something else, which would be lost.
    """
    values = read_overrides(overrides)
    given = values.pop("data", {})
    for name in values:
        raise SnowmeltError(
            f"--set {name}: init takes settings of the data alone (data...); write the others into the file",
            code="option-value",
        )
    return [name for name in given if name not in WRITTEN]


def recognise(spec: str, config: ExperimentConfig, overrides: Iterable[str]) -> Layout:
    """The layout of a folder; a SPEC of another kind says it itself."""
    kind = spec.partition(":")[0]
    if kind in ("scenes", "scenes-parts"):
        return Layout(spec, "Embedded scenes, not yours")
    if kind == "coco":
        return Layout(spec, "COCO annotations", config.data.val)
    given = {pair.partition("=")[0].strip() for pair in overrides}
    images = config.data.image_folder if "data.image_folder" in given else None
    masks = config.data.mask_folder if "data.mask_folder" in given else None
    return find_layout(Path(spec).expanduser().resolve(), images, masks)


def _name_of(spec: str) -> str:
    """After the folder, the annotation file, or the scenes."""
    last = Path(spec.split(":")[2]).stem if spec.startswith("coco:") and spec.count(":") > 1 else spec
    if Path(spec).expanduser().is_dir():
        last = Path(spec).expanduser().resolve().name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-.") or "mine"


def _facts(config: ExperimentConfig, layout: Layout, found: Survey, name: str, given: Iterable[str]) -> Facts:
    data, scenes = config.data, layout.source.startswith("scenes")
    train, val = found.count("train"), found.count("val")
    device = "CUDA" if torch.cuda.is_available() else "cpu"
    facts = found.tally.rows
    sides = np.maximum(facts["height"], facts["width"])[(facts["height"] > 0) & (found.tally.splits != "test")]
    long_side = int(np.median(sides)) if len(sides) else FILES_SIZE
    size = data.image_size or (SCENES_SIZE if scenes else image_size_for(long_side, device))
    # Hints are about the size that is written, which the pass did not know yet.
    hints = describe_survey(config, replace(found, image_size=size))["hints"]
    learned = [split == "train" or (found.set_apart and split == "val") for split in found.shares.splits]
    pixels = found.shares.pixels[learned].sum(axis=0).astype(float)
    shares = pixels / max(pixels.sum(), 1)
    classes = found.meaning.classes
    folder = not layout.source.startswith(("scenes", "coco:"))
    return Facts(
        name=name,
        source=layout.source,
        what=layout.what[0].upper() + layout.what[1:],
        val=layout.val,
        val_fraction=data.val_fraction if found.set_apart else None,
        image_folder=layout.image_folder,
        mask_folder=layout.mask_folder,
        is_folder=folder,
        classes=classes,
        classes_read=folder and classes[1:] == tuple(_unnamed(len(classes))),
        shares=tuple(shares[: len(classes)]),
        ignored=float(shares[len(classes)]),
        train=train,
        val_images=val,
        test_images=found.count("test"),
        long_side=long_side,
        image_size=size,
        batch_size=batch_size_for(train, size, device),
        device=device,
        small=tuple(hint.rpartition("; ")[0] + "." for hint in hints),
        schedule=schedule_for(train),
        given={name: config.data.model_dump(mode="json")[name] for name in given},
    )


def _unnamed(count: int) -> list[str]:
    """Names that classes get where nobody named them; see ``infer_label_map``."""
    return ["foreground"] if count == 2 else [f"class_{index}" for index in range(1, count)]


def image_size_for(long_side: int, device: str) -> int:
    """A multiple of 32 no larger than the images; 256 at most on a CPU, 512 on an accelerator, 64 at least."""
    most = FILES_SIZE if device == "cpu" else LARGEST
    return max(64, min(most, long_side // 32 * 32))


def batch_size_for(images: int, image_size: int, device: str) -> int:
    """4 on a CPU as in the reference; on an accelerator 16 at 256 pixels and 8 beyond; fewer for very small sets."""
    size = 4 if device == "cpu" else 16 if image_size <= FILES_SIZE else 8
    while size > 2 and size * STEPS > images:
        size //= 2
    return size


def _write(path: Path, text: str) -> None:
    """Only what can be read back takes the place of a file."""
    aside = path.with_name(f".{path.stem}.draft.yaml")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_flushed(aside, [text.encode()])
        try:
            ConfigManager.get_config(str(aside))
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise SnowmeltError(
            f"{path}: cannot be written ({error.strerror or error}); choose another --output", code="file-unwritable"
        ) from None


def _tell(path: Path, facts: Facts, found: Survey, spec: str) -> None:
    counts = f"{facts.train} training and {facts.val_images} validation images"
    print(f"{facts.what}: {counts}, {len(facts.classes)} classes")
    refused = [each for each in found.findings if each.level == "error"]
    for finding in refused:
        print(f"training would refuse: {finding_line(finding.to_dict(), found.spec, 1)}")
    odd = sum(each.level == "warning" for each in found.findings)
    if odd:
        kinds = f"{odd} kinds of warnings" if odd > 1 else "1 kind of warning"
        print(f"{kinds}, told by: snowmelt check-data {_check_arguments(spec, facts)}")
    if not found.sound:
        kinds = f"{len(refused)} kinds of errors" if len(refused) > 1 else "1 kind of error"
        raise SnowmeltError(
            f"{path}: is written, but training would refuse this data now: {kinds}, named above; mend the data, then "
            f"snowmelt train {path}",
            code="data-refused",
        )
    print(f"written: {path}; next: snowmelt plan {path}, then snowmelt train {path}")


def _check_arguments(spec: str, facts: Facts) -> str:
    """What ``check-data`` has to be given to look at the same."""
    if not facts.is_folder:
        val = "" if facts.val is None else f" --val {facts.val}"
        return f"{facts.source}{val}"
    names = (("image_folder", facts.image_folder, "images"), ("mask_folder", facts.mask_folder, "masks"))
    return " ".join([spec, *(f"--set data.{key}={name}" for key, name, usual in names if name != usual)])
