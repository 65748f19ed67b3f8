"""The objective with all its terms: units, unlabelled pictures, weights that change, features."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.losses import (
    DISTILLATION_TERMS,
    Objective,
    channel_wise_distillation,
    cross_entropy,
    dice,
    dist_inter,
    dist_intra,
    distillation_kl,
    feature_matching,
    logit_mse,
    standardised_kl,
)

ALL = dict.fromkeys(DISTILLATION_TERMS, 1.0)
UNLABELLED, IGNORED = 254, 255


def example(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
    """Five pictures: two labelled, one unlabelled with padding, one labelled, one that is nothing but padding."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 5, 3, 4, 8, generator=generator, dtype=dtype)
    target = torch.randint(0, 3, (5, 4, 8), generator=generator).to(torch.uint8)
    target[0, 0], target[1, :, 5:] = IGNORED, IGNORED
    target[2] = UNLABELLED
    target[2, 3], target[4] = IGNORED, IGNORED
    features = [torch.randn(2, 5, 7, *size, generator=generator, dtype=dtype).unbind() for size in ((2, 4), (1, 2))]
    return student, teacher, target, [(ours, theirs) for ours, theirs in features]


def part_of(features: list[tuple[Tensor, Tensor]], part: slice) -> list[tuple[Tensor, Tensor]]:
    return [(ours[part], theirs[part]) for ours, theirs in features]


def test_each_term_is_its_function() -> None:
    student, teacher, target, features = example()
    weights = {"kl": 1.5, "logit_mse": 0.1, "cwd": 0.2, "dist_inter": 0.3, "dist_intra": 0.4, "feature": 0.5}
    terms = Objective(0.3, 2.0, 0.5, weights)(student, teacher, target, 3.0, features=features)
    labels, valid = target.clone(), target != IGNORED
    labels[2] = IGNORED
    expected = {
        "cross_entropy": cross_entropy(student, labels),
        "dice": dice(student, labels, divisor=4),  # of five pictures, one has no label
        "kl": distillation_kl(student, teacher, 3.0, valid),
        "logit_mse": logit_mse(student, teacher, valid),
        "cwd": channel_wise_distillation(student, teacher, 3.0, valid),
        "dist_inter": dist_inter(student, teacher, 3.0, valid),
        "dist_intra": dist_intra(student, teacher, 3.0, valid),
        "feature": sum(feature_matching(*pair, valid) for pair in features) / 2,
    }
    for name, value in expected.items():
        assert torch.allclose(terms[name], torch.as_tensor(value), rtol=1e-12), name
    assert list(terms) == [*list(expected)[:2], "task", *list(expected)[2:], "distill", "total"]
    distill = sum(weight * expected[name] for name, weight in weights.items())
    assert torch.allclose(terms["distill"], distill)
    assert torch.allclose(terms["total"], 0.7 * terms["task"] + 0.3 * distill)


def test_an_unlabelled_pixel_teaches_but_has_no_task() -> None:
    _, teacher, target, features = example()
    for term in ("task", "distill"):
        student = example()[0].requires_grad_()
        Objective(0.5, distillation_weights=ALL)(student, teacher, target, 2.0, features=features)[term].backward()
        moved = student.grad.abs().sum(dim=1) > 0
        assert not moved[target == IGNORED].any()
        assert moved[target == UNLABELLED].all() if term == "distill" else not moved[target == UNLABELLED].any()
        assert moved[target < UNLABELLED].all()


def test_a_batch_without_labels_has_a_task_of_zero() -> None:
    student, teacher, target, _ = example()
    target[target < UNLABELLED] = UNLABELLED
    terms = Objective(0.5)(student.requires_grad_(), teacher, target, 2.0)
    terms["total"].backward()
    assert terms["task"].item() == 0.0 and terms["kl"] > 0 and torch.isfinite(student.grad).all()


def test_a_half_labelled_picture_is_no_image_for_dice() -> None:
    student, _, target, _ = example()
    target[1, 0, 0] = UNLABELLED
    labels = target.clone()
    labels[1:3] = IGNORED
    terms = Objective(0.0)(student, None, target, 1.0)
    assert torch.allclose(terms["dice"], dice(student, labels, divisor=3))
    labels[1, 1:] = target[1, 1:]
    labels[1, 0, 1:] = target[1, 0, 1:]
    assert torch.allclose(terms["cross_entropy"], cross_entropy(student, labels))


def test_other_indices() -> None:
    student, teacher, target, _ = example()
    usual = Objective(0.5, distillation_weights={"kl": 1.0, "cwd": 1.0})(student, teacher, target, 2.0)
    other = target.long()
    other[target == UNLABELLED], other[target == IGNORED] = -2, -100
    objective = Objective(0.5, distillation_weights={"kl": 1.0, "cwd": 1.0}, ignore_index=-100, unlabelled_index=-2)
    assert all(torch.equal(value, usual[name]) for name, value in objective(student, teacher, other, 2.0).items())


