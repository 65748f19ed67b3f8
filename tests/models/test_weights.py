"""Encoder weights from files under every name they are published with, and from a hub that may not be there."""

from __future__ import annotations

from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import Tensor, nn

from snowmelt.errors import SnowmeltError
from snowmelt.models import WeightsReport, build_network, choose_weights, load_encoder_weights, save_weights

UNIVERSAL = "tu-mobilenetv2_050"


def network(encoder: str = UNIVERSAL, depth: int = 5, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_network("unet", encoder, encoder_depth=depth, decoder_channels=(16, 8, 8, 8, 8)[:depth])


def clones(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in state.items()}


def assert_same_features(a: nn.Module, b: nn.Module, levels: int = 6) -> None:
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for x, y in zip(a.encoder.eval()(images)[:levels], b.encoder.eval()(images)[:levels], strict=True):
            assert torch.equal(x, y)


@pytest.mark.parametrize("prefix", ["", "model.", "encoder.model.", "module.encoder.model."])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_prefixes_and_formats(tmp_path: Path, prefix: str, suffix: str) -> None:
    source, target = network(seed=1), network(seed=2)
    state = {f"{prefix}{key.removeprefix('model.')}": t for key, t in clones(source.encoder.state_dict()).items()}
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    decoder = clones(target.decoder.state_dict())
    assert load_encoder_weights(target, UNIVERSAL, str(path)) == WeightsReport(str(path), True, None)
    assert_same_features(source, target)
    assert all(torch.equal(t, decoder[key]) for key, t in target.decoder.state_dict().items())


def test_a_file_of_half_precision_loads_as_float32(tmp_path: Path) -> None:
    source, target = network(seed=1), network(seed=2)
    state = {k: t.half() if t.ndim > 1 else t for k, t in clones(source.encoder.state_dict()).items()}
    save_file(state, tmp_path / "w.safetensors")
    load_encoder_weights(target, UNIVERSAL, str(tmp_path / "w.safetensors"))
    weight = target.encoder.model.conv_stem.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, source.encoder.model.conv_stem.weight.half().float())


@pytest.mark.parametrize(("name", "encoder"), [("mobilenetv2_050", UNIVERSAL), ("convnext_atto", "tu-convnext_atto")])
def test_a_whole_timm_classifier_fits_its_encoder(tmp_path: Path, name: str, encoder: str) -> None:
    """With head, and with ``stages.0`` where the features-only network says ``stages_0``."""
    torch.manual_seed(1)
    classifier = timm.create_model(name)
    save_file(clones(classifier.state_dict()), tmp_path / "w.safetensors")
    model = network(encoder)
    assert load_encoder_weights(model, encoder, str(tmp_path / "w.safetensors")).warning is None
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = classifier.eval().forward_intermediates(images, intermediates_only=True)
        assert torch.equal(model.encoder.eval()(images)[-1], expected[-1])


def test_the_reference_encoder_takes_timm_names(tmp_path: Path) -> None:
    source, target = network("timm-efficientnet-b0", seed=1), network("timm-efficientnet-b0", seed=2)
    state = {k: t for k, t in clones(source.encoder.state_dict()).items() if not k.startswith(("conv_head", "bn2"))}
    state |= {"classifier.weight": torch.zeros(10, 1280), "classifier.bias": torch.zeros(10)}
    state = {k: t for k, t in state.items() if not k.endswith("num_batches_tracked")}
    save_file(state, tmp_path / "w.safetensors")
    assert load_encoder_weights(target, "timm-efficientnet-b0", str(tmp_path / "w.safetensors")).warning is None
    assert_same_features(source, target)


def test_weights_of_a_whole_network_and_a_shallower_encoder(tmp_path: Path) -> None:
    source, target = network(seed=1), network(depth=3, seed=2)
    save_weights(tmp_path / "best.safetensors", source, {})
    assert load_encoder_weights(target, UNIVERSAL, str(tmp_path / "best.safetensors")).warning is None
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(source.encoder.eval()(images)[3], target.encoder.eval()(images)[3])


def test_everything_that_does_not_fit_is_named_and_nothing_is_loaded(tmp_path: Path) -> None:
    state = clones(network(seed=1).encoder.state_dict())
    del state["model.blocks.6.0.bn3.running_var"]
    del state["model.conv_stem.weight"]
    state["model.bn1.weight"] = torch.zeros(7)
    state["stranger.weight"] = torch.zeros(1)
    save_file(state, tmp_path / "w.safetensors")
    target = network(seed=2)
    before = clones(target.state_dict())
    with pytest.raises(SnowmeltError, match=r"w\.safetensors does not fit the encoder") as caught:
        load_encoder_weights(target, UNIVERSAL, str(tmp_path / "w.safetensors"))
    message = str(caught.value)
    assert "2 missing: model.conv_stem.weight, model.blocks.6.0.bn3.running_var" in message
    assert "1 of another shape: model.bn1.weight (7,) for (16,)" in message
    assert "1 unexpected: stranger.weight" in message
    assert "\n" not in message
    assert all(torch.equal(t, before[k]) for k, t in target.state_dict().items())


