"""A teacher in Hugging Face's format: a semantic segmentation model of transformers, from a folder or the hub."""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import safetensors
import torch
from huggingface_hub.errors import HFValidationError, StrictDataclassError
from torch import Tensor, nn

from snowmelt.errors import SnowmeltError
from snowmelt.models import normalise, refuse_flaws
from snowmelt.models.hub import hub_is_reachable
from snowmelt.teachers.digests import digest_files
from snowmelt.teachers.network import put_to_sleep
from snowmelt.teachers.options import OpenOptions
from snowmelt.teachers.outputs import say_outputs
from snowmelt.teachers.preprocessing import PREPROCESSOR_FILES, Preprocessing, read_preprocessing

CONFIG = "config.json"
_INSTALL = 'pip install "snowmelt[transformers]"'
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_SAFE_WEIGHTS = ("model*.safetensors", "model*.safetensors.index.json")
_PICKLED_WEIGHTS = ("pytorch_model*.bin", "pytorch_model*.bin.index.json")
_SHOWN = 4  # names of parameters in a message
# What transformers is known to raise on folders that it cannot make sense of.
_LOADING_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    ImportError,
    pickle.UnpicklingError,
    safetensors.SafetensorError,
    StrictDataclassError,
)


class HuggingFaceModel:
    """A ``TeacherModel`` over a transformers model for semantic segmentation. ``open_hugging_face`` makes it.

    Its logits come as the model gives them, often at a quarter of the picture's size.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        options: OpenOptions,
        *,
        classes: tuple[str, ...] | None,
        digest: str,
        name: str,
    ) -> None:
        self.classes = classes
        self.size = preprocessing.size
        self.digest = digest
        self.network = put_to_sleep(network)
        self._preprocessing = preprocessing
        self._autocast = options.autocast
        self._name = name

    def __call__(self, images: Tensor) -> Tensor:
        inputs = normalise(images, self._preprocessing.normalisation)
        if self._preprocessing.flipped:
            inputs = inputs.flip(1)
        try:
            with torch.no_grad():
                if self._autocast is None:
                    return self.network(pixel_values=inputs).logits.float()
                with self._autocast():
                    return self.network(pixel_values=inputs).logits.float()
        except ValueError as error:  # how transformers refuses a size
            height, width = images.shape[2:]
            raise SnowmeltError(
                f"{self._name}: does not take pictures of {height} x {width} ({_one_line(error)}); "
                "set teacher.image_size to what it takes",
                code="teacher-size",
            ) from error

    def describe(self) -> str:
        size = f"{self.size[0]} x {self.size[1]}" if self.size else "any size"
        return f"{self._name} (Hugging Face {type(self.network).__name__}, {size}; {say_outputs('logits')})"


def open_hugging_face(target: str, options: OpenOptions) -> HuggingFaceModel:
    """A model from a folder, or by its name on the hub (``org/name``), in eval mode for good, in float32.

    A copy in the hub's cache is used as it is. Weights are read from safetensors, or from a pickle that holds nothing
    but data; code that comes with a model is never run. Normalisation, order of colours and size are those of its
    image processor; ``options.normalisation`` and ``options.size`` go before them. Where there is no processor,
    ImageNet's normalisation.

    Errors: SnowmeltError if transformers is not installed, for a folder that is incomplete or damaged, a model that is
    not for semantic segmentation, weights that miss something, a name that can be found neither here nor on the hub.
    """
    try:
        import transformers
    except ImportError as error:
        raise SnowmeltError(
            f"{target}: Hugging Face teachers need the package transformers: {_INSTALL}", code="extra-missing"
        ) from error
    if options.outputs == "probabilities":
        raise SnowmeltError(
            f"{target}: a Hugging Face model gives logits; remove teacher.outputs: probabilities",
            code="teacher-outputs",
        )
    folder = Path(target) if Path(target).is_dir() else _from_hub(target)
    config = _read_config(folder)
    weights, safe = _find_weights(folder)
    with _quiet(transformers):
        _check_task(config["model_type"], folder)
        preprocessing = read_preprocessing(folder, transformers, options)
        if options.size is not None:
            preprocessing = replace(preprocessing, size=(options.size, options.size))
        network = _load(folder, transformers, safe, options)
    normalisation = preprocessing.normalisation
    facts = ("hf", normalisation.mean, normalisation.std, preprocessing.flipped, preprocessing.size)
    return HuggingFaceModel(
        network.to(options.device),
        preprocessing,
        options,
        classes=_class_names(config),
        digest=digest_files([(path.name, path) for path in (folder / CONFIG, *weights)], *facts),
        name=target,
    )


def _from_hub(name: str) -> Path:
    """The folder of the hub's cache that holds a model, filled from the hub where need be."""
    if not _HUB_NAME.fullmatch(name):
        raise SnowmeltError(
            f"{name}: there is no such folder, and a model on the hub has a name like org/name", code="file-missing"
        )
    try:
        return _checked(Path(_snapshot(name, (CONFIG, *PREPROCESSOR_FILES, *_SAFE_WEIGHTS), local=True)))
    except (OSError, HFValidationError, SnowmeltError):
        pass  # not in the cache, or only a part of it
    if not hub_is_reachable():
        raise SnowmeltError(
            f"{name}: there is no such folder, the local cache has no such model and the hub cannot be reached; go "
            "online or give a folder",
            code="hub-unreachable",
        )
    try:
        folder = Path(_snapshot(name, (CONFIG, *PREPROCESSOR_FILES, *_SAFE_WEIGHTS), local=False))
        if not any(folder.glob(_SAFE_WEIGHTS[0])):
            folder = Path(_snapshot(name, (CONFIG, *PREPROCESSOR_FILES, *_PICKLED_WEIGHTS), local=False))
    except (OSError, HFValidationError) as error:
        raise SnowmeltError(
            f"{name}: cannot be fetched from the hub: {_one_line(error)}", code="hub-unreachable"
        ) from error
    return folder


