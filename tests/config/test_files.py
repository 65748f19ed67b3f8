"""Settings from YAML, from a Python file and from ``a.b=c``: read as data, and refused in one line that says where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from snowmelt.config import (
    DistillationConfig,
    ExperimentConfig,
    TemperatureConfig,
    ThawConfig,
    merge,
    read_attribute,
    read_overrides,
    read_yaml,
    with_values,
)
from snowmelt.errors import SnowmeltError

COOLING = ["temp_scheduling", "true", "5.0", "0.5", "linear"]


def yaml_file(folder: Path, text: str | bytes) -> Path:
    path = folder / "mine.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal_of_yaml(path: Path) -> str:
    with pytest.raises(SnowmeltError) as refused:
        read_yaml(path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_yaml_is_plain_data(tmp_path: Path) -> None:
    path = yaml_file(tmp_path, "seed: 3\ndata:\n  source: scenes:8\n  classes: [a, b]\nthaw: {most: null}\n")
    assert read_yaml(path) == {
        "seed": 3,
        "data": {"source": "scenes:8", "classes": ["a", "b"]},
        "thaw": {"most": None},
    }
    assert read_yaml(yaml_file(tmp_path, "# nothing but a comment\n")) == {}


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("seed: 1\nthaw: {start: 3\n", 3, "expected ',' or '}'"),
        ("seed: 1\n\tthaw: 3\n", 2, "cannot start any token"),
        ("seed: 1\nthaw: 3: 4\n", 2, "mapping values are not allowed"),
        ("seed: 1\nname: 'open\n", 3, "unexpected end of stream"),
        ("seed: 1\nthaw: &a 1\ndata: *b\n", 3, "undefined alias"),
        ("seed: 1\nname: 2020-99-99\n", 2, "'2020-99-99' cannot be read as timestamp"),
        ("seed: !!int many\n", 1, "'many' cannot be read as int"),
        ("a: 1\nb:\n  c: !!bool maybe\n", 3, "'maybe' cannot be read as bool"),
        ("a: !!timestamp soon\n", 1, "'soon' cannot be read as timestamp"),
        ("a: !!int ''\n", 1, "cannot be read as int"),
        ("thaw: {start: 1}\nseed: 2\nthaw: {start: 3}\n", 3, "'thaw' is given twice"),
        ("thaw:\n  start: 1\n  start: 3\n", 3, "'start' is given twice"),
        ("{a: 1}: 2\n", 1, "unhashable key"),
        ("a: !!map [1]\n", 1, "expected a mapping"),
    ],
)
def test_a_mistake_in_yaml_is_named_by_file_and_line(tmp_path: Path, text: str, line: int, reason: str) -> None:
    path = yaml_file(tmp_path, text)
    message = refusal_of_yaml(path)
    assert message.startswith(f"{path}, line {line}: is not valid YAML (")
    assert reason in message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("- a\n- b\n", "holds a list; settings are a mapping"),
        ("just a text\n", "holds a str; settings are a mapping"),
        ("3: 4\n", "the setting name 3 is not a text"),
        (b"seed: \xff\xfe\n", "is not a UTF-8 text file"),
        (b"seed: \x00\n", "is not valid YAML"),
        ("[" * 5000, "is not valid YAML"),
    ],
    ids=["list", "text", "number as name", "not UTF-8", "zero byte", "deep"],
)
def test_what_is_no_settings_file_is_refused(tmp_path: Path, content: str | bytes, reason: str) -> None:
    path = yaml_file(tmp_path, content)
    message = refusal_of_yaml(path)
    assert message.startswith(f"{path}")
    assert reason in message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert refusal_of_yaml(tmp_path / "no.yaml").startswith(f"{tmp_path / 'no.yaml'}: cannot be read (")
    assert refusal_of_yaml(tmp_path).startswith(f"{tmp_path}: cannot be read (")


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{canary}']]",
        "!!python/object/apply:os.system ['touch {canary}']",
        "!!python/object/new:subprocess.Popen [['touch', '{canary}']]",
        "!!python/name:os.system",
        "!!python/module:os",
    ],
)
def test_no_tag_runs_code(tmp_path: Path, text: str) -> None:
    canary = tmp_path / "canary"
    text = text.format(canary=canary)
    assert "could not determine a constructor" in refusal_of_yaml(yaml_file(tmp_path, f"seed: {text}\n"))
    with pytest.raises(SnowmeltError, match="not valid YAML"):
        read_overrides([f"seed={text}"])
    assert not canary.exists()


@pytest.mark.parametrize(
    ("pairs", "values"),
    [
        ([], {}),
        (["seed=3"], {"seed": 3}),
        (["optimizer.lr=1e-3"], {"optimizer": {"lr": 0.001}}),
        (["optimizer.lr=2.5E-4", "optimizer.warmup=.5"], {"optimizer": {"lr": 0.00025, "warmup": 0.5}}),
        (["training.max_steps=null", "data.val="], {"training": {"max_steps": None}, "data": {"val": None}}),
        (["data.classes=[sky, 'traffic light']"], {"data": {"classes": ["sky", "traffic light"]}}),
        (["student.weights=none"], {"student": {"weights": "none"}}),
        (["student.encoder=timm-efficientnet-b0"], {"student": {"encoder": "timm-efficientnet-b0"}}),
        (["teacher.network.depth=4"], {"teacher": {"network": {"depth": 4}}}),
        (["thaw={start: 1, lr_scale: 1e-2}"], {"thaw": {"start": 1, "lr_scale": 0.01}}),
        (["thaw={start: 1}", "thaw.every=2"], {"thaw": {"start": 1, "every": 2}}),
        (["seed=1", "seed=2"], {"seed": 2}),
        (["temperature.milestones={0: 4.0, 9: 1.0}"], {"temperature": {"milestones": {0: 4.0, 9: 1.0}}}),
        (["thaw.progressive=false"], {"thaw": {"progressive": False}}),
        (["description=a=b"], {"description": "a=b"}),
        ([" seed =3"], {"seed": 3}),
        (["data.source=C:\\pictures"], {"data": {"source": "C:\\pictures"}}),
    ],
)
def test_overrides_are_read_as_yaml(pairs: list[str], values: dict[str, Any]) -> None:
    assert read_overrides(pairs) == values


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        ("seed", "write it as name=value, for example --set thaw.start=5"),
        ("", "write it as name=value"),
        ("=3", "write it as name=value"),
        ("thaw..start=3", "write it as name=value"),
        ("thaw.=3", "write it as name=value"),
        (".start=3", "write it as name=value"),
        ("thaw.start=[", "the value '[' is not valid YAML"),
        ("thaw.start=a: b: c", "is not valid YAML"),
        ("name=2020-99-99", "is not valid YAML"),
        ("seed=!!int many", "is not valid YAML"),
        ("thaw=&a {start: *a}", "is not valid YAML"),
    ],
)
def test_an_override_that_cannot_be_read_is_refused(pair: str, reason: str) -> None:
    with pytest.raises(SnowmeltError) as refused:
        read_overrides([pair])
    assert str(refused.value).startswith(f"--set {pair}: ")
    assert reason in str(refused.value)


@given(st.text(max_size=40))
def test_any_override_is_read_or_refused(text: str) -> None:
    for pair in (text, f"seed={text}"):
        try:
            assert isinstance(read_overrides([pair]), dict)
        except SnowmeltError as error:
            assert str(error).startswith("--set ")


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("abc", max_size=3)


@given(st.dictionaries(st.sampled_from(["seed", "thaw", "x"]), scalars | st.lists(scalars, max_size=3)))
def test_what_yaml_can_write_an_override_can_say(values: dict[str, Any]) -> None:
    pairs = [f"{key}={yaml.safe_dump(value, default_flow_style=True)}" for key, value in values.items()]
    assert read_overrides(pairs) == values


def test_merging_lays_one_over_the_other() -> None:
    below = {"seed": 1, "thaw": {"start": 1, "every": 2}, "data": {"classes": ["a", "b"]}}
    above = {"thaw": {"start": 5}, "data": {"classes": ["c"]}, "name": "x"}
    assert merge(below, above) == {
        "seed": 1,
        "thaw": {"start": 5, "every": 2},
        "data": {"classes": ["c"]},
        "name": "x",
    }
    assert below["thaw"] == {"start": 1, "every": 2}
    assert merge({"thaw": 3}, {"thaw": {"start": 1}}) == {"thaw": {"start": 1}}


def test_milestones_of_two_schedules_do_not_mix() -> None:
    config = ExperimentConfig(temperature=TemperatureConfig(kind="piecewise", milestones={0: 4.0, 49: 1.0}))
    changed = with_values(config, {"temperature": {"milestones": {0: 3.0, 9: 2.0}}})
    assert changed.temperature.milestones == {0: 3.0, 9: 2.0}


def test_values_on_top_keep_what_they_do_not_name() -> None:
    config = ExperimentConfig(thaw=ThawConfig(start=3, every=2), seed=5)
    changed = with_values(config, {"thaw": {"start": 4}, "training": {"epochs": 9}})
    assert (changed.thaw.start, changed.thaw.every, changed.training.epochs, changed.seed) == (4, 2, 9, 5)
    assert config.thaw.start == 3
    with pytest.raises(SnowmeltError, match=r"thaw\.begin: there is no such setting"):
        with_values(config, {"thaw": {"begin": 4}})


def test_a_list_on_top_replaces_both_schedules_below() -> None:
    """The list is all of cooling and thawing; settings of the experiment below must not be mixed into it."""
    config = ExperimentConfig(thaw=ThawConfig(start=3, most=2), temperature=TemperatureConfig(kind="linear"))
    changed = with_values(config, {"distillation": {"feature_match_layers": COOLING, "alpha": 0.7}})
    assert changed.temperature == TemperatureConfig(kind="linear", initial=5.0, final=0.5)
    assert changed.thaw == ThawConfig(progressive=False)
    assert changed.distillation == DistillationConfig(alpha=0.7)
    with pytest.raises(SnowmeltError, match="feature_match_layers and thaw are both given"):
        with_values(config, {"distillation": {"feature_match_layers": COOLING}, "thaw": {"start": 4}})


def python_file(folder: Path, text: str) -> Path:
    path = folder / "experiments.py"
    path.write_text(text)
    return path


def test_an_attribute_of_a_file_is_an_experiment_of_its_name(tmp_path: Path) -> None:
    path = python_file(
        tmp_path,
        "from snowmelt.config import ExperimentConfig, ThawConfig\n"
        "mine = ExperimentConfig(thaw=ThawConfig(start=3))\n"
        "named = ExperimentConfig(name='other')\n",
    )
    assert read_attribute(f"{path}:mine") == ExperimentConfig(name="mine", thaw=ThawConfig(start=3))
    assert read_attribute(f"{path}:named").name == "other"


@pytest.mark.parametrize(
    ("text", "attribute", "reason"),
    [
        ("x = 3", "y", "has no attribute 'y'"),
        ("x = 3", "", "has no attribute ''"),
        ("x = 3", "x", "x is a int, not an ExperimentConfig"),
        ("from snowmelt.config import ExperimentConfig as x", "x", "x is a ModelMetaclass, not an ExperimentConfig"),
        ("raise RuntimeError('no\\nway')", "x", "running it failed (RuntimeError: no way)"),
        ("import no_such_module_anywhere", "x", "running it failed (ModuleNotFoundError: "),
        ("x = (", "x", "running it failed (SyntaxError: "),
        ("raise SystemExit(3)", "x", "running it failed (SystemExit: 3)"),
        (
            "from snowmelt.config import ExperimentConfig\nx = ExperimentConfig(thaw={'start': -1})",
            "x",
            "thaw: first thaw epoch is -1; epochs count from 0",
        ),
    ],
)
def test_a_file_without_that_experiment_is_refused(tmp_path: Path, text: str, attribute: str, reason: str) -> None:
    path = python_file(tmp_path, text)
    with pytest.raises(SnowmeltError) as refused:
        read_attribute(f"{path}:{attribute}")
    assert str(refused.value).startswith(f"{path}: ")
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_python_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no.py"
    with pytest.raises(SnowmeltError) as refused:
        read_attribute(f"{path}:mine")
    assert str(refused.value) == f"{path}: no such file (asked for attribute 'mine' of it)"
