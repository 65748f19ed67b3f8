from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_files import WriteFolder, save_image

from snowmelt.data import file_memory
from snowmelt.data.dataset import AugmentedDataset, collate
from snowmelt.data.folders import FolderSource, open_folder
from snowmelt.data.images import read_image
from snowmelt.data.samples import IGNORE_INDEX, UNLABELLED, Source, SubsetSource
from snowmelt.data.scenes import ScenesSource
from snowmelt.data.spec import Splits
from snowmelt.data.transforms import AUGMENTATIONS, build_transform
from snowmelt.data.unlabelled import JoinedSource, UnlabelledSource
from snowmelt.errors import SnowmeltError


@pytest.fixture
def loose(tmp_path: Path) -> Path:
    """Three pictures, and what does not count as one."""
    folder = tmp_path / "loose"
    for number, suffix in enumerate(("png", "BMP", "jpg")):
        save_image(folder / f"p{number}.{suffix}", seed=number)
    save_image(folder / "deeper" / "p9.png")
    save_image(folder / ".hidden.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def labelled(write_folder: WriteFolder) -> FolderSource:
    return open_folder(write_folder(count=2))["train"]


def test_every_picture_of_the_folder(loose: Path) -> None:
    source = UnlabelledSource(loose, ("a", "b"))
    assert isinstance(source, Source) and len(source) == 3
    assert [source.name(index) for index in range(3)] == ["p0.png", "p1.BMP", "p2.jpg"]
    sample = source.load(1)
    np.testing.assert_array_equal(sample.image, read_image(loose / "p1.BMP"))
    assert sample.mask.shape == (8, 12) and sample.mask.dtype == np.uint8 and (sample.mask == UNLABELLED).all()
    assert sample.name == "p1.BMP"
    assert source.classes == ("a", "b")
    source.check()
    assert source.describe() == f"3 unlabelled images of {loose}"


def test_folders_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(SnowmeltError, match="nowhere: no such folder of unlabelled images"):
        UnlabelledSource(tmp_path / "nowhere")
    save_image(tmp_path / "outer" / "inner" / "a.png")
    with pytest.raises(SnowmeltError, match=r"outer: holds no unlabelled images \(\.jpg, .*sub-folders do not count"):
        UnlabelledSource(tmp_path / "outer")


def test_bad_pictures_are_found_and_counted(loose: Path) -> None:
    for name in ("p0.png", "p2.jpg"):
        (loose / name).write_bytes((loose / name).read_bytes()[:60])
    with pytest.raises(SnowmeltError, match=r"p0\.png: .*\(and 1 more bad file\)") as caught:
        UnlabelledSource(loose).check()
    assert "\n" not in str(caught.value)


def test_pictures_that_were_looked_at_are_remembered(
    loose: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = UnlabelledSource(loose, (), tmp_path / "index")
    source.check()
    digests = [source.digest(index) for index in range(3)]
    del source
    for name in ("probe_image", "file_digest"):
        monkeypatch.setattr(file_memory, name, lambda path: pytest.fail(f"{path} is read again"))
    again = UnlabelledSource(loose, (), tmp_path / "index")
    again.check()
    assert [again.digest(index) for index in range(3)] == digests


def test_labelled_pictures_come_first(labelled: FolderSource, loose: Path) -> None:
    joined = JoinedSource(labelled, UnlabelledSource(loose))
    assert isinstance(joined, Source)
    assert (len(joined), joined.labelled, joined.classes) == (5, 2, labelled.classes)
    names = [joined.name(index) for index in range(5)]
    assert names == ["img0.png", "img1.png", "unlabelled/p0.png", "unlabelled/p1.BMP", "unlabelled/p2.jpg"]
    assert [joined.load(index).name for index in range(5)] == names
    assert [bool((joined.load(index).mask == UNLABELLED).any()) for index in range(5)] == [False] * 2 + [True] * 3
    np.testing.assert_array_equal(joined.load(1).mask, labelled.load(1).mask)
    alone = UnlabelledSource(loose)
    assert [joined.digest(index) for index in (1, 4)] == [labelled.digest(1), alone.digest(2)]
    assert joined.describe() == f"{labelled.describe()} and {alone.describe()}"
    for index in (5, -1):
        with pytest.raises(IndexError):
            joined.load(index)
    assert pickle.loads(pickle.dumps(joined)).name(4) == names[4]


def test_equal_names_on_both_sides_stay_apart(labelled: FolderSource, tmp_path: Path) -> None:
    save_image(tmp_path / "more" / "img0.png", seed=5)
    joined = JoinedSource(labelled, UnlabelledSource(tmp_path / "more"))
    assert len({joined.name(index) for index in range(3)}) == 3
    with pytest.raises(SnowmeltError, match=r"unlabelled/img0\.png: the name of both"):
        JoinedSource(_Named(), UnlabelledSource(tmp_path / "more"))


class _Named(ScenesSource):
    """A COCO file may name its pictures with their folder."""

    def __init__(self) -> None:
        super().__init__(1, 0, 16)

    def name(self, index: int) -> str:
        return "unlabelled/img0.png"


def test_other_classes_are_refused(labelled: FolderSource, loose: Path) -> None:
    with pytest.raises(SnowmeltError, match=r"classes sky, kite are not those of the labelled images, background"):
        JoinedSource(labelled, UnlabelledSource(loose, ("sky", "kite")))
    assert JoinedSource(labelled, UnlabelledSource(loose, labelled.classes)).classes == labelled.classes


def test_checking_reads_both_parts(labelled: FolderSource, loose: Path) -> None:
    joined = JoinedSource(labelled, UnlabelledSource(loose))
    joined.check()
    good = (loose / "p0.png").read_bytes()
    (loose / "p0.png").write_bytes(b"nothing")
    with pytest.raises(SnowmeltError, match=r"p0\.png"):
        joined.check()
    (loose / "p0.png").write_bytes(good)
    labelled.pairs[1][1].write_bytes(b"nothing")
    with pytest.raises(SnowmeltError, match=r"img1\.png"):
        joined.check()


def test_splits_check_a_data_set_once(loose: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[object] = []
    monkeypatch.setattr(ScenesSource, "check", lambda source: checked.append(source))
    monkeypatch.setattr(UnlabelledSource, "check", lambda source: checked.append(source))
    whole, alone = ScenesSource(6, 0, 16), UnlabelledSource(loose)
    splits = Splits(SubsetSource(whole, [0, 1]), SubsetSource(whole, [2, 3]), None, "")
    replace(splits, train=JoinedSource(splits.train, alone)).check()
    assert checked == [whole, alone]


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_augmentation_pads_unlabelled_masks_as_any(kind: str, loose: Path) -> None:
    data = AugmentedDataset(UnlabelledSource(loose), build_transform(kind, 32), 0)
    masks = collate([data[(epoch, index)] for epoch in range(8) for index in range(3)]).masks
    assert set(masks.unique().tolist()) == {UNLABELLED, IGNORE_INDEX}
    assert (data[(0, -1)][1] == IGNORE_INDEX).all()
