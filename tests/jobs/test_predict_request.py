"""What was typed, and what is refused at once."""

from __future__ import annotations

import pytest

from snowmelt.errors import SnowmeltError
from snowmelt.jobs import read_save, read_tile


def test_kinds_are_read_in_a_fixed_order() -> None:
    assert read_save("mask") == ("mask",)
    assert read_save(" probabilities, mask,mask ") == ("mask", "probabilities")
    for text in ("", " , ", "masks", "mask,video"):
        with pytest.raises(SnowmeltError, match="mask, overlay, probabilities"):
            read_save(text)


def test_tiles_have_a_size_that_networks_take() -> None:
    assert read_tile("auto", None) == ("auto", 0.25)
    assert read_tile("off", None) == ("off", 0.25)
    assert read_tile("512", None) == (512, 0.25)
    assert read_tile("64", 0.5) == (64, 0.5)
    for text, words in [
        ("100", "take 96"),
        ("0", "take 32"),
        ("1000", "take 992"),
        ("big", "size in pixels"),
        ("-64", "size in pixels"),
    ]:
        with pytest.raises(SnowmeltError, match=words):
            read_tile(text, None)
    for text in ("auto", "off"):
        with pytest.raises(SnowmeltError, match=r"--overlap 0\.5 is for tiles"):
            read_tile(text, 0.5)
