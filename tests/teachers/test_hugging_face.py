"""A Hugging Face model answers as transformers itself lets it answer, and nothing that comes with it is run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from snowmelt.errors import SnowmeltError
from snowmelt.models import Normalisation, normalise
from snowmelt.teachers import hugging_face
from snowmelt.teachers.hugging_face import HuggingFaceModel, open_hugging_face
from snowmelt.teachers.options import OpenOptions
from snowmelt.teachers.protocol import StoredMaps, TeacherModel

NAMES = ("wall", "floor", "lamp")


def pictures(size: tuple[int, int] = (64, 48)) -> Tensor:
    return torch.randint(0, 256, (2, 3, *size), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """A folder with a tiny SegFormer of random weights, and the model that was saved there."""
    import transformers

    config = transformers.SegformerConfig(
        hidden_sizes=[4, 4, 8, 8],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=8,
        id2label=dict(enumerate(NAMES)),
        label2id={name: index for index, name in enumerate(NAMES)},
    )
    torch.manual_seed(0)
    model = transformers.SegformerForSemanticSegmentation(config).eval()
    nn.init.normal_(model.decode_head.classifier.weight, std=1e4)  # random ones are all but zero
    folder = tmp_path_factory.mktemp("segformer")
    model.save_pretrained(folder)
    return folder, model


@pytest.fixture
def folder(saved: tuple[Path, nn.Module], tmp_path: Path) -> Path:
    """A copy to do as one likes with."""
    return Path(shutil.copytree(saved[0], tmp_path / "copy"))


def open_(folder: Path | str, **options: Any) -> HuggingFaceModel:
    return open_hugging_face(str(folder), OpenOptions(NAMES, **options))


def edit(folder: Path, name: str = "config.json", **entries: Any) -> None:
    path = folder / name
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, **entries}))


def refusal(folder: Path | str, **options: Any) -> str:
    with pytest.raises(SnowmeltError) as error:
        open_(folder, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_logits_are_those_of_the_model(saved: tuple[Path, nn.Module]) -> None:
    folder, model = saved
    said: list[str] = []
    before = torch.random.get_rng_state()
    teacher = open_(folder, say=said.append)
    assert torch.equal(torch.random.get_rng_state(), before)
    found = teacher(pictures())
    with torch.no_grad():
        wanted = model(normalise(pictures(), Normalisation())).logits
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert wanted.std() > 1
    assert found.shape == (2, 3, 16, 12)  # a quarter, as the model gives it
    assert teacher.classes == NAMES
    assert teacher.size is None
    assert said == [f"{folder}: has no preprocessor_config.json; ImageNet's mean and deviation are taken"]
    assert teacher.describe() == (
        f"{folder} (Hugging Face SegformerForSemanticSegmentation, any size; outputs: logits)"
    )
    assert isinstance(teacher, TeacherModel)
    assert not isinstance(teacher, StoredMaps)


def test_it_sleeps_for_good(saved: tuple[Path, nn.Module]) -> None:
    teacher = open_(saved[0])
    teacher.network.train()
    assert not any(module.training for module in teacher.network.modules())
    assert not any(parameter.requires_grad for parameter in teacher.network.parameters())
    assert not teacher(pictures()).requires_grad


def test_broken_weights_are_refused_by_name(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    state["decode_head.classifier.weight"].fill_(1.0)
    state["decode_head.batch_norm.running_var"][0] = float("nan")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    message = refusal(folder)
    assert "2 broken" in message and "decode_head.classifier.weight (zero variance)" in message
    assert "decode_head.batch_norm.running_var (NaN)" in message


def test_precision(folder: Path) -> None:
    """Weights stored in half precision are computed in full, unless the engine's precision says otherwise."""
    save_file(
        {key: value.half() for key, value in load_file(folder / "model.safetensors").items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    edit(folder, dtype="float16")
    teacher = open_(folder)
    assert {parameter.dtype for parameter in teacher.network.parameters()} == {torch.float32}
    halved = open_(folder, autocast=lambda: torch.autocast("cpu", torch.bfloat16))
    assert halved(pictures()).dtype == torch.float32
    assert not torch.equal(halved(pictures()), teacher(pictures()))
    both = torch.stack([halved(pictures()).flatten(), teacher(pictures()).flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.98


PROCESSORS: dict[str, dict[str, Any]] = {
    "segformer": {"image_processor_type": "SegformerImageProcessor", "image_mean": [0.1, 0.2, 0.3]},
    "defaults of its class": {"image_processor_type": "BeitImageProcessor"},
    "no rescaling": {
        "image_processor_type": "SegformerImageProcessor",
        "do_rescale": False,
        "image_mean": [120.0, 110.0, 100.0],
        "image_std": [60.0, 50.0, 40.0],
    },
    "another factor": {"image_processor_type": "SegformerImageProcessor", "rescale_factor": 1 / 127.5},
    "no normalisation": {"image_processor_type": "SegformerImageProcessor", "do_normalize": False},
    "blue first": {"feature_extractor_type": "MobileViTFeatureExtractor", "do_flip_channel_order": True},
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_pictures_are_prepared_as_by_its_processor(folder: Path, name: str) -> None:
    import transformers

    edit(folder, "preprocessor_config.json", **PROCESSORS[name], do_resize=False, do_center_crop=False)
    teacher = open_(folder)
    seen: list[Tensor] = []
    teacher.network.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["pixel_values"]), with_kwargs=True
    )
    teacher(pictures())
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    wanted = processor(images=list(pictures()), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(seen[0], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("entries", "size"),
    [
        ({"size": {"height": 32, "width": 64}}, (32, 64)),
        ({"size": 32}, (32, 32)),
        ({"size": {"shortest_edge": 40}, "do_center_crop": False}, (40, 40)),
        ({"size": 32, "do_resize": False}, None),
        ({"size": 48, "do_center_crop": True, "crop_size": 32}, (32, 32)),
    ],
)
def test_the_size_that_its_processor_makes(folder: Path, entries: dict[str, Any], size: tuple[int, int] | None) -> None:
    kind = "MobileViTImageProcessor" if "crop_size" in entries or "shortest_edge" in str(entries) else "Segformer"
    edit(
        folder, "preprocessor_config.json", image_processor_type=kind.removesuffix("ImageProcessor") + "ImageProcessor"
    )
    edit(folder, "preprocessor_config.json", **entries)
    assert open_(folder).size == size
    assert open_(folder, size=96).size == (96, 96)  # what the user asks for goes before it


def test_normalisation_of_the_user_rules(folder: Path) -> None:
    edit(folder, "preprocessor_config.json", **PROCESSORS["segformer"])
    half = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    found, told = open_(folder), open_(folder, normalisation=half)
    assert not torch.equal(found(pictures()), told(pictures()))
    assert found.digest != told.digest
    with torch.no_grad():
        wanted = told.network(pixel_values=normalise(pictures(), half)).logits
    assert torch.equal(told(pictures()), wanted)


def test_names_that_say_nothing_are_no_names(folder: Path) -> None:
    edit(folder, id2label={str(index): f"LABEL_{index}" for index in range(3)})
    assert open_(folder).classes is None


def test_the_digest_is_of_content(saved: tuple[Path, nn.Module], folder: Path) -> None:
    first = open_(saved[0]).digest
    assert open_(folder).digest == first
    weights = load_file(folder / "model.safetensors")
    weights["decode_head.classifier.bias"] += 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    changed = open_(folder).digest
    edit(folder, layer_norm_eps=1e-3)
    assert len({first, changed, open_(folder).digest}) == 3


def test_weights_that_lack_something(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    extra = {**weights, "left.over": torch.zeros(1)}
    save_file(extra, folder / "model.safetensors", metadata={"format": "pt"})
    said: list[str] = []
    open_(folder, say=said.append, normalisation=Normalisation())
    assert said == [f"{folder}: left.over in its weights have no place in SegformerForSemanticSegmentation"]
    del weights["decode_head.classifier.weight"], weights["decode_head.classifier.bias"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "its weights lack decode_head.classifier.bias, decode_head.classifier.weight, which Seg" in refusal(folder)


def test_weights_of_another_shape(folder: Path) -> None:
    edit(folder, decoder_hidden_size=16)
    message = refusal(folder)
    assert "its weights hold in another shape decode_head.batch_norm.bias (8,) instead of (16,)" in message


def test_no_output_of_transformers_reaches_the_terminal(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import transformers

    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "x": torch.zeros(1)}, folder / "model.safetensors", metadata={"format": "pt"})
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    open_(folder)
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_pickled_weights_are_data_or_refused(saved: tuple[Path, nn.Module], folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(saved[1].state_dict(), folder / "pytorch_model.bin")
    assert torch.equal(open_(folder)(pictures()), open_(saved[0])(pictures()))
    canary = tmp_path / "canary"
    torch.save({**saved[1].state_dict(), "x": Canary(canary)}, folder / "pytorch_model.bin")
    assert "transformers cannot load it" in refusal(folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Canary(canary)))
    assert "transformers cannot load it" in refusal(folder)
    assert not canary.exists()
    pickle.loads((folder / "pytorch_model.bin").read_bytes())
    assert canary.exists()  # it would have sung


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_code_of_a_folder_is_never_run(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / "evil.py").write_text(f"import os; os.mkdir({str(tmp_path / 'canary')!r})\nclass Model: pass\n")
    edit(folder, "preprocessor_config.json", **PROCESSORS["segformer"])
    edit(folder, name, auto_map={"AutoModelForSemanticSegmentation": "evil.Model", "AutoImageProcessor": "evil.Model"})
    assert f"{name}: " in refusal(folder)
    assert "auto_map" in refusal(folder)
    assert not (tmp_path / "canary").exists()


def test_models_of_another_task(folder: Path) -> None:
    edit(folder, model_type="mask2former")
    assert "mask2former answers with masks of objects instead of logits of every pixel" in refusal(folder)
    edit(folder, model_type="vit")
    assert "vit is no model for semantic segmentation; there are: beit, " in refusal(folder)
    edit(folder, model_type="nonsense")
    assert "nonsense is no model for semantic segmentation" in refusal(folder)


def test_broken_folders(folder: Path, tmp_path: Path) -> None:
    assert "give logits" not in refusal(tmp_path / "none")
    config = (folder / "config.json").read_text()
    for text, reason in (("{", "cannot be read as JSON"), ("[]", "names no model_type"), ("{}", "names no model_type")):
        (folder / "config.json").write_text(text)
        assert f"config.json: {reason}" in refusal(folder)
    for entry in ({"hidden_sizes": "abc"}, {"hidden_sizes": [4]}):
        (folder / "config.json").write_text(config)
        edit(folder, **entry)
        assert "transformers cannot load it" in refusal(folder)
    (folder / "config.json").write_text(config)
    (folder / "preprocessor_config.json").write_text("{")
    assert "preprocessor_config.json: transformers cannot read it" in refusal(folder)
    (folder / "preprocessor_config.json").unlink()
    (folder / "model.safetensors").write_bytes(b"x" * 100)
    assert "transformers cannot load it" in refusal(folder)
    (folder / "model.safetensors").unlink()
    assert "holds no weights" in refusal(folder)
    (folder / "config.json").unlink()
    assert "holds no config.json" in refusal(folder)


def test_outputs_cannot_be_other_than_logits(saved: tuple[Path, nn.Module]) -> None:
    assert "gives logits; remove teacher.outputs: probabilities" in refusal(saved[0], outputs="probabilities")


def test_names_on_the_hub_without_a_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests have no network; what counts is the one line, and that it comes at once."""
    monkeypatch.setattr(hugging_face, "hub_is_reachable", lambda: False)
    assert "there is no such folder, the local cache has no such model and the hub" in refusal("nobody/nothing-here")
    assert "has a name like org/name" in refusal("segformer")
    assert "has a name like org/name" in refusal("a/b/c")


def test_a_name_on_the_hub_is_found_in_the_cache(
    saved: tuple[Path, nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []

    def download(name: str, *, allow_patterns: list[str], local_files_only: bool) -> str:
        asked.append((name, local_files_only))
        return str(saved[0])

    monkeypatch.setattr(hugging_face.huggingface_hub, "snapshot_download", download)
    teacher = open_("org/tiny")
    assert asked == [("org/tiny", True)]
    assert teacher.describe().startswith("org/tiny (Hugging Face Segformer")
    assert teacher.digest == open_(saved[0]).digest


def test_transformers_is_missing(saved: tuple[Path, nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert refusal(saved[0]).endswith('need the package transformers: pip install "snowmelt[transformers]"')
