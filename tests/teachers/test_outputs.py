"""Logits, probabilities and labels are told apart, and probabilities become the logits that they came from."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.teachers.outputs import LOG_EPS, OutputJudge, judge_outputs, probability_logit, say_outputs, to_logits


def noise(channels: int, scale: float = 3.0, seed: int = 0) -> Tensor:
    return torch.randn(2, channels, 6, 5, generator=torch.Generator().manual_seed(seed)) * scale


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("channels", [2, 3, 150])
def test_softmax_is_told_from_logits_and_sigmoids(channels: int, dtype: torch.dtype) -> None:
    logits = noise(channels)
    assert judge_outputs(logits.to(dtype), "t") == "logits"
    assert judge_outputs(logits.log_softmax(1).to(dtype), "t") == "logits"
    assert judge_outputs(logits.softmax(1).to(dtype), "t") == "probabilities"
    assert judge_outputs(logits.sigmoid().to(dtype), "t") == "independent"


def test_one_channel_is_judged_by_its_range() -> None:
    assert judge_outputs(noise(1).sigmoid(), "t") == "probabilities"
    assert judge_outputs(noise(1), "t") == "logits"
    assert judge_outputs(torch.cat([noise(1).sigmoid(), torch.full((1, 1, 6, 5), 1.01)]), "t") == "logits"


def test_the_user_decides_where_it_is_possible() -> None:
    assert judge_outputs(noise(3).softmax(1), "t", "logits") == "logits"
    assert judge_outputs(noise(3).softmax(1), "t", "probabilities") == "probabilities"
    assert judge_outputs(noise(3).sigmoid(), "t", "probabilities") == "independent"
    assert judge_outputs((noise(1) > 0).float(), "t", "logits") == "logits"
    with pytest.raises(SnowmeltError, match=r"^net: teacher.outputs says probabilities, but the values go from -"):
        judge_outputs(noise(3), "net", "probabilities")


LABELS = {
    "integers": torch.randint(0, 3, (2, 1, 6, 5)),
    "no channels": noise(1)[:, 0],
    "whole floats": torch.randint(0, 3, (2, 1, 6, 5)).float(),
    "thresholded": (noise(1) > 0).float(),
    "one-hot": torch.nn.functional.one_hot(torch.randint(0, 3, (2, 6, 5)), 3).permute(0, 3, 1, 2).float(),
    "bool": noise(1) > 0,
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_refused_with_a_way_out(name: str) -> None:
    with pytest.raises(SnowmeltError, match=r"^net\.onnx: .*export (the logits|those) before argmax") as error:
        judge_outputs(LABELS[name], "net.onnx")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    values = noise(2)
    values[1, 1, 3, 2] = value
    with pytest.raises(SnowmeltError, match="NaN or infinite"):
        judge_outputs(values, "t", "logits")


def test_the_verdict_is_about_all_answers() -> None:
    judge = OutputJudge("t")
    judge.see(torch.zeros(1, 1, 4, 4))
    judge.see(torch.ones(1, 1, 4, 4))
    judge.see(torch.full((1, 1, 4, 4), 0.5))
    assert judge.verdict() == "probabilities"  # the first two alone would be labels
    judge.see(torch.full((1, 1, 4, 4), 1.5))
    assert judge.verdict() == "logits"


def test_a_constant_is_no_label_map() -> None:
    assert judge_outputs(torch.full((1, 1, 4, 4), 2.0), "t") == "logits"
    assert judge_outputs(torch.zeros(1, 3, 4, 4), "t") == "independent"


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=8))
def test_softmax_and_its_logits_are_inverse(values: list[float]) -> None:
    logits = torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1)
    recovered = to_logits(logits.softmax(1), "probabilities", "t").double()
    wanted = logits.log_softmax(1).clamp(min=math.log(LOG_EPS))
    torch.testing.assert_close(recovered, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["probabilities", "independent"])
@given(values=st.lists(st.floats(-9, 9), min_size=1, max_size=5))
def test_sigmoid_and_its_logits_are_inverse(kind: str, values: list[float]) -> None:
    logits = torch.tensor(values).view(len(values), 1, 1, 1)
    recovered = to_logits(logits.sigmoid(), kind, "t")  # type: ignore[arg-type]
    torch.testing.assert_close(recovered, logits, rtol=0, atol=2e-3)  # float32 has few digits left near 1


def test_certainty_stays_finite_and_symmetrical() -> None:
    certain = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1)
    for dtype, bound in ((torch.float32, 16.6355), (torch.float16, 7.6241), (torch.bfloat16, 5.5413)):
        low, high = to_logits(certain.to(dtype), "independent", "t").flatten().tolist()
        assert (low, high) == pytest.approx((-bound, bound), abs=1e-3)
    assert to_logits(certain, "probabilities", "t").flatten().tolist() == pytest.approx([-27.631, 0], abs=1e-3)
    half = to_logits(certain.half(), "probabilities", "t")
    assert half.flatten().tolist() == pytest.approx([-24 * math.log(2), 0], abs=1e-3)
    assert half.dtype == torch.float32
    # One class certain of several, each asked on its own, is another thing than all of them together.
    assert to_logits(certain[:, 1:], "probabilities", "t").item() == pytest.approx(16.6355, abs=1e-3)


def test_logits_are_left_alone() -> None:
    logits = noise(3).half()
    assert torch.equal(to_logits(logits, "logits", "t"), logits.float())
    assert to_logits(noise(3)[0].softmax(0), "probabilities", "t").shape == (3, 6, 5)  # without a batch, too


@pytest.mark.parametrize("value", [1.5, -0.5, math.nan])
def test_probabilities_that_turn_out_to_be_none(value: float) -> None:
    values = noise(1).sigmoid()
    values[0, 0, 0, 0] = value
    with pytest.raises(SnowmeltError, match=r"^net: .*set teacher.outputs: logits$"):
        to_logits(values, "probabilities", "net")


def test_probability_logit_is_the_closed_form() -> None:
    assert probability_logit(torch.tensor([0.25, 0.5, 0.0]), 0.1).tolist() == pytest.approx(
        [-math.log(3), 0, -math.log(9)], abs=1e-6
    )


def test_what_was_found_can_be_said() -> None:
    assert say_outputs("probabilities") == "outputs: probabilities"
    assert say_outputs("independent") == "outputs: independent probabilities of each class"
