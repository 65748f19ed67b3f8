from __future__ import annotations

import dataclasses

import pytest
import torch

from snowmelt.data.samples import IGNORE_INDEX, UNLABELLED, Batch, SubsetSource
from snowmelt.data.scenes import ScenesSource


def batch(mapped: bool) -> Batch:
    images = torch.arange(4 * 3 * 2 * 2, dtype=torch.uint8).reshape(4, 3, 2, 2)
    maps = (torch.arange(8.0).reshape(4, 2), torch.arange(4, dtype=torch.uint8)) if mapped else ()
    placement = torch.arange(24.0).reshape(4, 2, 3) if mapped else None
    colour = torch.eye(3, 4).repeat(4, 1, 1) if mapped else None
    return Batch(images, images[:, 0], torch.arange(4), maps, placement, colour)


def tensors(found: Batch) -> list[torch.Tensor]:
    """Second to ``Batch.tensors``: by the names of its fields."""
    values = [getattr(found, field.name) for field in dataclasses.fields(found)]
    flat = [part for value in values for part in (value if isinstance(value, tuple) else [value]) if part is not None]
    assert [id(part) for part in flat] == [id(part) for part in found.tensors()]
    return flat


@pytest.mark.parametrize("mapped", [False, True])
def test_every_tensor_is_cut_and_moved(mapped: bool) -> None:
    whole = batch(mapped)
    part = whole[1:3]
    assert len(part) == 2 and len(whole) == 4
    assert len(tensors(part)) == len(tensors(whole)) == (7 if mapped else 3)
    for cut, full in zip(tensors(part), tensors(whole), strict=True):
        assert torch.equal(cut, full[1:3]) and cut.data_ptr() == full[1].data_ptr()  # views
    assert all(tensor.device.type == "meta" for tensor in tensors(whole.to("meta")))
    for moved, full in zip(tensors(whole.to("cpu", non_blocking=True)), tensors(whole), strict=True):
        assert torch.equal(moved, full)


def test_every_tensor_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pinning needs an accelerator, so the call alone is watched."""
    pinned: list[int] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(id(tensor)) or tensor)
    whole = batch(True)
    assert isinstance(whole.pin_memory(), Batch)
    assert pinned == [id(tensor) for tensor in tensors(whole)]


def test_a_batch_needs_no_maps() -> None:
    plain = Batch(torch.zeros(1), torch.zeros(1), torch.zeros(1))
    assert plain.maps == () and plain.placement is None


def test_marks_of_pixels() -> None:
    assert (UNLABELLED, IGNORE_INDEX) == (254, 255)


def test_a_subset_has_its_items_digests() -> None:
    source = ScenesSource(4, 0, 16)
    assert [SubsetSource(source, [3, 1]).digest(index) for index in (0, 1)] == [source.digest(3), source.digest(1)]