CUTS = [[slice(0, 1), slice(1, 5)], [slice(0, 2), slice(2, 3), slice(3, 5)], [slice(i, i + 1) for i in range(5)]]


@pytest.mark.parametrize("parts", CUTS)
@pytest.mark.parametrize("standardise", [False, True])
def test_micro_batches_add_up_in_value_and_gradient(parts: list[slice], standardise: bool) -> None:
    student, teacher, target, features = example()
    objective = Objective(0.4, distillation_weights=ALL, standardise=standardise)
    whole = student.clone().requires_grad_()
    expected = objective(whole, teacher, target, 2.0, features=features)
    expected["total"].backward()
    counts = {
        "pixels": (target < UNLABELLED).sum(),
        "images": 4,
        "taught_pixels": (target != IGNORED).sum(),
        "taught_images": 5,
    }
    cut = student.clone().requires_grad_()
    sums = dict.fromkeys(objective.term_names(True), 0.0)
    for part in parts:
        terms = objective(cut[part], teacher[part], target[part], 2.0, features=part_of(features, part), **counts)
        terms["total"].backward()
        for name, value in terms.items():
            sums[name] += value.item()
    assert sums == pytest.approx({name: value.item() for name, value in expected.items()}, rel=1e-12)
    assert torch.allclose(cut.grad, whole.grad, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("weights", [None, {"alpha": 0.9, "ce": 0.3, "cwd": 7.0}])
@pytest.mark.parametrize("taught", [True, False])
def test_sums_over_a_set_average_to_the_terms_of_the_whole(taught: bool, weights: dict[str, float] | None) -> None:
    student, teacher, target, features = example()
    objective = Objective(0.3, 2.0, 0.5, ALL)
    expected = objective(
        student, teacher if taught else None, target, 4.0, weights=weights, features=features if taught else ()
    )
    sums: dict[str, float] = {}
    ones: dict[str, Any] = dict.fromkeys(("pixels", "images", "taught_pixels", "taught_images"), 1)
    for part in CUTS[1]:
        terms = objective(
            student[part],
            teacher[part] if taught else None,
            target[part],
            4.0,
            weights=weights,
            features=part_of(features, part) if taught else (),
            **ones,
        )
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + value.item()
    pixels, taught_pixels = int((target < UNLABELLED).sum()), int((target != IGNORED).sum())
    averaged = objective.average(sums, pixels, 4, taught_pixels, 5, weights=weights)
    assert averaged == pytest.approx({name: value.item() for name, value in expected.items()}, rel=1e-9)
    same = objective.average(sums, pixels, 4)
    if taught:
        assert same["kl"] == pytest.approx(averaged["kl"] * taught_pixels / pixels)
        assert same["cwd"] == pytest.approx(averaged["cwd"] * 5 / 4)


def test_divisors_of_the_task_serve_where_no_other_are_given() -> None:
    student, teacher, target, features = example()
    objective = Objective(0.5, distillation_weights=ALL)
    given = objective(student, teacher, target, 2.0, pixels=10, images=2, features=features)
    spelled = objective(
        student, teacher, target, 2.0, pixels=10, images=2, taught_pixels=10, taught_images=2, features=features
    )
    assert given == spelled
    own = objective(student, teacher, target, 2.0, features=features)
    assert torch.allclose(given["cwd"], own["cwd"] * 5 / 2)
    assert torch.allclose(given["feature"], own["feature"] * (target != IGNORED).sum() / 10)


def test_weights_of_a_call() -> None:
    student, teacher, target, _ = example()
    objective = Objective(0.5, distillation_weights={"kl": 1.0, "cwd": 2.0})
    plain = objective(student, teacher, target, 2.0)
    weights = {"alpha": 0.25, "ce": 0.0, "dice": 3.0, "kl": 0.5}
    terms = objective(student, teacher, target, 2.0, weights=weights)
    for name in ("cross_entropy", "dice", "kl", "cwd"):
        assert torch.equal(terms[name], plain[name])
    assert torch.allclose(terms["task"], 3 * plain["dice"])
    assert torch.allclose(terms["distill"], 0.5 * plain["kl"] + 2 * plain["cwd"])
    assert torch.allclose(terms["total"], 0.75 * terms["task"] + 0.25 * terms["distill"])
    again = objective(student, teacher, target, 2.0)  # a call's weights do not stay
    assert all(torch.equal(again[name], value) for name, value in plain.items())


@pytest.mark.parametrize("now", [0.0, 1.0])
def test_a_scheduled_term_is_always_there(now: float) -> None:
    student, teacher, target, features = example()
    objective = Objective(
        0.5, ce_weight=0.0, distillation_weights={"kl": 0.0}, scheduled=("alpha", "ce", "kl", "feature")
    )
    names = ["cross_entropy", "dice", "task", "kl", "feature", "distill", "total"]
    assert objective.term_names(True) == names
    weights = {"ce": now, "kl": now, "feature": now}
    terms = objective(student.requires_grad_(), teacher, target, 2.0, weights=weights, features=features)
    assert list(terms) == names
    assert torch.allclose(terms["distill"], now * (terms["kl"] + terms["feature"]))
    terms["total"].backward()
    assert torch.isfinite(student.grad).all()
    assert list(objective(student, teacher, target, 2.0, features=features)) == names


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"kll": 1.0}, "unknown distillation term 'kll'; did you mean 'kl'"),
        ({"cross": 1.0}, "unknown distillation term"),
        ({"alpha": 1.5}, "alpha must lie in"),
        ({"ce": -1.0}, "the weight ce must be finite"),
        ({"kl": float("inf")}, "the weight kl must be finite"),
        ({"cwd": 1.0}, "cwd is not computed.*scheduled"),
        ({"logit_mse": 1.0}, "logit_mse is not computed.*scheduled"),
        ({"dice": 1.0}, "dice is not computed.*scheduled"),
    ],
)
def test_weights_that_a_call_cannot_have(weights: dict[str, float], message: str) -> None:
    student, teacher, target, _ = example()
    objective = Objective(0.5, dice_weight=0.0, distillation_weights={"kl": 1.0, "logit_mse": 0.0})
    with pytest.raises(SnowmeltError, match=message):
        objective(student, teacher, target, 2.0, weights=weights)
    with pytest.raises(SnowmeltError, match=message):
        objective.average({}, 1, 1, weights=weights)
    objective(student, teacher, target, 2.0, weights={"cwd": 0.0, "dice": 0.0})  # it has none anyway


