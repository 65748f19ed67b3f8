"""Merged classes add up, dropped ones leave, and every mistake in a mapping is named."""

from __future__ import annotations

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.teachers import ClassMapping, default_mapping

VOC = ("background", "car", "cat", "person", "dog")


def logits_of(channels: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return 5 * torch.randn(2, channels, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def summed(logits: Tensor, groups: tuple[tuple[int, ...], ...]) -> Tensor:
    """Probabilities of the merged classes, from those of the teacher."""
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    probabilities = logits.softmax(dim=1)
    merged = torch.stack([probabilities[:, list(group)].sum(dim=1) for group in groups], dim=1)
    return merged / merged.sum(dim=1, keepdim=True)


def probabilities_of(logits: Tensor) -> Tensor:
    """The student's reading: sigmoid of one channel, softmax of several."""
    if logits.shape[1] > 1:
        return logits.softmax(dim=1)
    return torch.cat([1 - logits.sigmoid(), logits.sigmoid()], dim=1)


@pytest.mark.parametrize(
    ("given_map", "students", "groups"),
    [
        ({"person": "person", "*": "background"}, ("background", "person"), ((0, 1, 2, 4), (3,))),
        ({3: "person", "*": "background"}, ("background", "person"), ((0, 1, 2, 4), (3,))),
        ({"3": "person", "background": "background", "*": None}, ("background", "person"), ((0,), (3,))),
        (
            {"cat": "pet", "dog": "pet", "person": "person", "*": "rest"},
            ("rest", "person", "pet"),
            ((0, 1), (3,), (2, 4)),
        ),
        ({"cat": "pet", "dog": "pet", "car": "car", 0: "none", 3: None}, ("none", "pet", "car"), ((0,), (2, 4), (1,))),
        ({"*": "all", "dog": "dog", "cat": None}, ("dog", "all"), ((4,), (0, 1, 3))),
    ],
)
def test_settings_become_groups_and_probabilities_add_up(
    given_map: dict, students: tuple[str, ...], groups: tuple
) -> None:
    mapping = ClassMapping.from_settings(given_map, VOC, 5, students)
    assert mapping.groups == groups
    logits = logits_of(5)
    answer = mapping.apply(logits)
    assert answer.shape[1] == mapping.channels == (1 if len(students) == 2 else len(students))
    assert answer.dtype == torch.float64
    torch.testing.assert_close(probabilities_of(answer), summed(logits, groups), rtol=1e-10, atol=1e-12)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_any_mapping_sums_probabilities(data: st.DataObject) -> None:
    teachers = data.draw(st.integers(2, 7))
    students = data.draw(st.integers(2, teachers))
    targets = [
        *range(students),
        *(data.draw(st.sampled_from([None, *range(students)])) for _ in range(teachers - students)),
    ]
    targets = data.draw(st.permutations(targets))
    names = tuple(f"s{number}" for number in range(students))
    given_map = {index: None if target is None else names[target] for index, target in enumerate(targets)}
    mapping = ClassMapping.from_settings(given_map, None, teachers, names)
    logits = logits_of(teachers, seed=data.draw(st.integers(0, 99)))
    expected = summed(logits, mapping.groups)
    torch.testing.assert_close(probabilities_of(mapping.apply(logits)), expected, rtol=1e-9, atol=1e-11)


def test_one_channel_is_two_classes_with_the_logits_zero_and_z() -> None:
    z = logits_of(1)
    same = ClassMapping.from_settings({0: "a", 1: "b"}, None, 1, ("a", "b"))
    torch.testing.assert_close(same.apply(z), z)
    swapped = ClassMapping.from_settings({"bg": "b", "fg": "a"}, ("bg", "fg"), 1, ("a", "b"))
    torch.testing.assert_close(swapped.apply(z), -z)


def test_logits_stay_finite_where_probabilities_would_not() -> None:
    logits = torch.tensor([300.0, -300.0, -299.0, 0.0, 500.0]).view(1, 5, 1, 1)
    answer = ClassMapping(((0,), (1, 2)), 5).apply(logits)
    assert float(answer) == pytest.approx(-299.0 + 0.3132617 - 300.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_whatever_comes_float32_goes(dtype: torch.dtype) -> None:
    assert ClassMapping(((0, 1), (2,), (3,)), 4).apply(logits_of(4).to(dtype)).dtype == torch.float32


def test_no_softmax_normaliser_is_lost_on_a_permutation() -> None:
    logits = logits_of(3)
    assert torch.equal(ClassMapping(((2,), (0,), (1,)), 3).apply(logits), logits[:, [2, 0, 1]])


@pytest.mark.parametrize(
    ("given_map", "message"),
    [
        ({"persom": "person", "*": "background"}, r"'persom' is no class of the teacher; did you mean 'person'\?"),
        ({"person": "persn", "*": "background"}, r"'persn', to which 'person' maps, .*; did you mean 'person'\?"),
        ({"person": "person", "*": "back"}, r"'back', to which '\*' maps, is no class of the data"),
        ({5: "person", "*": "background"}, r"there is no class 5; the teacher has classes 0 to 4"),
        ({-1: "person", "*": "background"}, r"'?-1'? is no class of the teacher"),
        (
            {"person": "person", "background": "background"},
            r"says nothing about car, cat, dog; name them, null to drop",
        ),
        ({"person": "person", "*": None}, r"nothing maps to background"),
        ({"*": "background"}, r"nothing maps to person"),
        ({}, r"says nothing about background, car, cat, person, dog"),
        ({"person": "person", 3: None, "*": "background"}, r"person is named twice"),
    ],
)
def test_mistakes_are_named(given_map: dict, message: str) -> None:
    with pytest.raises(SnowmeltError, match=message) as caught:
        ClassMapping.from_settings(given_map, VOC, 5, ("background", "person"))
    assert "\n" not in str(caught.value)


def test_names_that_are_not_there_or_not_unique() -> None:
    with pytest.raises(SnowmeltError, match="have no names; use indices, 0 to 2"):
        ClassMapping.from_settings({"person": "a", "*": "b"}, None, 3, ("a", "b"))
    with pytest.raises(SnowmeltError, match="several classes 'x'; use indices: 0, 2"):
        ClassMapping.from_settings({"x": "a", "*": "b"}, ("x", "y", "x"), 3, ("a", "b"))
    with pytest.raises(SnowmeltError, match="names 2 classes but has 3"):
        ClassMapping.from_settings({"x": "a", "*": "b"}, ("x", "y"), 3, ("a", "b"))
    digits = ClassMapping.from_settings({"1": "a", "*": "b"}, ("1", "0"), 2, ("a", "b"))
    assert digits.groups == ((0,), (1,))  # a name goes before an index


def test_logits_of_another_number_of_channels_are_refused() -> None:
    with pytest.raises(SnowmeltError, match=r"is for 5 channels, but the teacher gives logits of shape \(2, 4, 3, 4\)"):
        ClassMapping(((0,), (1,)), 5).apply(logits_of(4))


def test_digests_and_words_tell_mappings_apart() -> None:
    mappings = [ClassMapping(((0,), (1, 2)), 3), ClassMapping(((0, 2), (1,)), 3), ClassMapping(((0,), (1, 2)), 4)]
    assert len({mapping.digest for mapping in mappings}) == 3
    assert mappings[0].digest == ClassMapping(((0,), (1, 2)), 3).digest
    assert [mapping.describe() for mapping in mappings[::2]] == [
        "3 of its classes as 2",
        "3 of its classes as 2, 1 dropped",
    ]


# What is taken where nobody wrote a mapping.


@pytest.mark.parametrize(
    ("names", "channels", "students"),
    [
        (("background", "person"), 1, ("background", "person")),
        (None, 1, ("background", "person")),
        (("LABEL_0", "LABEL_1", "LABEL_2"), 3, ("a", "b", "c")),
        (("Background", "Hair ", "traffic  light"), 3, ("background", "hair", "Traffic Light")),
        (None, 3, ("a", "b", "c")),
    ],
)
def test_nothing_is_mapped_where_classes_agree(names, channels: int, students: tuple[str, ...]) -> None:
    said: list[str] = []
    assert default_mapping(names, channels, students, said.append) is None
    assert said == []


@pytest.mark.parametrize("names", [None, ("background", "person")])
def test_two_channels_become_one(names) -> None:
    mapping = default_mapping(names, 2, ("background", "person"), lambda line: None)
    assert mapping is not None
    logits = logits_of(2)
    assert torch.equal(mapping.apply(logits), logits[:, 1:] - logits[:, :1])


def test_another_order_is_put_in_order_and_said() -> None:
    said: list[str] = []
    mapping = default_mapping(("c", "A", "b"), 3, ("a", "b", "c"), said.append)
    assert mapping is not None and mapping.groups == ((1,), (2,), (0,))
    assert len(said) == 1 and "put in order" in said[0]
    turned = default_mapping(("person", "background"), 1, ("background", "person"), said.append)
    assert turned is not None
    z = logits_of(1)
    assert torch.equal(turned.apply(z), -z)


def proposal(names, channels: int, students: tuple[str, ...]) -> dict:
    with pytest.raises(SnowmeltError, match=r"teacher\.class_map: \{") as caught:
        default_mapping(names, channels, students, lambda line: None)
    assert "\n" not in str(caught.value)
    line = str(caught.value).partition("teacher.class_map: ")[2]
    return yaml.safe_load(line)


def test_classes_that_differ_are_refused_with_a_mapping_to_edit() -> None:
    assert proposal(VOC, 5, ("background", "person")) == {
        "background": "background", "car": None, "cat": None, "person": "person", "dog": None,
    }  # fmt: skip
    assert proposal(("bg", "fg"), 1, ("background", "person")) == {"bg": None, "fg": None, "*": "background"}
    assert proposal(None, 4, ("a", "b")) == {0: None, 1: None, 2: None, 3: None, "*": "a"}
    assert proposal(None, 1, ("a", "b", "c")) == {0: None, 1: None, "*": "a"}


def test_a_proposal_of_many_or_strange_names_is_still_yaml() -> None:
    many = proposal(tuple(f"class {number}" for number in range(150)), 150, ("a", "class 3"))
    assert len(many) == 31 and many["class 3"] == "class 3" and many["*"] == "a"
    strange = ("null", "yes", "a: b", "it's", "{x}", "*", "#1", "3", "traffic light", "wall-brick", "")
    keys = proposal(strange, 11, ("a", "it's"))
    assert set(keys) == {*strange}
    assert keys["it's"] == "it's"
    double = proposal(("x", "x", "y"), 3, ("a", "y"))  # names that are not unique are no keys
    assert double == {0: None, 1: None, 2: "y"}
