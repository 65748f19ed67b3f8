"""The documents say what is so: commands parse, snippets run, defaults are the real ones, and nothing is left out."""

from __future__ import annotations

import ast
import io
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from packaging.requirements import Requirement
from pydantic import BaseModel
from rich.console import Console

from snowmelt.build import make_plan_of
from snowmelt.build.identity import FREE_ON_RESUME
from snowmelt.cli.app import app
from snowmelt.cli.staged import staged
from snowmelt.config import ExperimentConfig, read_overrides, with_values
from snowmelt.config_manager import CONFIGS, REFERENCE, ConfigManager
from snowmelt.reporting import plan_table
from snowmelt.schedules import LearningRateSchedule

ROOT = Path(__file__).resolve().parent.parent
READMES = ("README.md", "README.ja.md")
GUIDES = (
    "index",
    "quick-start",
    "reference",
    "reference.ja",
    "in-pictures",
    "settings",
    "concepts",
    "compare",
    "evaluate",
    "data",
    "predict",
    "export",
    "report",
    "errors",
)
HOW_TOS = tuple(path.stem for path in sorted((ROOT / "docs" / "how-to").glob("*.md")))
DOCUMENTS = (
    *READMES,
    *("CONTRIBUTING.md", "CHANGELOG.md"),
    *(f"docs/{name}.md" for name in GUIDES),
    *(f"docs/how-to/{name}.md" for name in HOW_TOS),
)
REFERENCE_USE = [
    f"uv run python train_distillation_staged.py --config {REFERENCE} --epochs 50 --batch_size 4",
    f"tensorboard --logdir experiments/{REFERENCE}/logs",
    f"tail -f experiments/{REFERENCE}/logs/training_log_*.txt",
]


@cache
def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    """Contents of the fenced blocks of one language, in order; ``""`` for blocks without one."""
    found = re.findall(r"(?ms)^```(\w*)\n(.*?)^```$", text_of(name))
    return [content for tag, content in found if tag == language]


def commands(name: str) -> list[str]:
    """Every command in the shell blocks, on one line each and without comments."""
    lines = [line for block in blocks(name, "sh") for line in block.replace("\\\n", " ").splitlines()]
    return [" ".join(command.split()) for line in lines if (command := line.split(" #")[0]).strip()]