def test_errors_of_construction() -> None:
    with pytest.raises(SnowmeltError, match="did you mean 'cwd'"):
        Objective(0.5, scheduled=("cvd",))
    with pytest.raises(SnowmeltError, match="must differ"):
        Objective(0.5, ignore_index=254)


def test_features_are_wanted_where_they_have_a_weight() -> None:
    student, teacher, target, features = example()
    with pytest.raises(SnowmeltError, match="feature has a weight, but the call was given no features"):
        Objective(0.5, distillation_weights={"feature": 1.0})(student, teacher, target, 2.0)
    assert "feature" not in Objective(0.5)(student, teacher, target, 2.0, features=features)
    assert "feature" not in Objective(0.5, distillation_weights={"feature": 1.0})(student, None, target, 2.0)


def test_standardise_is_about_the_kl_alone() -> None:
    student, teacher, target, _ = example()
    valid = target != IGNORED
    weights = {"kl": 1.0, "logit_mse": 1.0}
    terms = Objective(0.5, distillation_weights=weights, standardise=True)(student, teacher, target, 2.0)
    assert torch.allclose(terms["kl"], standardised_kl(student, teacher, 2.0, valid))
    assert torch.equal(terms["logit_mse"], logit_mse(student, teacher, valid))


@pytest.mark.parametrize("channels", [1, 2])
def test_terms_that_need_more_classes(channels: int) -> None:
    for objective in (
        Objective(0.5, distillation_weights={"dist_inter": 1.0}),
        Objective(0.5, scheduled=("dist_inter",)),
    ):
        with pytest.raises(SnowmeltError, match=f"dist_inter needs at least 3.*{channels}: .*use dist_intra or kl"):
            objective.require(channels)
        objective.require(3)
    with pytest.raises(SnowmeltError, match=f"standardising logits needs at least 3.*{channels}: .*use the kl"):
        Objective(0.5, standardise=True).require(channels)
    Objective(0.5, standardise=True).require(3)
    rest = {name: 1.0 for name in DISTILLATION_TERMS if name != "dist_inter"}
    Objective(0.5, distillation_weights={**rest, "dist_inter": 0.0}).require(channels)


@pytest.mark.parametrize("channels", [1, 2])
def test_all_that_is_left_works_below_three_channels(channels: int) -> None:
    student, teacher, target, features = example(torch.float32)
    target = torch.where(target < UNLABELLED, target.clamp(max=1), target)
    weights = {name: 1.0 for name in DISTILLATION_TERMS if name != "dist_inter"}
    student = student[:, :channels].bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = Objective(0.5, distillation_weights=weights)(
            student, teacher[:, :channels], target, 2.0, features=features
        )
    terms["total"].backward()
    assert all(torch.isfinite(value) for value in terms.values())
    assert torch.isfinite(student.grad).all() and not student.grad[4].any()


def test_nothing_waits_for_the_device() -> None:
    """A tensor without values cannot be asked for one."""
    student, teacher, target, features = example()
    student = student.to("meta").requires_grad_()
    pairs = [(ours.to("meta"), theirs.to("meta")) for ours, theirs in features]
    objective = Objective(0.5, distillation_weights=ALL, class_weights=(1.0, 2.0, 3.0), standardise=True)
    terms = objective(student, teacher.to("meta"), target.to("meta"), 2.0, weights={"kl": 0.3}, features=pairs)
    terms["total"].backward()
    assert all(value.is_meta and value.shape == () for value in terms.values())
