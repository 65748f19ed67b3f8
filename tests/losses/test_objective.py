"""How the terms are weighted, named and divided."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from snowmelt.errors import SnowmeltError
from snowmelt.losses import DISTILLATION_TERMS, Objective, Term, cross_entropy, dice, distillation_kl, logit_mse


def example(channels: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 4, channels, 3, 5, generator=generator)
    target = torch.randint(0, 2, (4, 3, 5), generator=generator).to(torch.uint8)
    target[0, 0], target[2, :2] = 255, 255
    return student, teacher, target


@pytest.mark.parametrize("channels", [1, 3])
def test_total_is_the_weighted_sum_of_named_terms(channels: int) -> None:
    student, teacher, target = example(channels)
    weights = (1.0, 3.0) if channels == 1 else (1.0, 2.0, 3.0)
    objective = Objective(0.3, 2.0, 0.5, {"kl": 1.5, "logit_mse": 0.1}, weights)
    terms = objective(student, teacher, target, temperature=3.0)
    valid = target != 255
    assert list(terms) == ["cross_entropy", "dice", "task", "kl", "logit_mse", "distill", "total"]
    assert torch.equal(terms["cross_entropy"], cross_entropy(student, target, class_weights=weights))
    assert torch.equal(terms["dice"], dice(student, target))
    assert torch.equal(terms["kl"], distillation_kl(student, teacher, 3.0, valid))
    assert torch.equal(terms["logit_mse"], logit_mse(student, teacher, valid))
    assert torch.allclose(terms["task"], 2 * terms["cross_entropy"] + 0.5 * terms["dice"])
    assert torch.allclose(terms["distill"], 1.5 * terms["kl"] + 0.1 * terms["logit_mse"])
    assert torch.allclose(terms["total"], 0.7 * terms["task"] + 0.3 * terms["distill"])


def test_the_steady_task_is_the_task_of_constant_weights() -> None:
    terms = {"cross_entropy": 0.4, "dice": 0.7, "task": 9.0, "kl": 9.0, "total": 9.0}
    assert Objective(0.3, 2.0, 0.5).steady_task(terms) == pytest.approx(2.0 * 0.4 + 0.5 * 0.7)
    only = {name: value for name, value in terms.items() if name != "dice"}
    assert Objective(0.3, 2.0, 0.0).steady_task(only) == pytest.approx(0.8)
    assert Objective(0.3, 2.0, 0.0, scheduled={"dice", "ce"}).steady_task(terms) == pytest.approx(0.8 + 0.7)


def test_without_teacher_the_total_is_the_task() -> None:
    student, _, target = example()
    terms = Objective(0.7)(student, None, target, temperature=4.0)
    assert list(terms) == ["cross_entropy", "dice", "task", "total"]
    assert terms["total"] is terms["task"]


def test_micro_batches_of_unequal_size_add_up_in_value_and_gradient() -> None:
    student, teacher, target = example()
    objective = Objective(0.5, distillation_weights={"kl": 1.0, "logit_mse": 1.0})
    whole = student.clone().requires_grad_()
    expected = objective(whole, teacher, target, 4.0)
    expected["total"].backward()
    cut = student.clone().requires_grad_()
    pixels = (target != 255).sum()
    parts = [
        objective(cut[part], teacher[part], target[part], 4.0, pixels=pixels, images=4)
        for part in (slice(0, 1), slice(1, 4))
    ]
    for name, value in expected.items():
        assert torch.allclose(sum(part[name] for part in parts), value, atol=1e-6), name
    for part in parts:
        part["total"].backward()
    assert torch.allclose(cut.grad, whole.grad, atol=1e-7)


@pytest.mark.parametrize("taught", [True, False])
def test_sums_over_a_set_average_to_the_terms_of_the_whole(taught: bool) -> None:
    student, teacher, target = example()
    objective = Objective(0.3, 2.0, 0.5, {"kl": 1.0, "logit_mse": 0.2})
    expected = objective(student, teacher if taught else None, target, 4.0)
    sums: dict[str, float] = {}
    for part in (slice(0, 1), slice(1, 4)):
        terms = objective(student[part], teacher[part] if taught else None, target[part], 4.0, pixels=1, images=1)
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + value.item()
    averaged = objective.average(sums, pixels=int((target != 255).sum()), images=4)
    assert averaged == pytest.approx({name: value.item() for name, value in expected.items()}, rel=1e-5)
    empty = objective.average(dict.fromkeys(expected, 0.0), pixels=0, images=0)
    assert set(empty.values()) == {0.0}


def test_a_term_of_weight_zero_is_not_computed() -> None:
    student, teacher, target = example()
    terms = Objective(0.5, dice_weight=0.0, distillation_weights={"kl": 0.0, "logit_mse": 1.0})(
        student, teacher, target, 4.0
    )
    assert list(terms) == ["cross_entropy", "task", "logit_mse", "distill", "total"]


def test_a_new_term_needs_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def halves(student_logits, teacher_logits, *, temperature, valid, divisor):
        return temperature * (student_logits.sum() * 0 + 0.5)

    monkeypatch.setitem(DISTILLATION_TERMS, "halves", Term(halves))
    student, teacher, target = example()
    assert Objective(1.0, distillation_weights={"halves": 1.0})(student, teacher, target, 4.0)["total"].item() == 2.0


def test_a_nan_of_the_teacher_reaches_the_total() -> None:
    student, teacher, target = example()
    teacher[1, 0, 0, 0] = float("nan")
    assert torch.isnan(Objective(0.1)(student, teacher, target, 4.0)["total"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 1.5}, "alpha must lie in"),
        ({"alpha": 0.5, "ce_weight": -1.0}, "ce_weight must be finite"),
        ({"alpha": 0.5, "distillation_weights": {"kl": float("nan")}}, "kl must be finite"),
        ({"alpha": 0.5, "distillation_weights": {"logit_msee": 1.0}}, "did you mean 'logit_mse'"),
        ({"alpha": 0.5, "distillation_weights": {"qqq": 1.0}}, "known terms: kl, logit_mse"),
    ],
)
def test_errors(arguments: dict, message: str) -> None:
    with pytest.raises(SnowmeltError, match=message):
        Objective(**arguments)


@pytest.mark.parametrize("distills", [True, False])
@pytest.mark.parametrize("weights", [{}, {"ce_weight": 0.0}, {"dice_weight": 0.0, "distillation_weights": {"kl": 0.0}}])
def test_the_names_of_the_terms_are_known_beforehand(distills: bool, weights: dict[str, Any]) -> None:
    objective = Objective(alpha=0.5, **weights)
    logits, target = torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
    terms = objective(logits, logits if distills else None, target, 2.0)
    assert sorted(objective.term_names(distills)) == sorted(terms)
