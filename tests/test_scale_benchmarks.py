"""Benchmarks of single questions, each once and tiny; and the page about many images says what its script computes."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import typer.main
from torch.utils.flop_counter import FlopCounterMode

from snowmelt.build import make_plan_of
from snowmelt.cli.staged import staged
from snowmelt.config import with_values
from snowmelt.config_manager import REFERENCE, ConfigManager
from snowmelt.models import build_network
from snowmelt.teachers.cache.encoding import Encoding

ENCODER = "tu-mobilenetv3_small_050"
ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
sys.path.append(str(BENCHMARKS))
scale, scaling, start_up, step_growth = (
    import_module(name) for name in ("scale", "scaling", "start_up", "step_growth")
)

Outcome = tuple[dict[str, Any], str]


@pytest.fixture(scope="module")
def run_script(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Outcome]]:
    """Runs a script in this process and gives what it writes and prints; what it changes is put back at the end."""
    from snowmelt.jobs import running

    with pytest.MonkeyPatch.context() as patch:
        name = "THP_MEM_ALLOC_ENABLE"
        patch.setenv(name, os.environ.get(name, "1"))  # what scripts would set is there already
        patch.setattr(os, "sched_setaffinity", lambda *_: None)
        patch.setattr(running, "Announcer", running.Announcer)
        for module in (scaling, step_growth):
            patch.setattr(module, "Crew", lambda *given, real=module.Crew, **options: crew_of(real, *given, **options))

        def run(name: str, *given: str) -> Outcome:
            target = tmp_path_factory.mktemp(name) / "result.json"
            patch.setattr(sys, "argv", [name, *given, "--json", str(target)])
            with redirect_stdout(io.StringIO()) as said:
                import_module(name).main()
            return json.loads(target.read_text()), said.getvalue()

        yield run


def crew_of(real: Any, task: Any, *, processes: int = 1, **options: Any) -> Any:
    """A crew of one is this process, which saves starting another; several are what they are."""
    return real(task, processes=processes, **options) if processes > 1 else Here(task, **options)


class Here:
    """A trainer in this process, asked as a crew is."""

    def __init__(
        self, task: Any, settings: dict[str, Any], resident: bool = False, cores: Any = None, threads: Any = None
    ) -> None:
        self.trainer = import_module("trainer").Trainer(task, settings, resident)
        self.thaw = self.trainer.thaw
        self.about = {"blocks": len(self.trainer.run.thaw.blocks), "precision": "32"}

    def turn(self, steps: int, cold: int = 0, batch: int | None = None) -> float:
        found = self.trainer.steps(steps, cold, batch)
        return found["images"] / found["seconds"]

    def peak(self, steps: int, batch: int) -> int:
        return int(self.trainer.peak(steps, batch)["bytes"])

    def close(self) -> None:
        """Nothing to end."""

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *error: Any) -> None:
        """Nothing to end."""


def test_the_pipeline_is_measured_from_every_source(run_script: Callable[..., Outcome]) -> None:
    given = ["--sizes", "64", "--images", "6", "--batch", "2", "--turn", "4", "--rounds", "1"]
    result, said = run_script("pipeline", *given)
    [measured] = result["sizes"].values()
    sources = {"folder", "polygons", "rle", "scenes", "store"}
    assert set(measured["ratios"]) == set(measured["loader_rounds"]) == sources
    assert set(measured["rounds"]) == sources | {f"usual, {name}" for name in sources - {"store"}}
    for name, rounds in measured["rounds"].items():
        assert len(rounds) == 1 and rounds[0] > 0, name
        assert name.startswith("usual") or measured["loader_rounds"][name][0] >= rounds[0]
    assert all(f"\n{name} " in said for name in sources)


def test_all_sources_of_the_pipeline_hold_the_same(tmp_path: Path) -> None:
    from snowmelt.data import open_splits

    specs = import_module("pipeline").make_sources(tmp_path, 3)
    folder, polygons, run_lengths = (
        open_splits(specs[name], val_fraction=0.4).train for name in ("folder", "polygons", "rle")
    )
    for index in range(len(polygons)):
        wanted = polygons.load(index)
        assert wanted.mask.any()
        for other in (folder, run_lengths):
            found = other.load(index)
            assert found.name == wanted.name
            assert (found.image == wanted.image).all() and (found.mask == wanted.mask).all()


@pytest.fixture(scope="module")
def two(run_script: Callable[..., Outcome]) -> Outcome:
    """One process and two, with two micro-batches in a step."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("two processes want two cores")
    sizes = ["--size", "64", "--batch", "2", "--images", "12", "--rounds", "1", "--steps", "1"]
    # A whole step has 8 images, and 11 are trained on: the step that is looked at must not be the short one.
    given = ["--pair", f"{ENCODER}:{ENCODER}", *sizes, "--thawed", "0", "all", "--accumulate", "2"]
    return run_script("scaling", *given)


