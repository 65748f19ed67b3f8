from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.classification import MulticlassJaccardIndex

from snowmelt.errors import SnowmeltError
from snowmelt.evaluation import Agreement, ConfusionMatrix, mean_iou, predict_classes


def test_worked_example() -> None:
    truth = torch.tensor([[0, 0, 1, 1], [2, 2, 2, 255]])
    shown = torch.tensor([[0, 1, 1, 1], [2, 0, 0, 1]])
    matrix = ConfusionMatrix(4, ignore_index=255)
    matrix.update(shown, truth)
    assert matrix.matrix.dtype == torch.int64
    assert matrix.matrix.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [2, 0, 1, 0], [0, 0, 0, 0]]  # rows: truth
    iou = matrix.iou()
    assert iou.dtype == torch.float64
    assert iou[:3].tolist() == pytest.approx([1 / 4, 2 / 3, 1 / 3])
    assert math.isnan(iou[3])  # in neither: absent, not 0
    assert matrix.mean_iou() == pytest.approx((1 / 4 + 2 / 3 + 1 / 3) / 3)
    assert matrix.accuracy() == pytest.approx(4 / 7)


def test_class_only_predicted_scores_zero() -> None:
    _, iou = mean_iou(torch.tensor([0, 2]), torch.tensor([0, 0]), 3)
    assert iou[0] == 0.5
    assert math.isnan(iou[1])
    assert iou[2] == 0.0


def test_trap_11_mean_over_batches_is_another_number() -> None:
    """A foreground of few pixels in one batch and many in the next: batches must not weigh the same."""
    batches = [
        (torch.tensor([[1, 0, 0, 0]]), torch.tensor([[1, 1, 1, 1]])),
        (torch.tensor([[0, 0, 0, 1]]), torch.tensor([[0, 0, 0, 1]])),
        (torch.tensor([[0, 0, 0, 0]]), torch.tensor([[0, 0, 0, 0]])),
    ]
    matrix = ConfusionMatrix(2)
    for shown, truth in batches:
        matrix.update(shown, truth)
    # over all pixels: background 7 of 10, person 2 of 5
    assert matrix.mean_iou() == pytest.approx((7 / 10 + 2 / 5) / 2)
    per_batch = [mean_iou(shown, truth, 2)[0] for shown, truth in batches]
    assert abs(sum(per_batch) / 3 - matrix.mean_iou()) > 0.1
    assert mean_iou([b[0] for b in batches], [b[1] for b in batches], 2)[0] == matrix.mean_iou()


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_equals_pixel_counting_and_torchmetrics(data: st.DataObject) -> None:
    classes = data.draw(st.integers(2, 5))
    size = data.draw(st.integers(1, 40))
    shown = data.draw(st.lists(st.integers(0, classes - 1), min_size=size, max_size=size))
    truth = data.draw(st.lists(st.sampled_from([*range(classes), 255]), min_size=size, max_size=size))
    expected = []
    for c in range(classes):
        pairs = [(p, t) for p, t in zip(shown, truth, strict=True) if t != 255]
        union = sum(c in pair for pair in pairs)
        expected.append(sum(p == t == c for p, t in pairs) / union if union else math.nan)
    mean, iou = mean_iou(torch.tensor(shown), torch.tensor(truth, dtype=torch.uint8), classes, 255)
    assert iou.tolist() == pytest.approx(expected, nan_ok=True)
    present = [value for value in expected if not math.isnan(value)]
    assert mean == pytest.approx(sum(present) / len(present) if present else math.nan, nan_ok=True)

    theirs = MulticlassJaccardIndex(classes, average="none", ignore_index=255)
    theirs.update(torch.tensor(shown), torch.tensor(truth))
    if present:
        assert torch.nan_to_num(iou).tolist() == pytest.approx(theirs.compute().tolist())


def test_splits_add_up() -> None:
    generator = torch.Generator().manual_seed(0)
    shown = torch.randint(0, 4, (6, 5, 7), generator=generator)
    truth = torch.randint(0, 4, (6, 5, 7), generator=generator)
    whole = ConfusionMatrix(4)
    whole.update(shown, truth)
    left, right = ConfusionMatrix(4), ConfusionMatrix(4)
    left.update(shown[:2], truth[:2])
    right.update(shown[2:], truth[2:])
    total = pickle.loads(pickle.dumps(left)) + pickle.loads(pickle.dumps(right))
    assert torch.equal(total.matrix, whole.matrix)
    assert left.matrix.sum() == 2 * 35  # adding leaves the parts as they were


def test_different_classes_do_not_add() -> None:
    with pytest.raises(SnowmeltError, match="cannot be added"):
        ConfusionMatrix(2) + ConfusionMatrix(3)