def test_one_missing_key_is_enough_to_refuse(tmp_path: Path) -> None:
    state = clones(network(seed=1).encoder.state_dict())
    del state["model.bn1.running_mean"]
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(SnowmeltError, match=r"1 missing: model\.bn1\.running_mean$"):
        load_encoder_weights(network(), UNIVERSAL, str(tmp_path / "w.safetensors"))


def test_keys_without_use_are_named_in_a_warning(tmp_path: Path) -> None:
    state = clones(network(seed=1).encoder.state_dict()) | {"stranger.weight": torch.zeros(1)}
    save_file(state, tmp_path / "w.safetensors")
    report = load_encoder_weights(network(), UNIVERSAL, str(tmp_path / "w.safetensors"))
    assert report.pretrained and report.warning is not None and "stranger.weight" in report.warning


def test_weights_of_another_encoder_give_a_short_message(tmp_path: Path) -> None:
    save_file(clones(network("resnet18").encoder.state_dict()), tmp_path / "w.safetensors")
    with pytest.raises(SnowmeltError, match=r"missing: .* and \d+ more"):
        load_encoder_weights(network(), UNIVERSAL, str(tmp_path / "w.safetensors"))


def test_sources_without_a_file() -> None:
    model = network()
    before = clones(model.state_dict())
    assert load_encoder_weights(model, UNIVERSAL, "none") == WeightsReport("none", False, None)
    with pytest.raises(SnowmeltError, match="did you mean 'imagenet'"):
        load_encoder_weights(model, UNIVERSAL, "imagnet")
    with pytest.raises(SnowmeltError, match=r"use auto, imagenet, none or a file ending in \.safetensors"):
        load_encoder_weights(model, UNIVERSAL, "qqq")
    with pytest.raises(SnowmeltError, match=r"there is no weight file .*w\.pth"):
        load_encoder_weights(model, UNIVERSAL, "w.pth")
    assert all(torch.equal(t, before[k]) for k, t in model.state_dict().items())


BROKEN = {
    "model.conv_stem.weight": ("NaN", lambda tensor: tensor.view(-1)[3].fill_(float("nan"))),
    "model.bn1.running_var": ("all variances zero", lambda tensor: tensor.zero_()),
    "model.blocks.6.0.conv_pwl.weight": ("zero variance", lambda tensor: tensor.fill_(0.25)),
}


def broken_state(seed: int = 1) -> dict[str, Tensor]:
    state = clones(network(seed=seed).encoder.state_dict())
    for key, (_, spoil) in BROKEN.items():
        spoil(state[key])
    return state


def test_broken_weights_are_refused_by_name_and_nothing_is_loaded(tmp_path: Path) -> None:
    save_file(broken_state(), tmp_path / "w.safetensors")
    target = network(seed=2)
    before = clones(target.state_dict())
    with pytest.raises(SnowmeltError, match=r"w\.safetensors: 3 broken: ") as caught:
        load_encoder_weights(target, UNIVERSAL, str(tmp_path / "w.safetensors"))
    assert all(f"{key} ({what})" in str(caught.value) for key, (what, _) in BROKEN.items())
    assert all(torch.equal(t, before[k]) for k, t in target.state_dict().items())


def test_a_block_that_starts_as_an_identity_and_a_classifier_without_use_are_sound(tmp_path: Path) -> None:
    """Norms of weight 0, as published files have them, and what the encoder does not read."""
    target = network("timm-efficientnet-b0", seed=2)
    state = clones(network("timm-efficientnet-b0", seed=1).encoder.state_dict())
    state["blocks.1.1.bn3.weight"].zero_()
    state["blocks.1.1.bn3.bias"].zero_()
    state["conv_head.weight"].zero_()
    save_file(state, tmp_path / "w.safetensors")
    load_encoder_weights(target, "timm-efficientnet-b0", str(tmp_path / "w.safetensors"))
    assert not target.encoder.state_dict()["blocks.1.1.bn3.weight"].any()