def test_gradients_of_what_learns_go_round_once_a_step(two: Outcome) -> None:
    frozen, whole = two[0]["stages"]
    assert 0 < frozen["trainable"] < whole["trainable"]
    for stage in (frozen, whole):
        # Two micro-batches, and still four bytes for each parameter that learns: nothing for the others, none twice.
        assert stage["gradient_bytes"] == 4 * stage["trainable"]
    assert (frozen["thawed"], whole["thawed"]) == (0, 6)


def test_speeds_of_one_process_and_two_are_compared(two: Outcome) -> None:
    result, said = two
    for stage in result["stages"]:
        [one], [both] = stage["rounds"]["1"], stage["rounds"]["2"]
        assert stage["speedup"][0] == pytest.approx(both / one)
        assert stage["efficiency"][0] == pytest.approx(both / one / 2)
    assert "2 images in each process and 2 micro-batches" in said and "6 of 6" in said


def test_what_a_step_sends_is_sorted_by_its_purpose() -> None:
    calls = [("barrier", 0), ("all_reduce", 32), ("broadcast", 4000), ("all_reduce", 8192), ("all_reduce", 1024)]
    assert scaling.sent(calls) == {
        "gradient_calls": 2,
        "gradient_bytes": 9216,
        "buffer_calls": 1,
        "buffer_bytes": 4000,
        "small_calls": 2,
        "barriers": 1,
    }


def test_more_processes_than_cores_are_refused() -> None:
    with pytest.raises(SystemExit, match="want a core each"):
        scaling.cores_of(10_000, "cpu")
    assert scaling.cores_of(10_000, "cuda") is None


def test_a_step_grows(run_script: Callable[..., Outcome]) -> None:
    given = ["--pair", f"{ENCODER}:{ENCODER}", "--sizes", "64", "--batches", "2", "1", "--rounds", "1", "--steps", "1"]
    result, said = run_script("step_growth", *given)
    assert [(cell["size"], cell["batch"]) for cell in result["cells"]] == [(64, 1), (64, 2)]
    for cell in result["cells"]:
        assert cell["seconds"]["plain"][0] > 0 and cell["seconds"]["live"][0] > 0
        assert set(cell["bytes"]) == {"plain", "live"}
    assert "64 px, batch" in said


def test_growth_is_the_exponent_over_pixels() -> None:
    small, wide = step_growth.Cell(128, 4), step_growth.Cell(256, 4)
    assert step_growth.growth(small, wide, 1.0, 4.0) == pytest.approx(1.0)
    assert step_growth.growth(small, step_growth.Cell(128, 8), 1.0, 1.0) == 0
    assert step_growth.growth(small, step_growth.Cell(128, 8), 1.0, 4.0) == pytest.approx(2.0)


def test_commands_are_timed_with_the_part_of_their_imports(tmp_path: Path) -> None:
    wanted = {name: start_up.commands(REFERENCE, str(tmp_path))[name] for name in ("python", "snowmelt --version")}
    costs = start_up.measure(wanted, 2, tmp_path)
    assert all(len(children) == 2 and min(map(min, children)) > 0 for children in costs.values())
    shares = [start_up.import_share(command, tmp_path) for command in wanted.values()]
    assert all(0 < share < 1 for share in shares)


@pytest.mark.parametrize("event", [start_up.STARTS, start_up.STEPS])
def test_training_is_ended_at_an_event(
    event: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_script: Callable[..., Outcome]
) -> None:
    assert run_script  # puts back what is changed here
    ended: list[str] = []

    def end(code: int) -> None:
        ended.append((tmp_path / "plain" / "config.yaml").read_text())
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", end)
    small = ["--image-size", "64", "--set", f"student.encoder={ENCODER}", "--device", "cpu", "--set", "data.workers=0"]
    monkeypatch.setattr(start_up, "TRAIN", [*start_up.TRAIN, *small])
    with pytest.raises(SystemExit) as told:
        start_up.train_until(event, str(tmp_path))
    assert told.value.code == 0 and len(ended) == 1
    assert not (tmp_path / "plain" / "checkpoints" / "last.ckpt").exists()  # the end of an epoch was not reached


def test_a_command_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"(?s)No such command.*nothing failed"):
        start_up.run([sys.executable, "-c", start_up.SNOWMELT, "nothing"], tmp_path)


DEFAULTS = {name: figure.value for name, figure in scale.FIGURES.items()}


