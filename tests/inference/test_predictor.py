"""A stream of pictures: batches, order, mirrored views, and networks that answer wrongly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from toy_networks import convolving, picture, predict_one

from snowmelt.errors import SnowmeltError
from snowmelt.inference import Fit, Native, Picture, Predictor, Tiles, Whole
from snowmelt.inference import predictor as predictor_module

SIZES = [(40, 70), (64, 64), (97, 131), (20, 20), (64, 64), (50, 128), (128, 50)]
FITS: list[Fit] = [Whole((64, 64)), Native(32), Tiles((64, 64))]


@pytest.mark.parametrize("fit", FITS, ids=lambda fit: type(fit).__name__)
@pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
def test_batches_change_nothing_and_the_order_stays(fit: Fit, batch_size: int) -> None:
    pictures = [Picture(picture(*size, seed=index), index) for index, size in enumerate(SIZES)]
    network = convolving()
    found = list(Predictor(network, 3, fit, batch_size=batch_size, flip=True).predict(pictures))
    assert [prediction.picture.key for prediction in found] == list(range(len(SIZES)))
    for prediction, given in zip(found, pictures, strict=True):
        assert prediction.mask.shape == given.image.shape[:2]
        assert prediction.probabilities is None
        alone = predict_one(given.image, network, fit, flip=True, batch_size=1)
        assert (prediction.mask == alone.mask).mean() > 0.999  # a convolution of many may round otherwise


def test_pieces_of_one_shape_share_a_batch_across_pictures() -> None:
    shapes: list[tuple[int, ...]] = []
    network = convolving()

    def ask(images: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(images.shape))
        return network(images)

    pictures = [Picture(picture(*size)) for size in [(64, 64), (64, 64), (64, 96), (64, 96), (64, 64)]]
    list(Predictor(ask, 3, Native(32), batch_size=4).predict(pictures))
    assert shapes == [(2, 3, 64, 64), (2, 3, 64, 96), (1, 3, 64, 64)]
    shapes.clear()
    list(Predictor(ask, 3, Whole((32, 32)), batch_size=4).predict(pictures))
    assert shapes == [(4, 3, 32, 32), (1, 3, 32, 32)]


@pytest.mark.parametrize("most", [10, 3 * 64 * 64])
def test_few_pictures_are_held(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the batch, they wait only until their pixels are many."""
    monkeypatch.setattr(predictor_module, "MOST_PIXELS", most)
    taken = given = 0

    def pictures() -> Iterator[Picture]:
        nonlocal taken
        for _ in range(12):
            taken += 1
            yield Picture(picture(64, 64))

    for _ in Predictor(convolving(), 3, Whole((32, 32)), batch_size=100).predict(pictures()):
        given += 1
        assert taken - given <= most / 64 / 64 + 1
    assert given == 12


@pytest.mark.parametrize("fit", FITS, ids=lambda fit: type(fit).__name__)
@pytest.mark.parametrize("size", [(64, 64), (97, 131), (130, 40)])
def test_flip_changes_nothing_for_a_network_that_mirroring_commutes_with(fit: Fit, size: tuple[int, int]) -> None:
    network, image = convolving(symmetric=True), picture(*size)
    plain, flipped = (predict_one(image, network, fit, flip=flip).probabilities for flip in (False, True))
    assert plain is not None and flipped is not None
    inside = np.s_[:, :, 3:-3]  # at its left edge a picture meets zeros and at its right edge the padding
    np.testing.assert_allclose(flipped[inside].astype(float), plain[inside].astype(float), atol=0.02)
    assert (np.abs(flipped[inside].astype(float) - plain[inside]) < 2e-3).mean() > 0.97


@pytest.mark.parametrize("fit", [Native(1), Tiles((64, 64)), Whole((64, 64))], ids=lambda fit: type(fit).__name__)
@pytest.mark.parametrize("size", [(64, 64), (97, 131), (130, 40)])
def test_with_flip_a_mirrored_picture_gives_the_mirrored_answer(fit: Fit, size: tuple[int, int]) -> None:
    network, image = convolving(), picture(*size)
    straight, mirrored = (predict_one(each, network, fit, flip=True) for each in (image, image[:, ::-1].copy()))
    assert straight.probabilities is not None and mirrored.probabilities is not None
    differences = np.abs(mirrored.probabilities[..., ::-1].astype(float) - straight.probabilities)
    assert differences.max() < (0.02 if isinstance(fit, Whole) else 2e-3)  # a grey level where resizing rounds
    without = predict_one(image[:, ::-1].copy(), network, fit).probabilities
    assert without is not None and np.abs(without[..., ::-1].astype(float) - straight.probabilities).max() > 0.1


def test_flip_averages_probabilities() -> None:
    network, image = convolving(channels=1), picture(40, 64)
    both = predict_one(image, network, Native(1), channels=1, flip=True).probabilities
    first, second = (
        predict_one(each, network, Native(1), channels=1).probabilities for each in (image, image[:, ::-1].copy())
    )
    assert both is not None and first is not None and second is not None
    np.testing.assert_allclose(both, (first.astype(float) + second[..., ::-1]) / 2, atol=1e-3)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (convolving(channels=2), "shape .*expected"),
        (lambda images: convolving()(images)[..., ::2], "shape"),
        (lambda images: convolving()(images) * torch.nan, "not finite"),
    ],
)
def test_a_wrong_answer_is_refused(network: predictor_module.Network, words: str) -> None:
    with pytest.raises(SnowmeltError, match=words):
        predict_one(picture(32, 32), network, Whole((32, 32)))


def test_nothing_in_nothing_out() -> None:
    assert list(Predictor(convolving(), 3, Native()).predict([])) == []
    with pytest.raises(SnowmeltError, match="batch size 0"):
        Predictor(convolving(), 3, Native(), batch_size=0)