# The hub: HF_HUB_OFFLINE is set for all tests, so what is found is found in a cache made here.


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def test_offline_imagenet_is_an_error_and_auto_a_warning(empty_cache: Path) -> None:
    for encoder in ("timm-efficientnet-b0", UNIVERSAL):
        model = network(encoder)
        before = clones(model.state_dict())
        with pytest.raises(SnowmeltError, match="the hub cannot be reached"):
            load_encoder_weights(model, encoder, "imagenet")
        report = load_encoder_weights(model, encoder)
        assert (report.source, report.pretrained) == ("none", False)
        assert report.warning is not None and "starts from random weights" in report.warning
        assert all(torch.equal(t, before[k]) for k, t in model.state_dict().items())


def test_encoders_that_have_no_imagenet_weights(empty_cache: Path) -> None:
    model = network("resnet18")
    with pytest.raises(
        SnowmeltError, match=r"no ImageNet weights of 'timm-efficientnet-l2' \(there are: noisy-student"
    ):
        load_encoder_weights(model, "timm-efficientnet-l2", "imagenet")
    with pytest.raises(SnowmeltError, match="no ImageNet weights of 'tu-efficientnet_b8'; give a file"):
        load_encoder_weights(model, "tu-efficientnet_b8", "imagenet")


def put_in_cache(cache: Path, repository: str, revision: str, state: dict[str, Tensor]) -> None:
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(revision)
    (snapshot / "config.json").write_text("{}")
    save_file(state, snapshot / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("source", ["auto", "imagenet"])
@pytest.mark.parametrize("depth", [5, 3])
def test_cached_weights_load_through_smp_and_timm(empty_cache: Path, source: str, depth: int) -> None:
    settings = smp.encoders.encoders["mobilenet_v2"]["pretrained_settings"]["imagenet"]
    wanted = network("mobilenet_v2", seed=5)
    put_in_cache(empty_cache, settings["repo_id"], settings["revision"], clones(wanted.encoder.state_dict()))
    model = network("mobilenet_v2", depth)
    random_state = torch.get_rng_state()
    assert load_encoder_weights(model, "mobilenet_v2", source) == WeightsReport("imagenet", True, None)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(model.encoder.features[6].conv[2].weight, wanted.encoder.features[6].conv[2].weight)

    name = "mobilenetv2_050"
    torch.manual_seed(6)
    classifier = timm.create_model(name)
    put_in_cache(empty_cache, timm.get_pretrained_cfg(name).hf_hub_id, "0" * 40, clones(classifier.state_dict()))
    model = network(UNIVERSAL, depth)
    assert load_encoder_weights(model, UNIVERSAL, source) == WeightsReport("imagenet", True, None)
    assert torch.equal(model.encoder.model.conv_stem.weight, classifier.conv_stem.weight)


@pytest.mark.parametrize("source", ["auto", "imagenet"])
def test_broken_weights_of_the_hub_are_refused_and_not_exchanged_for_random_ones(
    empty_cache: Path, source: str
) -> None:
    name = "mobilenetv2_050"
    classifier = timm.create_model(name)
    with torch.no_grad():
        classifier.blocks[1][0].conv_pw.weight[0] = float("inf")
    put_in_cache(empty_cache, timm.get_pretrained_cfg(name).hf_hub_id, "0" * 40, clones(classifier.state_dict()))
    wanted = r"ImageNet weights of 'tu-mobilenetv2_050': 1 broken: model\.blocks\.1\.0\.conv_pw\.weight \(infinite\)"
    with pytest.raises(SnowmeltError, match=wanted):
        load_encoder_weights(network(), UNIVERSAL, source)


def test_a_damaged_cache_is_a_clear_error(empty_cache: Path) -> None:
    settings = smp.encoders.encoders["mobilenet_v2"]["pretrained_settings"]["imagenet"]
    put_in_cache(empty_cache, settings["repo_id"], settings["revision"], {"a": torch.zeros(1)})
    with pytest.raises(SnowmeltError, match="loading ImageNet weights of 'mobilenet_v2' failed"):
        load_encoder_weights(network("mobilenet_v2"), "mobilenet_v2", "imagenet")


def test_what_auto_means_is_decided_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snowmelt.models.hub.hub_is_reachable", lambda: False)
    source, why = choose_weights("timm-efficientnet-b0")
    assert source == "none" and why is not None and "cannot be reached" in why
    monkeypatch.setattr("snowmelt.models.hub.hub_is_reachable", lambda: True)
    assert choose_weights("timm-efficientnet-b0") == ("imagenet", None)
    source, why = choose_weights("tu-mobilenetv3_small_050d")
    assert source == "none" and why is not None