def test_the_page_shows_what_the_script_prints() -> None:
    command = [sys.executable, str(BENCHMARKS / "scale.py")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    [shown] = re.findall(r"(?ms)^```text\n(.*?)^```$", PAGE)
    assert shown == printed


def test_the_costs_by_hand() -> None:
    given = {"images_per_second": 200.0, "teacher_images_per_second": 500.0, "stored_bytes": 1e6, "machine_gb": 400}
    costs = scale.Costs({**DEFAULTS, **given, "epochs": 10, "gpus": 4, "batch": 8, "gradient_bytes": 25e6})
    assert costs.training_hours(720_000) == pytest.approx(10)  # 7.2 M images at 200 a second
    assert costs.pass_hours(1_800_000) == pytest.approx(1)
    assert costs.live_hours(720_000) == pytest.approx(10 + 10 * 0.4)
    assert costs.days(720_000) == pytest.approx(10.4 / 4 / 24)
    # 25 steps a second, each sending 25 MB once to be added up and once to come back, of which an eighth stays.
    assert costs.exchanged(25e6, 8) == pytest.approx(25 * 25e6 * 2 * 7 / 8 * 8 / 1e9)
    assert costs.read(1e6) == pytest.approx(200 * 4 * 8e6 / 1e9)
    assert dict((what, count) for what, _, count in costs.limits())["the image store in a machine's memory"] == 200_000


def test_a_figure_that_is_given_says_so() -> None:
    text = scale.inputs(scale.Costs({**DEFAULTS, "images_per_second": 420.0}))
    assert re.search(r"(?m)^images-per-second, .* 420  given$", text)
    assert len(text.splitlines()) == len(scale.FIGURES) + 2


def test_computed_figures_are_those_of_the_code() -> None:
    for name, encoder in (("student_gflop", "timm-efficientnet-b0"), ("teacher_gflop", "timm-efficientnet-b3")):
        network = build_network("unet", encoder, 1).eval().to("meta")
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, 640, 640, device="meta"))
        assert counter.get_total_flops() / 1e9 == pytest.approx(DEFAULTS[name], rel=5e-3)
    assert Encoding("uint8", 2, None, 1, 640).row_bytes == DEFAULTS["answer_bytes"]
    stages = make_plan_of(with_values(ConfigManager.get_config("large_data"), {"student": {"weights": "none"}})).stages
    learns = {stage.thawed_blocks: stage.trainable_parameters for stage in stages}
    assert 4 * learns[7] == DEFAULTS["gradient_bytes"] and 4 * learns[0] == DEFAULTS["frozen_gradient_bytes"]
    table = re.findall(r"(?m)^\| [a-z ]+ \| ([\d,]+) \| ([\d,]+) \|$", PAGE)
    assert [tuple(int(cell.replace(",", "")) for cell in row) for row in table] == [
        (learns[thawed], 4 * learns[thawed]) for thawed in (0, 3, 7)
    ]


def test_what_a_process_holds_for_an_image_is_near_what_was_measured() -> None:
    rows = scale.weigh(4000)
    assert rows[-1][0] == "all of it" and rows[-1][1] == pytest.approx(sum(value for _, value in rows[:-1]))
    assert rows[-1][1] == pytest.approx(DEFAULTS["memory_bytes"], rel=0.2)


@pytest.mark.parametrize("number", [0, 1])
def test_the_printed_launches_can_be_given(number: int) -> None:
    blocks = re.findall(r"(?ms)^```(?:sh|bash)\n(.*?)^```$", PAGE)
    assert len(blocks) == 2
    text = blocks[number].replace("\\\n", " ")
    [line] = [line for line in text.splitlines() if "torchrun" in line]
    words = shlex.split(line)
    position = words.index("train_distillation_staged.py")
    torchrun = words[words.index("torchrun") + 1 : position]
    from torch.distributed.run import get_args_parser

    launch = get_args_parser().parse_args([*torchrun, "train_distillation_staged.py"])
    assert launch.rdzv_backend == "c10d" and launch.rdzv_endpoint.endswith(":29500")
    context = typer.main.get_command(staged).make_context("staged", words[position + 1 :])
    assert context.params["resume"] and context.params["config"] == "large_data"


def test_the_tests_that_the_page_names_are_there() -> None:
    text = (ROOT / "tests" / "data" / "test_sampling.py").read_text()
    names = re.findall(r"`(test_\w+)`", PAGE)
    assert len(names) == 3 and not [name for name in names if f"def {name}(" not in text]
    for file in re.findall(r"`(tests/[\w/]+\.py)`", PAGE):
        assert (ROOT / file).is_file()
