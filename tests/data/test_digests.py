from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from data_files import WriteFolder, save_image

from snowmelt.data.coco import CocoSource
from snowmelt.data.digests import file_digest, overlap
from snowmelt.data.folders import open_folder
from snowmelt.data.scenes import ScenesSource
from snowmelt.data.unlabelled import UnlabelledSource
from snowmelt.errors import SnowmeltError


def test_a_file_is_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    content = bytes(range(256)) * 3000
    path.write_bytes(content)
    assert file_digest(path) == hashlib.blake2b(content, digest_size=16).hexdigest()
    path.write_bytes(content[:-1] + b"\0")
    assert file_digest(path) != hashlib.blake2b(content, digest_size=16).hexdigest()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SnowmeltError, match=r"gone\.png: no such file"):
        file_digest(tmp_path / "gone.png")
    with pytest.raises(SnowmeltError, match="cannot be read") as caught:
        file_digest(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_digest_knows_neither_path_nor_mask(write_folder: WriteFolder, tmp_path: Path) -> None:
    first = open_folder(write_folder("one", 3))["train"]
    second = open_folder(write_folder("two", 3, values=(1, 0), prefix="other"))["train"]
    digests = [first.digest(index) for index in range(3)]
    assert len(set(digests)) == 3
    assert digests == [second.digest(index) for index in range(3)]
    alone = UnlabelledSource(tmp_path / "one" / "images")
    assert digests == [alone.digest(index) for index in range(3)]
    save_image(tmp_path / "one" / "images" / "img1.png", seed=9)
    assert [first.digest(index) == digests[index] for index in range(3)] == [True, False, True]


def test_a_coco_pictures_digest_is_its_files(coco: Callable[..., tuple[Path, Path]]) -> None:
    folder, json_path = coco()
    source = CocoSource(folder, json_path)
    assert source.digest(0) == file_digest(folder / "a.png")
    (folder / "a.png").unlink()
    with pytest.raises(SnowmeltError, match=r"a\.png: no such file"):
        source.digest(0)


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"first": 1}, {"size": 32}, {"variant": "parts"}], ids=lambda change: next(iter(change))
)
def test_a_scenes_digest_is_its_recipe(other: dict[str, Any]) -> None:
    recipe: dict[str, Any] = {"count": 3, "seed": 0, "size": 16}
    source = ScenesSource(**recipe)
    assert source.digest(0) != ScenesSource(**{**recipe, **other}).digest(0)
    assert source.digest(1) == ScenesSource(count=9, seed=0, size=16, first=1).digest(0)
    assert len(source.digest(0)) == 32 and int(source.digest(0), 16)


def test_pictures_that_two_sources_share(write_folder: WriteFolder, tmp_path: Path) -> None:
    source = open_folder(write_folder("data", 5))["train"]
    loose = tmp_path / "loose"
    loose.mkdir()
    for number in (4, 1):
        shutil.copy(tmp_path / "data" / "images" / f"img{number}.png", loose / f"renamed{number}.png")
    save_image(loose / "img2.png", seed=77)  # the same name, another picture
    assert overlap(source, UnlabelledSource(loose)) == ["img1.png", "img4.png"]
    assert overlap(UnlabelledSource(loose), source) == ["renamed1.png", "renamed4.png"]
    assert overlap(source, ScenesSource(3, 0, 16)) == []
    (loose / "renamed1.png").unlink()
    gone = UnlabelledSource(loose)
    (loose / "renamed4.png").unlink()
    with pytest.raises(SnowmeltError, match=r"renamed4\.png: no such file"):
        overlap(source, gone)