def test_nothing_counted_is_nan_not_an_error() -> None:
    matrix = ConfusionMatrix(2, ignore_index=255)
    matrix.update(torch.zeros(2, 3, dtype=torch.long), torch.full((2, 3), 255))
    matrix.update(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    assert math.isnan(matrix.mean_iou())
    assert math.isnan(matrix.accuracy())


def test_ignored_class_has_no_iou() -> None:
    mean, iou = mean_iou(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 1, 1]), 2, ignore_index=0)
    assert math.isnan(iou[0])
    assert mean == float(iou[1]) == pytest.approx(2 / 3)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_label_types(dtype: torch.dtype) -> None:
    labels = torch.tensor([0, 1, 1], dtype=dtype)
    assert mean_iou(labels, labels, 2)[0] == 1.0
    assert mean_iou(labels.bool(), labels, 2)[0] == 1.0
    assert mean_iou(labels.numpy().astype(np.uint16), labels.numpy(), 2)[0] == 1.0
    assert mean_iou(labels.tolist(), labels.tolist(), 2)[0] == 1.0


def test_images_of_different_sizes_make_one_matrix() -> None:
    truth = [np.ones((2, 3), np.uint8), np.zeros((4, 1), np.uint8)]
    shown = [np.ones((2, 3), np.int64), np.array([[0], [0], [1], [1]])]
    mean, iou = mean_iou(shown, truth, 2)
    assert iou.tolist() == pytest.approx([2 / 4, 6 / 8])
    assert mean == pytest.approx(0.625)
    with pytest.raises(SnowmeltError, match="2 predictions were given for 1 targets"):
        mean_iou(shown, truth[:1], 2)


@pytest.mark.parametrize(
    ("shown", "truth", "message"),
    [
        ([0, 1], [0, 2], "target label 2 is outside the classes 0..1"),
        ([0, 3], [0, 1], "prediction label 3 is outside"),
        ([0, -1], [0, 1], "prediction label -1 is outside"),
        ([0, 1], [0, 255], "target label 255 .*ignore_index"),
        ([[0, 1]], [0, 1], "shapes"),
        ([0.3, 1.0], [0, 1], "predict_classes"),
    ],
)
def test_bad_labels_are_named(shown: list[object], truth: list[int], message: str) -> None:
    with pytest.raises(SnowmeltError, match=message):
        mean_iou(torch.tensor(shown), torch.tensor(truth), 2)


def test_no_classes_is_refused() -> None:
    with pytest.raises(SnowmeltError, match="at least 1"):
        ConfusionMatrix(0)


def test_deterministic_mode_counts_too() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        labels = torch.tensor([0, 20])
        assert mean_iou(labels, labels, 21)[0] == 1.0
    finally:
        torch.use_deterministic_algorithms(False)


@given(st.integers(0, 2**32 - 1), st.integers(2, 4))
@settings(max_examples=20, deadline=None)
def test_adding_without_waiting_is_updating_and_finds_wrong_labels_late(seed: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    shown = torch.randint(0, classes, (2, 9), generator=generator)
    truth = torch.randint(0, classes, (2, 9), generator=generator)
    truth[0, :4] = 255
    at_once, later = ConfusionMatrix(classes, 255), ConfusionMatrix(classes, 255)
    at_once.update(shown, truth)
    later.add(shown, truth)
    later.check()
    assert torch.equal(at_once.matrix, later.matrix) and at_once.matrix.sum() == 14
    truth[1, 0], shown[1, 1], shown[0, 0] = classes, -1, classes  # the last of them is ignored
    later.add(shown, truth)
    assert later.matrix.sum() == 14 + 12
    with pytest.raises(SnowmeltError, match=r"^2 pixels have a label outside the classes"):
        (later + at_once).check()


def test_predict_classes() -> None:
    binary = torch.tensor([[[[-0.1, 0.0, 0.1]]]])
    assert predict_classes(binary).tolist() == [[[0, 0, 1]]]
    logits = torch.randn(2, 3, 4, 5)
    assert torch.equal(predict_classes(logits), logits.argmax(1))
    assert predict_classes(logits).shape == (2, 4, 5)
    assert predict_classes(binary.half()).dtype == torch.int64
    with pytest.raises(SnowmeltError, match="expected"):
        predict_classes(torch.zeros(2, 3, 4))


def test_two_logits_and_one_agree() -> None:
    logits = torch.randn(2, 1, 4, 4)
    assert torch.equal(predict_classes(logits), predict_classes(torch.cat([-logits, logits], 1)))


def test_agreement() -> None:
    agreement = Agreement()
    assert math.isnan(agreement.share())
    agreement.update(torch.tensor([0, 1, 2]), torch.tensor([0, 1, 1]))
    agreement.update(torch.tensor([5, 1]), torch.tensor([5, 0]), torch.tensor([True, False]))
    assert agreement.counts.tolist() == [3, 4]
    assert agreement.share() == 0.75
    with pytest.raises(SnowmeltError, match="valid has shape"):
        agreement.update(torch.tensor([0]), torch.tensor([0]), torch.tensor([True, True]))
