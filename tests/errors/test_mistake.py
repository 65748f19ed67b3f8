"""The exception itself: one line, a code, and the same after a copy or a journey between processes."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from snowmelt.config import ExperimentConfig
from snowmelt.data.checking import BadFiles
from snowmelt.errors import SnowmeltError


def wrong_settings() -> SnowmeltError:
    with pytest.raises(SnowmeltError) as refused:
        ExperimentConfig(thaw={"strat": 1})  # type: ignore[arg-type]
    return refused.value


def test_it_is_a_value_error_with_a_code() -> None:
    error = SnowmeltError("x.png: no such file", code="file-missing")
    assert isinstance(error, ValueError)
    assert (str(error), error.args, error.code) == ("x.png: no such file", ("x.png: no such file",), "file-missing")
    assert "file-missing" not in str(error)


def test_there_is_none_without_a_code() -> None:
    with pytest.raises(TypeError, match="code"):
        SnowmeltError("x.png: no such file")  # type: ignore[call-arg]


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
@pytest.mark.parametrize(
    "error",
    [
        SnowmeltError("a.png: empty", code="image-unreadable"),
        BadFiles([SnowmeltError("a.png: empty", code="image-unreadable"), SnowmeltError("b", code="file-missing")]),
        wrong_settings(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_copies_and_pickles_are_whole(error: SnowmeltError, again: Any) -> None:
    error.add_note("in a worker")
    other = again(error)
    assert type(other) is type(error)
    assert (str(other), other.args, other.code) == (str(error), error.args, error.code)
    assert other.__notes__ == error.__notes__
    if isinstance(error, BadFiles):
        assert [each.code for each in other.errors] == ["image-unreadable", "file-missing"]
    assert getattr(other, "problems", None) == getattr(error, "problems", None)


def test_several_bad_files_have_the_code_of_the_first() -> None:
    first, second = SnowmeltError("a.png", code="mask-size"), SnowmeltError("b.png", code="image-unreadable")
    assert BadFiles([first, second]).code == "mask-size"
    assert BadFiles([BadFiles([second, first]), first]).code == "image-unreadable"