def _snapshot(name: str, patterns: tuple[str, ...], *, local: bool) -> str:
    return huggingface_hub.snapshot_download(name, allow_patterns=list(patterns), local_files_only=local)


def _checked(folder: Path) -> Path:
    _read_config(folder)
    _find_weights(folder)
    return folder


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise SnowmeltError(f"{folder}: holds no {CONFIG}, so it is no Hugging Face model", code="teacher-unreadable")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SnowmeltError(
            f"{path}: cannot be read as JSON ({_one_line(error)})", code="teacher-unreadable"
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise SnowmeltError(f"{path}: names no model_type, so it is no Hugging Face model", code="teacher-unreadable")
    if "auto_map" in config:
        raise SnowmeltError(
            f"{path}: this model comes with code of its own (auto_map), which is never run; export it to ONNX instead",
            code="weights-unsafe",
        )
    return config


def _find_weights(folder: Path) -> tuple[list[Path], bool]:
    """The weight files, and whether they are safetensors."""
    for patterns, safe in ((_SAFE_WEIGHTS, True), (_PICKLED_WEIGHTS, False)):
        found = sorted(path for pattern in patterns for path in folder.glob(pattern))
        if found:
            return found, safe
    raise SnowmeltError(
        f"{folder}: holds no weights (model.safetensors or pytorch_model.bin)", code="teacher-unreadable"
    )


def _load(folder: Path, transformers: Any, safe: bool, options: OpenOptions) -> nn.Module:
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if getattr(config, "use_pretrained_backbone", False):
            config.use_pretrained_backbone = False  # the weights are here; no others need fetching
        with torch.random.fork_rng(devices=[]):  # random weights are drawn first
            network, report = transformers.AutoModelForSemanticSegmentation.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=safe,
                weights_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # to hear which; they are refused below
                dtype=torch.float32,
            )
    except _LOADING_ERRORS as error:
        raise SnowmeltError(
            f"{folder}: transformers cannot load it: {_one_line(error)}", code="teacher-unreadable"
        ) from error
    misshapen = [
        f"{name} {tuple(found)} instead of {tuple(wanted)}" for name, found, wanted in report["mismatched_keys"]
    ]
    for what, names in (("lack", sorted(report["missing_keys"])), ("hold in another shape", sorted(misshapen))):
        if names:
            raise SnowmeltError(
                f"{folder}: its weights {what} {_some(names)}, which {type(network).__name__} needs; give a folder "
                "that was saved from a trained segmentation model",
                code="weights-keys",
            )
    if report["unexpected_keys"]:
        unexpected = sorted(report["unexpected_keys"])
        options.say(f"{folder}: {_some(unexpected)} in its weights have no place in {type(network).__name__}")
    refuse_flaws(network, network.state_dict(), str(folder))
    return network


def _check_task(model_type: str, folder: Path) -> None:
    from transformers.models.auto import modeling_auto

    if model_type in modeling_auto.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES:
        return
    known = ", ".join(modeling_auto.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES)
    if model_type in modeling_auto.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES:
        raise SnowmeltError(
            f"{folder}: {model_type} answers with masks of objects instead of logits of every pixel; give a model for "
            f"semantic segmentation ({known}), or its answers as maps:DIR",
            code="teacher-unsuitable",
        )
    raise SnowmeltError(
        f"{folder}: {model_type} is no model for semantic segmentation; there are: {known}", code="teacher-unsuitable"
    )


def _class_names(config: dict[str, Any]) -> tuple[str, ...] | None:
    """``id2label`` in the order of its ids; None where it says nothing, as the default LABEL_0, LABEL_1 does."""
    labels = config.get("id2label")
    if not isinstance(labels, dict) or len(labels) < 2:
        return None
    names = tuple(str(labels.get(str(index), "")) for index in range(len(labels)))
    told = all(names) and not all(name == f"LABEL_{index}" for index, name in enumerate(names))
    return names if told else None


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without transformers' reports, bars and warnings: what matters in them is said in our words."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