def settings_of(config: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and default of every setting, sections opened up."""
    for key in type(config).model_fields:
        value = getattr(config, key)
        if isinstance(value, BaseModel):
            yield from settings_of(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value) if isinstance(value, Path) else value


def table_rows(name: str, columns: int) -> list[list[str]]:
    """Cells of all table rows with so many columns, heads and rules left out."""
    lines = [line for line in text_of(name).splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in lines]
    return [row for row in rows if len(row) == columns]


def section_of(name: str, heading: str) -> str:
    return re.split(r"(?m)^#+ ", text_of(name).split(f"## {heading}\n", 1)[1], maxsplit=1)[0]


DEFAULTS = dict(settings_of(ExperimentConfig()))


def documented_defaults() -> dict[str, str]:
    whole = text_of("docs/settings.md").split("## Every setting\n", 1)[1].split("\n## ", 1)[0]
    found = re.findall(r"(?m)^\| `([\w.]+)` \| `(.+?)` \| \S.* \|$", whole)
    assert len(found) == len(dict(found)), "a setting stands in the tables twice"
    return dict(found)


def test_every_setting_is_documented_and_none_that_does_not_exist() -> None:
    assert set(documented_defaults()) == set(DEFAULTS)


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_documented_default_is_the_true_one(name: str) -> None:
    given = yaml.safe_load(documented_defaults()[name])
    assert given == DEFAULTS[name]
    assert type(given) is type(DEFAULTS[name])  # 1 is not 1.0, and 0 is not false


def test_what_may_change_on_resume_is_documented() -> None:
    paragraph = section_of("docs/settings.md", "What may change on resume").strip().split("\n\n")[0]
    assert set(re.findall(r"`([\w.]+)`", paragraph)) == set(FREE_ON_RESUME)


def test_every_named_experiment_is_documented() -> None:
    rows = re.findall(r"(?m)^\| `(\w+)` \|", section_of("docs/settings.md", "Named experiments"))
    assert rows == list(CONFIGS)


def test_the_figures_for_the_rate_schedule_are_computed() -> None:
    cosine, trapezoid = LearningRateSchedule("cosine"), LearningRateSchedule("trapezoid")
    steps = [40 + (step + 0.5) / 100 for step in range(1000)]
    means = [sum(schedule.factor(step, 50) for step in steps) / len(steps) for schedule in (cosine, trapezoid)]
    text = " ".join(section_of("docs/settings.md", "Why the learning rate is a trapezoid").split())
    factor = cosine.factor(40, 50)
    assert f"The factor on every rate is then {factor:.3f}".lower() in text.lower()
    assert f"{factor:.3f} x 0.1 x 0.001 = {factor * 0.1 * 0.001:.2e}".replace("e-05", "e-5") in text
    assert f"see a mean factor of {means[0]:.3f}" in text
    assert f"sees a mean of {means[1]:.3f}" in text
    assert trapezoid.factor(40, 50) == pytest.approx(1.0)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_printed_command_can_be_given(name: str) -> None:
    for line in commands(name):
        words = shlex.split(line)
        words = words[2:] if words[:2] == ["uv", "run"] else words
        if words[0] == "torchrun":
            words = words[words.index("train_distillation_staged.py") :]
        words = words[1:] if words[0] == "python" else words
        check_command(words)


def check_command(words: list[str]) -> None:
    program, arguments = words[0], words[1:]
    if program == "snowmelt":
        group: Any = typer.main.get_command(app)
        command, config = group.commands[arguments[0]], None
        context = command.make_context(arguments[0], arguments[1:])
        config = context.params.get("config")
    elif program == "train_distillation_staged.py":
        context = typer.main.get_command(staged).make_context(program, arguments)
        config = context.params["config"]
    else:
        make = (ROOT / "Makefile").read_text()
        known = {"make": arguments and re.search(rf"(?m)^{arguments[0]}:", make), ".ci/run": True}
        assert known.get(program) or " ".join(words) in REFERENCE_USE, " ".join(words)
        return
    if config is not None and not config.endswith(".yaml") and ".py:" not in config:
        with_values(ConfigManager.get_config(config), read_overrides(context.params.get("set_") or []))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_flag_and_every_setting_that_is_mentioned_exists(name: str) -> None:
    group: Any = typer.main.get_command(app)
    everything = [group, typer.main.get_command(staged), *group.commands.values()]
    flags = {option for command in everything for parameter in command.params for option in parameter.opts}
    # every command's, tensorboard's and torchrun's
    others = {"--help", "--logdir", "--nproc_per_node", "--max-restarts"}
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text_of(name))) <= flags | others
    for setting in re.findall(r"--set ([\w.]+)=", text_of(name)):
        assert setting in DEFAULTS


@pytest.mark.parametrize("name", READMES)
def test_the_readme_begins_with_what_a_newcomer_types(name: str) -> None:
    assert commands(name)[:5] == ["make demo", "make test", *REFERENCE_USE]


def test_both_readmes_show_the_same() -> None:
    english, japanese = READMES
    assert commands(english) == commands(japanese)
    # Comments are in the reader's language; what runs is the same.
    code = [[ast.dump(ast.parse(block)) for block in blocks(name, "python")] for name in READMES]
    assert code[0] == code[1]
    assert f"]({japanese})" in text_of(english)
    assert f"]({english})" in text_of(japanese)
    headings = [len(re.findall(r"(?m)^## ", text_of(name))) for name in READMES]
    assert headings[0] == headings[1]


@pytest.mark.parametrize("name", ["README.md", "docs/settings.md"])
def test_the_snippets_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, in a folder with a run in it, as a reader would paste them."""
    import segmentation_models_pytorch as smp

    from snowmelt.models import save_weights

    weights = tmp_path / "experiments" / "NAME" / "checkpoints" / "best.safetensors"
    weights.parent.mkdir(parents=True)
    save_weights(weights, smp.Unet("timm-efficientnet-b0", encoder_weights=None, classes=1), {})
    monkeypatch.chdir(tmp_path)
    snippets = blocks(name, "python")
    assert snippets
    results: dict[str, Any] = {}
    for snippet in snippets:
        exec(compile(snippet, name, "exec"), results)
    if name == "README.md":
        assert (round(results["temperature"], 2), results["blocks"]) == (3.70, 3)
        assert results["loss"].isfinite()
        assert 0 <= results["mean"] <= 1
    else:
        assert results["my_custom_distillation"].thaw == CONFIGS[REFERENCE].thaw
        assert results["my_custom_distillation"].temperature == CONFIGS[REFERENCE].temperature


@pytest.mark.parametrize("number", range(len(blocks("docs/settings.md", "yaml"))))
def test_the_yaml_is_an_experiment(number: int, tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(blocks("docs/settings.md", "yaml")[number])
    assert ConfigManager.get_config(str(file)).name == "my"


def test_the_plan_in_the_readmes_is_the_plan() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(plan_table(make_plan_of(ConfigManager.get_config(REFERENCE)), title=REFERENCE))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    expected = [line.rstrip() for line in printed.splitlines() if line.strip()]
    assert len(expected) > 10
    for name in READMES:
        shown = [line.strip() for line in text_of(name).splitlines()]
        assert not [line for line in expected if line.strip() not in shown]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(name)):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        assert path.is_file(), f"{name} links to {target}"
        if anchor:
            headings = re.findall(r"(?m)^#+ (.+)$", path.read_text(encoding="utf-8"))
            assert anchor in {re.sub(r"[^\w\s-]", "", each).lower().replace(" ", "-") for each in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_name_no_machine_and_no_registry(name: str) -> None:
    text = text_of(name)
    assert not re.search(r"(?<![\w.])/(?:home|Users|tmp|mnt|opt|srv|var)/", text)
    assert not re.search(r"[A-Z]:\\", text)
    assert not [host for host in ("py" + "pi.org", "python" + "hosted", "ana" + "conda.org") if host in text]


def test_every_dependency_is_accounted_for() -> None:
    project = tomllib.loads(text_of("pyproject.toml"))
    groups = project["dependency-groups"]
    lines = [*project["project"]["dependencies"], *groups["dev"], *groups["docs"]]
    lines += project["build-system"]["requires"]
    documented = {row[0].split("`")[1] for row in table_rows("CONTRIBUTING.md", columns=4)}
    assert {Requirement(line).name for line in lines} <= documented


def test_every_room_is_on_the_map() -> None:
    source = ROOT / "src" / "snowmelt"
    rooms = {path.parent.name for path in source.glob("*/__init__.py")} | {"config_manager", "errors"}
    shown = section_of("CONTRIBUTING.md", "How the house is laid out")
    cells = [line.split("|")[2] for line in shown.splitlines() if line.startswith("|")]
    assert rooms <= set(re.findall(r"`(\w+)`", " ".join(cells)))
