"""``snowmelt predict``: masks, overlays and probabilities of pictures and videos."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from snowmelt._version import __version__
from snowmelt.build import open_data
from snowmelt.data import made_ahead
from snowmelt.errors import SnowmeltError
from snowmelt.inference import Fit, Native, Picture, Prediction, Predictor, Tiles, Whole, opencv
from snowmelt.jobs.predicting.counting import Display, Tally
from snowmelt.jobs.predicting.inputs import Found, Item, find_inputs, items_of
from snowmelt.jobs.predicting.models import Model, open_model
from snowmelt.jobs.predicting.request import MASK, OVERLAY, PROBABILITIES, PredictRequest
from snowmelt.jobs.predicting.targets import LEGEND, Targets
from snowmelt.jobs.predicting.videos import predict_video
from snowmelt.jobs.predicting.writing import Writing, write_mask, write_overlay, write_probabilities
from snowmelt.jobs.signals import Interrupted

PREDICTED = Path("predicted")
"""Where results lie unless another folder is given."""


def predict_pictures(request: PredictRequest, as_json: bool = False) -> dict[str, Any]:
    """Predict on everything that was given; a file that cannot be read is said, skipped and counted.

    Args:
        as_json: print the outcome on stdout, and all else on stderr.

    Returns:
        The outcome: what predicted, ``files`` with their results and the share of each class, ``failed``, speed.

    Raises:
        SnowmeltError: nothing to predict with or on, results that are there already, or a place that cannot be
            written.
    """
    display = Display(as_json)
    given = find_inputs(request.inputs, leave_out=request.output or PREDICTED)  # at once: opening takes seconds
    model = open_model(request.source, request.weights, request.device)
    root = request.output or PREDICTED / model.name
    found = given if request.inputs else _own_images(model)
    if any(item.is_video for item in found.items):
        opencv()  # say at once what is missing
    elif request.frames:
        raise SnowmeltError("--frames: is for videos, and none is among the inputs; leave it out", code="option-unused")
    targets = Targets(root, request.save, request.frames)
    fit = _fit(request, model)
    items = targets.choose(found.items, overwrite=request.overwrite, resume=request.resume)
    about = _about(request, model)
    targets.prepare(about, model.classes, overwrite=request.overwrite)
    display.say(f"network: {model.describe}")
    if found.videos_passed_over:
        display.say(f"note: {found.videos_passed_over} videos in folders were passed over; name them one by one")
    for earlier in found.results_passed_over:
        display.say(f"note: {earlier}: what an earlier prediction left there was passed over")
    if len(items) < len(found.items):
        display.say(f"{len(found.items) - len(items)} of {len(found.items)} are there already")
    predictor = Predictor(
        model.network,
        model.channels,
        fit,
        batch_size=request.batch_size,
        flip=request.flip,
        probabilities=PROBABILITIES in request.save,
    )
    tally = Tally(model.classes)
    try:
        _predict_pictures([item for item in items if not item.is_video], targets, predictor, tally, display)
        _predict_videos([item for item in items if item.is_video], targets, predictor, tally, display)
    except (KeyboardInterrupt, Interrupted):
        display.stop()
        display.say(f"stopped: {len(tally.files)} of {len(items)} are whole in {root}; --resume goes on")
        raise
    finally:
        display.stop()
    tally.stop()
    _say_outcome(tally, targets, display)
    outcome = {**about, "output": str(root), "skipped": len(found.items) - len(items), **tally.to_json()}
    if as_json:
        print(json.dumps(outcome, indent=2))
    return outcome


def _own_images(model: Model) -> Found:
    """The validation images of the run, where nothing else was given."""
    if model.config is None:
        raise SnowmeltError(
            f"{model.file}: no run lies around it, so give pictures, folders or videos to predict on", code="run-needed"
        )
    return Found(items_of(open_data(model.config).val))


def _fit(request: PredictRequest, model: Model) -> Fit:
    """How pictures are shown; a file of a fixed size takes nothing else."""
    if request.tile == "auto":
        return Whole(model.size or (model.image_size, model.image_size))
    if model.size is not None and request.tile not in model.size:
        raise SnowmeltError(
            f"--tile {request.tile}: {model.file} takes {model.size[0]} x {model.size[1]} pixels only; export it with "
            "--size dynamic, or leave the option out",
            code="picture-size",
        )
    if request.tile == "off":
        return Native(model.stride)
    return Tiles(model.size or (request.tile, request.tile), request.overlap)


def _about(request: PredictRequest, model: Model) -> dict[str, Any]:
    """What decides the results, for the note beside them."""
    return {
        "source": os.path.realpath(model.file),
        "weights": model.digest,
        "classes": list(model.classes),
        "tile": request.tile,
        "overlap": request.overlap if isinstance(request.tile, int) else None,
        "flip": request.flip,
        "snowmelt_version": __version__,
    }


def _predict_pictures(
    items: list[Item], targets: Targets, predictor: Predictor, tally: Tally, display: Display
) -> None:
    if not items:
        return

    def pictures() -> Iterator[Picture]:
        for item, image in made_ahead(_loaded(items)):
            if isinstance(image, SnowmeltError):
                _fail(item, image, tally, display)
            else:
                yield Picture(image, item)

    display.start("pictures", len(items))
    threads = min(4, os.cpu_count() or 1)
    with Writing(threads, waiting=threads) as write:
        for prediction in predictor.predict(pictures()):
            write(_write, prediction, targets, tally)
            tally.images += 1
            display.step()


def _loaded(items: list[Item]) -> Iterator[tuple[Item, np.ndarray | SnowmeltError]]:
    """Decoded in the thread that runs ahead; what cannot be read is handed on as a value."""
    for item in items:
        assert item.load is not None
        try:
            yield item, item.load()
        except SnowmeltError as error:
            yield item, error


def _write(prediction: Prediction, targets: Targets, tally: Tally) -> None:
    item: Item = prediction.picture.key
    files = targets.of(item)
    classes = tally.classes
    if PROBABILITIES in files and prediction.probabilities is not None:
        write_probabilities(files[PROBABILITIES], prediction.probabilities, classes)
    if OVERLAY in files:
        write_overlay(files[OVERLAY], prediction.picture.image, prediction.mask, len(classes))
    if MASK in files:
        write_mask(files[MASK], prediction.mask, len(classes))
    tally.done(item.shown, files, tally.count(prediction.mask))


def _predict_videos(items: list[Item], targets: Targets, predictor: Predictor, tally: Tally, display: Display) -> None:
    for item in items:
        try:
            predict_video(item, targets.of(item), predictor, tuple(tally.classes), tally, display)
        except SnowmeltError as error:
            _fail(item, error, tally, display)


def _fail(item: Item, error: SnowmeltError, tally: Tally, display: Display) -> None:
    reason = " ".join(str(error).split())
    tally.failed.append({"input": item.shown, "reason": reason, "code": error.code})
    display.say(f"skipped: {reason}")


def _say_outcome(tally: Tally, targets: Targets, display: Display) -> None:
    kinds = ", ".join(targets.kinds)
    display.say(
        f"{tally.images} image{'s' if tally.images != 1 else ''} in {tally.seconds:.1f} s ({tally.rate:.1f} images/s); "
        f"{kinds} in {targets.root}"
    )
    if OVERLAY in targets.kinds and tally.files:
        display.say(f"the overlays' colours: {targets.root / LEGEND}")
    if tally.failed:
        display.say(f"{len(tally.failed)} of the inputs could not be predicted on (named above)")
