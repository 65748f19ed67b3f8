from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from data_files import save_image, save_mask
from hypothesis import given
from hypothesis import strategies as st

from snowmelt.data import file_memory
from snowmelt.data.digests import file_digest
from snowmelt.data.file_memo import FileMemo
from snowmelt.data.file_memory import FileMemory, MaskFound, find_mask
from snowmelt.data.images import probe_image
from snowmelt.data.labels import LabelsFound, find_labels
from snowmelt.errors import SnowmeltError


def memo_at(path: Path) -> FileMemo[str]:
    return FileMemo(path, 4, lambda fact: fact.encode() if len(fact) == 4 else None, bytes.decode)


def never() -> str:
    raise AssertionError("what is known is not looked for again")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


def test_a_fact_is_found_once_and_again_in_another_process(file: Path, tmp_path: Path) -> None:
    first = memo_at(tmp_path / "memo")
    assert first.recall(file, lambda: "fact") == "fact"
    assert first.recall(file, never) == "fact"
    first.save()
    assert first.recall(file, never) == "fact"
    assert memo_at(tmp_path / "memo").recall(file, never) == "fact"


def rewritten(path: Path) -> None:
    path.write_bytes(b"another content")


def touched(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def rewritten_in_disguise(path: Path) -> None:
    """Of the same size, with the old time of change put back, as some tools do."""
    before = path.stat()
    replacement = path.with_name("replacement")
    replacement.write_bytes(b"CONTENT")
    os.utime(replacement, ns=(before.st_atime_ns, before.st_mtime_ns))
    replacement.replace(path)


@pytest.mark.parametrize("change", [rewritten, touched, rewritten_in_disguise])
@pytest.mark.parametrize("saved", [False, True])
def test_a_changed_file_is_looked_at_again(
    file: Path, tmp_path: Path, change: Callable[[Path], None], saved: bool
) -> None:
    memo = memo_at(tmp_path / "memo")
    memo.recall(file, lambda: "old ")
    if saved:
        memo.save()
    change(file)
    assert memo.recall(file, lambda: "new ") == "new "
    memo.save()
    assert memo_at(tmp_path / "memo").recall(file, never) == "new "


def test_a_file_that_changes_while_it_is_read_is_read_again(file: Path, tmp_path: Path) -> None:
    memo = memo_at(tmp_path / "memo")

    def read_and_change() -> str:
        rewritten(file)
        return "old "

    memo.recall(file, read_and_change)
    assert memo.recall(file, lambda: "new ") == "new "


def test_errors_and_what_is_not_worth_keeping_are_not_remembered(file: Path, tmp_path: Path) -> None:
    memo = memo_at(tmp_path / "memo")
    for _ in range(2):
        with pytest.raises(SnowmeltError, match="bad"):
            memo.recall(file, lambda: (_ for _ in ()).throw(SnowmeltError("bad", code="image-unreadable")))
    assert [memo.recall(file, lambda fact=fact: fact) for fact in ("long fact", "fact")] == ["long fact", "fact"]
    assert memo.recall(tmp_path / "gone", lambda: "none") == "none"
    assert memo.recall(tmp_path / "gone", lambda: "nil ") == "nil "


def test_two_writers_keep_each_others_facts(tmp_path: Path) -> None:
    first, second = memo_at(tmp_path / "memo"), memo_at(tmp_path / "memo")
    files = [tmp_path / f"{number}" for number in range(40)]
    for number, path in enumerate(files):
        path.write_bytes(b"x")
        (first if number % 2 else second).recall(path, lambda number=number: f"{number:04}")
    first.save()
    second.save()
    files[0].write_bytes(b"longer")
    second.recall(files[0], lambda: "late")
    second.save()
    third = memo_at(tmp_path / "memo")
    assert [third.recall(path, never) for path in files] == ["late", *(f"{number:04}" for number in range(1, 40))]
    assert len(third._read()) == len(files)  # one of each, however often it changed


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "foreign", "wider"])
def test_a_damaged_memo_counts_as_empty_and_is_replaced(file: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "memo"
    memo = memo_at(path)
    memo.recall(file, lambda: "old ")
    memo.save()
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    wider: FileMemo[str] = FileMemo(tmp_path / "wider", 5, str.encode, bytes.decode)
    wider.recall(file, lambda: "wider")
    wider.save()
    damaged = {"cut": path.read_bytes()[:-1], "bit": bytes(content), "empty": b"", "foreign": b"{}" * 99}
    path.write_bytes(damaged[damage] if damage in damaged else (tmp_path / "wider").read_bytes())
    again = memo_at(path)
    assert again.recall(file, lambda: "new ") == "new "
    again.save()
    assert memo_at(path).recall(file, never) == "new "
    assert not list(tmp_path.glob("*.part"))


def test_where_nothing_can_be_written_everything_works_unremembered(file: Path, tmp_path: Path) -> None:
    (tmp_path / "no folder").write_bytes(b"")
    memo = memo_at(tmp_path / "no folder" / "memo")
    memo.recall(file, lambda: "fact")
    memo.save()
    assert memo.recall(file, never) == "fact"


@given(st.sets(st.integers(0, 255)), st.booleans(), st.integers(1, 2**40), st.integers(1, 2**40))
def test_what_a_mask_holds_survives_its_encoding(values: set[int], bilevel: bool, height: int, width: int) -> None:
    found = MaskFound(height, width, LabelsFound(frozenset(values), bilevel))
    encoded = file_memory._encode_mask(found)
    assert encoded is not None and len(encoded) == file_memory._MASK.size
    assert file_memory._decode_mask(encoded) == found


@pytest.mark.parametrize("folder", [None, "kept"])
def test_memory_says_what_the_readers_say(tmp_path: Path, folder: str | None) -> None:
    picture, mask = save_image(tmp_path / "a.png"), save_mask(tmp_path / "m.png", (0, 3, 255))
    memory = FileMemory(None if folder is None else tmp_path / folder)
    for _ in range(2):
        assert memory.picture_size(picture) == probe_image(picture) == (8, 12)
        assert memory.digest(picture) == file_digest(picture)
        assert memory.mask(mask) == find_mask(mask) == MaskFound(8, 12, find_labels(mask))
    memory.save()
    for each in (FileMemory(memory.folder), pickle.loads(pickle.dumps(memory))):
        assert (each.picture_size(picture), each.digest(picture)) == ((8, 12), file_digest(picture))
        assert each.mask(mask) == find_mask(mask)
    assert sorted(path.name for path in tmp_path.glob("*/*")) == (
        [] if folder is None else ["digests.memo", "masks.memo", "pictures.memo"]
    )


def test_findings_are_saved_when_the_memory_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = save_image(tmp_path / "a.png")
    memory = FileMemory(tmp_path / "kept")
    digest = memory.digest(picture)
    del memory
    monkeypatch.setattr(file_memory, "file_digest", lambda path: never())
    assert FileMemory(tmp_path / "kept").digest(picture) == digest
