from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from snowmelt.data.picture_paths import check_paths, locate, refuse_twin
from snowmelt.errors import SnowmeltError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a.png, sub/b.png and links to them and out of the folder."""
    root = tmp_path_factory.mktemp("house")
    inside = root / "pictures"
    (inside / "sub" / "deep").mkdir(parents=True)
    (root / "secret").mkdir()
    for path in (inside / "a.png", inside / "sub" / "b.png", inside / "sub" / "deep" / "c.png", root / "secret" / "s"):
        path.write_bytes(b"x")
    (inside / "x\\y.png").write_bytes(b"x")  # a file that such a name does not mean: the backslash separates
    for link, target in {
        "link.png": inside / "a.png",
        "out.png": root / "secret" / "s",
        "sub/up.png": "../a.png",
        "outside": root / "secret",
        "within": inside / "sub",
        "loop": inside / "loop",
        "broken.png": inside / "gone.png",
    }.items():
        os.symlink(target, inside / link)
    os.symlink(inside, root / "linked")
    return root


PARTS = [
    "a.png",
    "b.png",
    "c.png",
    "sub",
    "deep",
    "link.png",
    "out.png",
    "up.png",
    "outside",
    "within",
    "loop",
    "broken.png",
    "s",
    "x\\y.png",
    "sub\\b.png",
    "A.PNG",
    ".",
    "..",
    "",
    "\0",
    "\ud800",
]
names = st.lists(st.sampled_from(PARTS), min_size=1, max_size=3).map("/".join)


def one_by_one(file_names: list[str], folder: Path) -> str | None:
    inside, seen = folder.resolve(), set()
    for position, name in enumerate(file_names):
        try:
            path = locate(name, folder, inside, f"{position}")
            if path in seen:
                refuse_twin(name, f"{position}")
        except SnowmeltError as error:
            return str(error)
        seen.add(path)
    return None


def all_at_once(file_names: list[str], folder: Path) -> str | None:
    try:
        check_paths(file_names, folder, str)
    except SnowmeltError as error:
        return str(error)
    return None


@example(["/a.png"], "pictures")
@given(st.lists(names, max_size=3), st.sampled_from(["pictures", "linked"]))
def test_listing_folders_finds_what_looking_at_each_path_finds(folder: Path, file_names: list[str], at: str) -> None:
    assert all_at_once(file_names, folder / at) == one_by_one(file_names, folder / at)


def test_sound_names(folder: Path) -> None:
    """Or the comparison above might compare refusals alone."""
    sound = ["a.png", "sub/b.png", "sub/deep/c.png", "link.png", "sub/up.png", "within/b.png"]
    assert all_at_once(sound, folder / "pictures") is all_at_once(sound, folder / "linked") is None
    assert "does not exist" in str(all_at_once([*sound, "sub/a.png"], folder / "pictures"))


@pytest.mark.parametrize("name", ["out.png", "outside/s", "sub/../../secret/s", "../secret/s"])
def test_no_name_leads_out(folder: Path, name: str) -> None:
    message = all_at_once(["a.png", name], folder / "pictures")
    assert message is not None and message.startswith("1: ") and ("leads out" in message or "inside" in message)


@pytest.mark.parametrize("twin", ["./a.png", "sub/../a.png", "a.png", ".//a.png"])
def test_one_picture_under_two_spellings(folder: Path, twin: str) -> None:
    message = all_at_once(["a.png", twin], folder / "pictures")
    assert message is not None and message.startswith("1: ")
