"""From a teacher's classes to the student's: many to one, or dropped."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.models.networks import closest

REST = "*"
"""The key that stands for every teacher class that is not named."""

_SHOWN = 30  # classes that one message spells out
_PLACEHOLDER = re.compile(r"LABEL_\d+")  # how transformers names classes that nobody named


@dataclass(frozen=True)
class ClassMapping:
    """Which teacher classes make up each of the student's classes; those in no group are dropped."""

    groups: tuple[tuple[int, ...], ...]
    """Per student class the indices of its teacher classes."""
    teacher_channels: int
    """Channels of the teacher's logits; one channel is two classes with the logits (0, z)."""

    @classmethod
    def from_settings(
        cls,
        given: Mapping[str | int, str | None],
        teacher_classes: Sequence[str] | None,
        teacher_channels: int,
        student_classes: Sequence[str],
    ) -> ClassMapping:
        """The mapping that a user wrote: teacher class (name or index) -> student class, None to drop it.

        Errors: SnowmeltError for a name or an index that is not there, a teacher class that is named twice or not at
        all (``"*"`` names the rest), and a student class that nothing maps to.
        """
        count = _count(teacher_channels)
        names = _checked_names(teacher_classes, count)
        target: dict[int, str | None] = {}
        for key, value in given.items():
            if value is not None and value not in student_classes:
                raise SnowmeltError(
                    f"teacher.class_map: {value!r}, to which {key!r} maps, is no class of the data"
                    f"{closest(str(value), student_classes)} (there are: {_listed(student_classes)})",
                    code="teacher-classes",
                )
            if key == REST:
                continue
            index = _index_of(key, names, count)
            if index in target:
                raise SnowmeltError(
                    f"teacher.class_map: {_named(index, names)} is named twice; name it once", code="teacher-classes"
                )
            target[index] = value
        unnamed = [index for index in range(count) if index not in target]
        if unnamed and REST not in given:
            raise SnowmeltError(
                f"teacher.class_map says nothing about {_listed([_named(index, names) for index in unnamed])}; "
                f'name them, null to drop them, or all of the rest with "{REST}": null',
                code="teacher-classes",
            )
        target.update(dict.fromkeys(unnamed, given.get(REST)))
        groups = tuple(tuple(i for i in range(count) if target[i] == name) for name in student_classes)
        empty = [name for name, group in zip(student_classes, groups, strict=True) if not group]
        if empty:
            raise SnowmeltError(
                f"teacher.class_map: nothing maps to {_listed(empty)}, so the teacher could not teach it; "
                f"map a teacher class to it, or map more with {REST!r}",
                code="teacher-classes",
            )
        return cls(groups, teacher_channels)

    @property
    def channels(self) -> int:
        """Channels of what ``apply`` gives: one for two classes."""
        return 1 if len(self.groups) == 2 else len(self.groups)

    @property
    def digest(self) -> str:
        """Changes with the groups."""
        return hashlib.sha256(repr((self.groups, self.teacher_channels)).encode()).hexdigest()[:16]

    def describe(self) -> str:
        """A few words for the log."""
        used = sum(len(group) for group in self.groups)
        dropped = _count(self.teacher_channels) - used
        return f"{used} of its classes as {len(self.groups)}" + (f", {dropped} dropped" if dropped else "")

    def apply(self, logits: Tensor) -> Tensor:
        """(B, K, h, w) teacher logits -> (B, C, h, w) float32 logits of the student's classes (float64 stays).

        The logit of a merged class is the logsumexp over its teacher classes, so that its probability is the sum of
        theirs; a dropped class leaves the softmax, whose other probabilities keep their ratios. For two student
        classes the one channel is the difference of the two logits.

        Errors: SnowmeltError if the logits have another number of channels.
        """
        if logits.ndim != 4 or logits.shape[1] != self.teacher_channels:
            raise SnowmeltError(
                f"teacher.class_map is for {self.teacher_channels} channels, but the teacher gives logits of shape "
                f"{tuple(logits.shape)}",
                code="teacher-classes",
            )
        logits = logits if logits.dtype == torch.float64 else logits.float()
        if self.teacher_channels == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        merged = [self._merged(logits, group) for group in self.groups]
        if len(merged) == 2:
            return (merged[1] - merged[0]).unsqueeze(1)
        return torch.stack(merged, dim=1)

    def _merged(self, logits: Tensor, group: tuple[int, ...]) -> Tensor:
        if len(group) == 1:
            return logits[:, group[0]]
        if len(group) == logits.shape[1]:
            return torch.logsumexp(logits, dim=1)
        return torch.logsumexp(logits[:, list(group)], dim=1)


