"""Candidates are built without memory and given up early, and nobody else's modules notice."""

from __future__ import annotations

import threading

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn
from torch.nn.modules import module as internals

from snowmelt.models import build_network
from snowmelt.models.encoder_search import (
    _build_while_known,
    _DoesNotFit,
    _watch_weights,
    build_without_memory,
    find_encoders,
    shapes_of,
)


def encoder_shapes(name: str, depth: int = 5) -> dict[str, tuple[int, ...]]:
    encoder = build_without_memory(lambda: smp.encoders.get_encoder(name, depth=depth, weights=None))
    return shapes_of(encoder.state_dict())


def test_smps_own_encoders_are_told_apart() -> None:
    for name in ("resnet34", "densenet121", "timm-skresnet18", "timm-tf_efficientnet_lite0", "se_resnet50"):
        assert find_encoders(encoder_shapes(name), 5).fits == (name,)


def test_a_shallower_encoder_fits_at_its_own_depth_alone() -> None:
    shapes = encoder_shapes("tu-convnext_atto", 3)
    assert find_encoders(shapes, 3).fits == ("tu-convnext_atto",)
    assert find_encoders(shapes, 5).fits == ()


def test_one_key_more_or_less_is_another_encoder() -> None:
    shapes = encoder_shapes("resnet18")
    assert find_encoders({**shapes, "more.weight": (3,)}, 5).fits == ()
    del shapes["layer4.1.bn2.bias"]
    search = find_encoders(shapes, 5)
    assert search.fits == ()
    assert search.closest[0].startswith("resnet")


def test_a_larger_encoder_is_given_up_long_before_its_end() -> None:
    shapes = encoder_shapes("resnet18")
    built, known = _build_while_known("densenet161", 5, shapes)
    assert built is None
    assert known < 10
    built, known = _build_while_known("resnet18", 5, shapes)
    assert built is not None and known == sum(len(shape) > 1 for shape in shapes.values())


def test_an_encoder_without_memory_has_the_shapes_of_a_real_one() -> None:
    for name in ("resnet18", "mit_b0"):  # the second cannot be built without numbers
        real = build_network("unet", name).encoder.state_dict()
        assert encoder_shapes(name) == shapes_of(real)
    assert next(build_without_memory(lambda: nn.Linear(2, 2)).parameters()).is_meta


def test_an_error_that_has_nothing_to_do_with_memory_passes_through() -> None:
    def fail() -> nn.Module:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        build_without_memory(fail)


def test_the_random_state_stays() -> None:
    before = torch.get_rng_state()
    find_encoders(encoder_shapes("mit_b0"), 5)
    assert torch.equal(torch.get_rng_state(), before)


def test_other_threads_build_what_they_like_and_the_hook_goes() -> None:
    failed: list[BaseException] = []

    def build() -> None:
        try:
            for _ in range(9):
                nn.Linear(5, 7)
        except _DoesNotFit as error:
            failed.append(error)

    with _watch_weights([(1, 1), (1, 1)]):
        thread = threading.Thread(target=build)
        thread.start()
        thread.join()
    assert not failed
    with pytest.raises(_DoesNotFit), _watch_weights([(1, 1), (1, 1)]) as counts:
        nn.Linear(1, 1)
        for _ in range(9):
            nn.Linear(5, 7)
    assert counts == {"known": 1, "strange": 5}
    assert not internals._global_parameter_registration_hooks
    for _ in range(9):
        nn.Linear(5, 7)
