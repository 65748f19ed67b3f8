"""A checkpoint is what was written, or it is said in which way it is not."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from snowmelt.training.sealing import Damaged, read_sealed, write_sealed

CONTENT: dict[str, Any] = {"format": 1, "network": {"w": torch.arange(500.0)}, "state": {"step": 3}}
FOREIGN, CUT, BITS = "is no checkpoint of Snowmelt", "is cut short: it ends after", "is damaged: its bits are not those"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sealed") / "last.ckpt"
    write_sealed(path, CONTENT, keep=path.with_name("previous.ckpt"))
    return path.read_bytes()


def told(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(Damaged) as refused:
        read_sealed(path)
    assert str(refused.value) == f"{path}: {refused.value.what}"
    return refused.value.what


def foreign() -> dict[str, bytes]:
    archive, other = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("word/document.xml", "x" * 300)
    torch.save([1, 2, 3], other)
    return {
        "text": b"a letter\n" * 9,
        "picture": b"\x89PNG\r\n\x1a\n" + bytes(500),
        "zip": archive.getvalue(),
        "torch": other.getvalue(),
        "zeros": bytes(4000),
    }


def test_what_was_written_is_what_is_read_and_anybody_can_read_it(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(whole)
    for content in (read_sealed(path), torch.load(path, weights_only=True)):
        assert torch.equal(content["network"]["w"], CONTENT["network"]["w"]) and content["state"] == CONTENT["state"]
    assert zipfile.ZipFile(path).testzip() is None


@pytest.mark.parametrize("kind", foreign())
def test_foreign_files(kind: str, tmp_path: Path) -> None:
    assert told(tmp_path / "last.ckpt", foreign()[kind]) == FOREIGN


def test_empty(tmp_path: Path) -> None:
    assert told(tmp_path / "last.ckpt", b"") == "is empty"


def test_cut_anywhere(whole: bytes, tmp_path: Path) -> None:
    for length in [*range(1, 200, 7), *range(200, len(whole) - 200, 97), *range(len(whole) - 200, len(whole))]:
        assert told(tmp_path / "last.ckpt", whole[:length]) == f"{CUT} {length} bytes, without its seal"


def test_any_bit(whole: bytes, tmp_path: Path) -> None:
    drawn = random.Random(0)
    places = [*range(64), *range(len(whole) - 90, len(whole)), *drawn.sample(range(len(whole)), 200)]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << drawn.randrange(8)
        assert told(tmp_path / "last.ckpt", bytes(damaged)).startswith(BITS)


def test_the_end_lost_in_a_power_cut(whole: bytes, tmp_path: Path) -> None:
    """The length is right, but the last blocks were never written."""
    assert told(tmp_path / "last.ckpt", whole[:-1000] + bytes(1000)).startswith(CUT)
    assert told(tmp_path / "last.ckpt", whole + b"more").startswith(CUT)
    assert told(tmp_path / "last.ckpt", whole[:500] + bytes(500) + whole[1000:]).startswith(BITS)


def test_a_seal_that_is_gone_is_missed(whole: bytes, tmp_path: Path) -> None:
    """As an older checkpoint would be, it is whole by its form; its content knows better."""
    seal = struct.calcsize("<16sQ32s")
    assert told(tmp_path / "last.ckpt", whole[: -seal - 2] + b"\x00\x00") == "is damaged: its seal is gone"


def test_an_older_checkpoint_has_none(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save(CONTENT, path)
    assert torch.equal(read_sealed(path)["network"]["w"], CONTENT["network"]["w"])
    content = path.read_bytes()
    assert told(path, content[: len(content) // 2]).startswith(CUT)
    assert told(path, content[:90] + b"\xff" * 300 + content[390:]).startswith("is damaged or no checkpoint")


def test_not_readable(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match=r"cannot be read \(is a directory\)"):
        read_sealed(tmp_path)
