"""Which files are meant, and the names under which their results go."""

from __future__ import annotations

from pathlib import Path

import pytest
from predicted_runs import write_picture

from snowmelt.data import ScenesSource
from snowmelt.errors import SnowmeltError
from snowmelt.jobs.predicting.inputs import find_inputs, items_of


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def names_of(*inputs: Path, leave_out: Path = Path("nowhere")) -> list[str]:
    return [str(item.name) for item in find_inputs(inputs, leave_out).items]


def test_a_folder_is_searched_with_all_below_it_and_keeps_its_structure(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a.PNG", "notes.txt", "x/c.tif", "x/y/a.webp", ".hidden/d.jpg", "x/.e.jpg", "clip.mp4")
    assert names_of(tmp_path) == ["a", "b", "x/c", "x/y/a"]
    assert find_inputs([tmp_path], Path("nowhere")).videos_passed_over == 1


def test_results_of_before_are_not_taken_for_inputs(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "out/masks/a.png", "out/overlays/a.jpg")
    assert names_of(tmp_path, leave_out=tmp_path / "out") == ["a"]
    assert len(names_of(tmp_path)) == 3


def test_nor_are_those_of_another_folder_that_lies_among_the_inputs(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "old/prediction.json", "old/masks/a.png", "old/overlays/x/a.jpg", "old/images/b.jpg")
    assert names_of(tmp_path, leave_out=tmp_path / "new") == ["a", "old/images/b"]
    assert find_inputs([tmp_path], tmp_path / "new").results_passed_over == (tmp_path / "old",)
    (tmp_path / "old" / "images" / "b.jpg").unlink()
    with pytest.raises(SnowmeltError, match=r"old: holds no pictures, only results of an earlier prediction"):
        find_inputs([tmp_path / "old"], tmp_path / "new")


def test_a_picture_that_is_added_takes_over_no_name(tmp_path: Path) -> None:
    """``--resume`` takes what lies under a picture's name for its result."""
    touch(tmp_path, "a.png")
    assert names_of(tmp_path) == ["a"]
    touch(tmp_path, "a.jpg")
    assert names_of(tmp_path) == ["a_jpg", "a_png"]


def test_no_two_results_have_one_name(tmp_path: Path) -> None:
    touch(tmp_path, "one/a.jpg", "two/a.jpg", "three/one/a.jpg", "a.jpg", "a.png", "A.bmp", "a_png.tif")
    single = [tmp_path / name for name in ("a.jpg", "a.png", "A.bmp", "a_png.tif")]
    assert names_of(*single) == ["a_jpg", "a_png_2", "A_bmp", "a_png"]
    assert names_of(tmp_path / "one", tmp_path / "two") == ["one/a", "two/a"]
    assert names_of(tmp_path / "one", tmp_path / "three" / "one") == ["one/a_jpg", "one/a_jpg_2"]
    assert names_of(tmp_path / "one" / "a.jpg", tmp_path / "two" / "a.jpg", tmp_path / "three" / "one" / "a.jpg") == [
        *("a_jpg", "a_jpg_2", "a_jpg_3")
    ]


def test_a_file_given_twice_counts_once(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.jpg", "x/b.jpg")
    assert names_of(tmp_path / "x", tmp_path / "x" / "a.jpg") == ["x/a", "x/b"]
    assert names_of(tmp_path / "x" / "b.jpg", tmp_path / "x" / ".." / "x") == ["b", "x/a"]


def test_links_to_folders_are_followed_and_end(tmp_path: Path) -> None:
    touch(tmp_path, "far/a.jpg", "near/b.jpg")
    (tmp_path / "near" / "link").symlink_to(tmp_path / "far")
    (tmp_path / "near" / "round").symlink_to(tmp_path / "near")
    assert names_of(tmp_path / "near") == ["b", "link/a"]


def test_dots_in_names_stay(tmp_path: Path) -> None:
    touch(tmp_path, "frame.0001.jpg", "frame.0002.jpg")
    assert names_of(tmp_path) == ["frame.0001", "frame.0002"]


def test_what_is_neither_is_refused_with_what_would_do(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt", "videos/a.mp4", "videos/b.mov")
    (tmp_path / "empty").mkdir()
    for given, words in [
        ("missing.jpg", "no such file or folder"),
        ("a.txt", "neither a picture nor a video"),
        ("empty", "holds no pictures"),
        ("videos", "only 2 videos; name them"),
    ]:
        with pytest.raises(SnowmeltError, match=f"{given}.*{words}"):
            find_inputs([tmp_path / given], Path("nowhere"))


def test_a_video_has_nothing_to_load_and_a_picture_has(tmp_path: Path) -> None:
    touch(tmp_path, "clip.MP4")
    write_picture(tmp_path / "a.png", 8, 9)
    video, picture = find_inputs([tmp_path / "clip.MP4", tmp_path / "a.png"], Path("nowhere")).items
    assert video.is_video and not picture.is_video
    assert picture.load is not None and picture.load().shape == (8, 9, 3)


def test_the_images_of_a_data_source() -> None:
    source = ScenesSource(count=3, seed=0)
    items = items_of(source)
    assert [str(item.name) for item in items] == [source.name(index) for index in range(3)]
    assert items[2].load is not None and (items[2].load() == source.load(2).image).all()