def default_mapping(
    teacher_classes: Sequence[str] | None,
    teacher_channels: int,
    student_classes: Sequence[str],
    say: Callable[[str], None],
) -> ClassMapping | None:
    """The mapping where the user gave none; None where the teacher's logits are the student's as they are.

    Names that are unknown are taken to agree. Names in another order are put in order, which is said. Of two classes
    with the same background the other one is taken for the other one, which is said too.

    Errors: SnowmeltError where the classes differ, with a ``teacher.class_map`` to edit.
    """
    count = _count(teacher_channels)
    names = _checked_names(teacher_classes, count)
    wanted = [_folded(name) for name in student_classes]
    known = [_folded(name) for name in names or ()]
    if names is not None and all(_PLACEHOLDER.fullmatch(name) for name in names):
        known = []
    groups = None
    if count == len(wanted) and (not known or known == wanted):
        groups = tuple((index,) for index in range(count))
    elif sorted(known) == sorted(wanted) and len(set(known)) == count:
        groups = tuple((known.index(name),) for name in wanted)
        say(
            f"teacher: its classes are those of the data in another order, and are put in order: {_listed(names or ())}"
        )
    elif count == len(wanted) == 2 and known[0] == wanted[0]:
        groups = ((0,), (1,))
        say(f"teacher: its class {(names or ())[1]} is taken for {student_classes[1]}")
    if groups is None:
        raise SnowmeltError(_proposal(names, count, student_classes), code="teacher-classes")
    mapping = ClassMapping(groups, teacher_channels)
    as_it_is = mapping.channels == teacher_channels and groups == tuple((index,) for index in range(count))
    return None if as_it_is else mapping


def _proposal(names: tuple[str, ...] | None, count: int, student_classes: Sequence[str]) -> str:
    """One line that can be pasted into a settings file and edited."""
    by_name = {_folded(name): name for name in student_classes}
    unique = names is not None and len(set(names)) == count
    entries = []
    for index in range(min(count, _SHOWN)):
        key = _quoted(names[index]) if unique and names is not None else str(index)
        value = by_name.get(_folded(names[index])) if names is not None else None
        entries.append(f"{key}: {_quoted(value) if value is not None else 'null'}")
    if count > _SHOWN or not any(not entry.endswith(": null") for entry in entries):
        entries.append(f"'{REST}': {_quoted(student_classes[0])}")
    return (
        f"the teacher has {count} classes ({_listed(names) if names else 'without names'}), but the data has "
        f"{len(student_classes)} ({_listed(student_classes)}); say which is which (null drops a class): "
        f"teacher.class_map: {{{', '.join(entries)}}}"
    )


def _index_of(key: str | int, names: tuple[str, ...] | None, count: int) -> int:
    if isinstance(key, str) and names is not None and key in names:
        if names.count(key) > 1:
            places = ", ".join(str(index) for index, name in enumerate(names) if name == key)
            raise SnowmeltError(
                f"teacher.class_map: the teacher has several classes {key!r}; use indices: {places}",
                code="teacher-classes",
            )
        return names.index(key)
    text = str(key)
    if text.isascii() and text.isdigit():
        if int(text) < count:
            return int(text)
        raise SnowmeltError(
            f"teacher.class_map: there is no class {text}; the teacher has classes 0 to {count - 1}",
            code="teacher-classes",
        )
    if names is None:
        raise SnowmeltError(
            f"teacher.class_map: {key!r} is unknown, the teacher's classes have no names; use indices, 0 to "
            f"{count - 1}",
            code="teacher-classes",
        )
    raise SnowmeltError(
        f"teacher.class_map: {key!r} is no class of the teacher{closest(text, names)} (there are: {_listed(names)})",
        code="teacher-classes",
    )


def _checked_names(names: Sequence[str] | None, count: int) -> tuple[str, ...] | None:
    if names is not None and len(names) != count:
        raise SnowmeltError(
            f"the teacher names {len(names)} classes but has {count}; its file is not consistent",
            code="teacher-unreadable",
        )
    return None if names is None else tuple(names)


def _count(channels: int) -> int:
    return 2 if channels == 1 else channels


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()


def _named(index: int, names: tuple[str, ...] | None) -> str:
    return f"class {index}" if names is None else names[index]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _quoted(name: str) -> str:
    """As YAML takes it: bare where that is safe."""
    safe = re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*(?: [A-Za-z0-9_-]+)*", name)
    special = name.lower() in {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
    return name if safe and not special else "'" + name.replace("'", "''") + "'"
