"""Reading settings from YAML, from a Python file's attribute, and from ``a.b=c`` overrides."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from snowmelt.config.base import shown
from snowmelt.config.settings import ExperimentConfig
from snowmelt.errors import SnowmeltError

_MOST_BITS = 1024  # of a whole number; Python refuses to write one of more than 4300 digits
WHOLE = ("milestones", "class_map")  # mappings that are one value


class SettingsLoader(yaml.SafeLoader):
    """Plain data only: no tag runs code. Every mistake is a YAML error with its line, a repeated name too."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, int) and value.bit_length() > _MOST_BITS:
                raise ValueError("a number of so many digits cannot even be shown")
            if isinstance(value, str):
                value.encode()  # half a surrogate pair is no text
            return value
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:  # 2020-99-99, !!int abc
            problem = f"{shown(node.value)} cannot be read as {node.tag.rsplit(':', 1)[-1]}"
            raise yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark) from error

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Each name once: mappings that merge each other nine times over would else grow ninefold at every step."""
        super().flatten_mapping(node)
        last: dict[tuple[str, str], int] = {}
        for place, (key, _) in enumerate(node.value):
            if isinstance(key, yaml.ScalarNode):
                last[key.tag, key.value] = place
        kept = set(last.values())
        node.value = [
            pair for place, pair in enumerate(node.value) if place in kept or not isinstance(pair[0], yaml.ScalarNode)
        ]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)] if node.id == "mapping" else []
        seen: set[str] = set()
        for key in keys:
            if key.value in seen:
                problem = f"{key.value!r} is given twice"
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, as plain data.

    Raises:
        SnowmeltError: the file cannot be read, is not YAML, or is no mapping.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), SettingsLoader)
    except OSError as error:
        raise SnowmeltError(f"{path}: cannot be read ({error.strerror})", code="settings-file") from None
    except UnicodeDecodeError:
        raise SnowmeltError(f"{path}: is not a UTF-8 text file; settings are YAML", code="settings-file") from None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        raise SnowmeltError(f"{path}{where}: is not valid YAML ({reason})", code="settings-file") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SnowmeltError(
            f"{path}: holds a {type(content).__name__}; settings are a mapping such as 'data: ...'",
            code="settings-file",
        )
    for key in content:
        if not isinstance(key, str):
            raise SnowmeltError(f"{path}: the setting name {shown(key)} is not a text", code="settings-file")
    return content


def read_attribute(spec: str) -> ExperimentConfig:
    """The experiment that ``file.py:attribute`` names. This runs the file: give it only what you trust.

    Raises:
        SnowmeltError: no such file or attribute, or it is no ``ExperimentConfig``.
    """
    file, _, attribute = spec.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise SnowmeltError(f"{path}: no such file (asked for attribute {attribute!r} of it)", code="settings-file")
    module_spec = importlib.util.spec_from_file_location(f"snowmelt_config_{path.stem}", path)
    if module_spec is None or module_spec.loader is None:
        raise SnowmeltError(f"{path}: is not a Python file", code="settings-file")
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except SnowmeltError as error:
        raise SnowmeltError(f"{path}: {error}", code=error.code) from None
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())
        raise SnowmeltError(
            f"{path}: running it failed ({type(error).__name__}: {reason})", code="settings-file"
        ) from error
    value = getattr(module, attribute, None)
    if value is None:
        raise SnowmeltError(f"{path}: has no attribute {attribute!r}", code="settings-file")
    if not isinstance(value, ExperimentConfig):
        raise SnowmeltError(
            f"{path}: {attribute} is a {type(value).__name__}, not an ExperimentConfig", code="settings-file"
        )
    return value if value.name else with_values(value, {"name": attribute})


def with_values(config: ExperimentConfig, values: Mapping[str, Any]) -> ExperimentConfig:
    """``config`` with nested ``values`` laid over what it sets, everything checked again.

    A ten-string list in ``values`` is all of the two schedules, so it replaces those of ``config``.

    Raises:
        SnowmeltError: a name that does not exist or a value out of range.
    """
    below = config.model_dump(exclude_unset=True)
    distillation = values.get("distillation")
    if isinstance(distillation, Mapping) and distillation.get("feature_match_layers"):
        below = {key: value for key, value in below.items() if key not in ("temperature", "thaw")}
    return ExperimentConfig(**merge(below, values))


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two nested mappings as one; where both have a value, ``above`` wins."""
    merged = dict(below)
    for key, value in above.items():
        # Milestones and class maps are values, not sections: keys of two of them must not mix.
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) and key not in WHOLE:
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def read_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """Nested values out of ``a.b=c`` strings; ``c`` is read as YAML, so numbers, lists and ``null`` work.

    Raises:
        SnowmeltError: a string without ``=`` or with an unreadable value.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        path, separator, text = pair.partition("=")
        keys = path.strip().split(".")
        if not separator or not all(keys):
            raise SnowmeltError(
                f"--set {pair}: write it as name=value, for example --set thaw.start=5", code="option-value"
            )
        try:
            value = _numbers(yaml.load(text, SettingsLoader))
        except (yaml.YAMLError, RecursionError):
            raise SnowmeltError(
                f"--set {pair[:200]}: the value {shown(text)} is not valid YAML", code="option-value"
            ) from None
        for key in reversed(keys):
            value = {key: value}
        values = merge(values, value)
    return values


def _numbers(value: Any) -> Any:
    """YAML 1.1 reads ``1e-3`` as text; whoever writes it means the number."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, str) and "e" in value.lower():
        try:
            return float(value)
        except ValueError:
            return value
    return value
