"""The ``snowmelt`` command: parse, call, print. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from snowmelt._version import __version__
from snowmelt.cli.benchmark import benchmark
from snowmelt.cli.check_data import check_data
from snowmelt.cli.compare import compare
from snowmelt.cli.evaluate import evaluate
from snowmelt.cli.export import export
from snowmelt.cli.init import init
from snowmelt.cli.options import (
    BatchSize,
    Config,
    Data,
    Deterministic,
    DeviceOption,
    Epochs,
    ImageSize,
    MaxSteps,
    Overwrite,
    PrecisionOption,
    Resume,
    RunName,
    Seed,
    Set,
    Val,
)
from snowmelt.cli.predict import predict
from snowmelt.cli.processor import suit_the_processor
from snowmelt.cli.report import report
from snowmelt.errors import SnowmeltError, Stopped
from snowmelt.jobs.signals import CaughtSignals, catching_signals, exit_code

app = typer.Typer(
    name="snowmelt",
    help="Distil a large segmentation network into a small one: the temperature cools, the encoder thaws, "
    "and the plan is there to read before training begins.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="First steps: 'snowmelt demo', then 'snowmelt configs', then 'snowmelt train auto --data DIR'.",
)


INTERRUPTED = 130  # typer's exit code after Ctrl-C
KEPT = "what was saved is kept, and --resume goes on from it"
KEPT_WITHOUT_FLAG = "what was saved is kept, and the same command goes on from it"
NOTHING_HALF = "no file was left half written; give the command again"


def _version(value: bool) -> None:
    if value:
        typer.echo(f"snowmelt {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options that stand before the command."""
    if debug:
        os.environ["SNOWMELT_DEBUG"] = "1"


@app.command()
def train(
    config: Config,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    max_steps: MaxSteps = None,
    data: Data = None,
    val: Val = None,
    image_size: ImageSize = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    run_name: RunName = None,
    seed: Seed = None,
    deterministic: Deterministic = None,
    test_only: Annotated[bool, typer.Option("--test-only", help="Score the best weights, train nothing.")] = False,
    set_: Set = None,
) -> None:
    """Train an experiment: its teacher first where one is missing, then the student.

    Ctrl-C (exit code 130) and SIGTERM (143) stop it after the step that it is in, saved for --resume; a second one at
    once.
    """
    from snowmelt.jobs import prepare

    experiment = prepare(
        config,
        epochs=epochs,
        batch_size=batch_size,
        max_steps=max_steps,
        data=data,
        val=val,
        image_size=image_size,
        device=device and device.value,
        precision=precision and precision.value,
        run_name=run_name,
        seed=seed,
        deterministic=deterministic,
        overrides=set_ or [],
    )
    # Not before: these import torch, and whoever mistyped a name or a setting need not wait for that. So below, too.
    from snowmelt.jobs import score_run, train_experiment

    if test_only:
        score_run(experiment)
    else:
        train_experiment(experiment, resume=resume, overwrite=overwrite)


@app.command()
def teach(
    config: Config,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    max_steps: MaxSteps = None,
    data: Data = None,
    val: Val = None,
    image_size: ImageSize = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    seed: Seed = None,
    deterministic: Deterministic = None,
    set_: Set = None,
) -> None:
    """Train the teacher of an experiment, to its plateau; 'train' reuses it."""
    from snowmelt.jobs import prepare

    experiment = prepare(
        config,
        epochs=epochs,
        batch_size=batch_size,
        max_steps=max_steps,
        data=data,
        val=val,
        image_size=image_size,
        device=device and device.value,
        precision=precision and precision.value,
        seed=seed,
        deterministic=deterministic,
        overrides=set_ or [],
    )
    from snowmelt.jobs import teach_experiment

    teach_experiment(experiment)


@app.command()
def cache(
    config: Config,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    max_steps: MaxSteps = None,
    data: Data = None,
    val: Val = None,
    image_size: ImageSize = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    seed: Seed = None,
    deterministic: Deterministic = None,
    set_: Set = None,
) -> None:
    """Ask the teacher about every training image once and keep its answers; 'train' reuses them."""
    from snowmelt.jobs import prepare

    experiment = prepare(
        config,
        epochs=epochs,
        batch_size=batch_size,
        max_steps=max_steps,
        data=data,
        val=val,
        image_size=image_size,
        device=device and device.value,
        precision=precision and precision.value,
        seed=seed,
        deterministic=deterministic,
        overrides=set_ or [],
    )
    from snowmelt.jobs import cache_teacher

    cache_teacher(experiment)


app.command()(compare)
app.command("check-data")(check_data)
app.command()(export)
app.command()(init)
app.command()(benchmark)
app.command()(predict)
app.command()(evaluate)
app.command()(report)


@app.command()
def plan(
    config: Config,
    epochs: Epochs = None,
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: every epoch and every stage.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV: a row for every epoch.")] = False,
    set_: Set = None,
) -> None:
    """Show what will happen, stage by stage, before anything trains."""
    from snowmelt.jobs import prepare

    if as_json and as_csv:
        raise SnowmeltError("--json and --csv exclude each other; choose one", code="option-conflict")
    form = "json" if as_json else "csv" if as_csv else "table"
    experiment = prepare(config, epochs=epochs, data=data, overrides=set_ or [])
    from snowmelt.jobs import plan_experiment

    plan_experiment(experiment, form)


@app.command()
def configs(
    name: Annotated[str | None, typer.Argument(help="Show this experiment's settings as YAML.")] = None,
) -> None:
    """List the named experiments, or show one."""
    from snowmelt.jobs import describe_configs

    typer.echo(describe_configs(name), nl=False)


@app.command()
def demo() -> None:
    """Teach, plan, distil and score on embedded data, in a few minutes on two cores."""
    from snowmelt.jobs import run_demo

    run_demo()


def main() -> None:
    """Entry point: errors of the user in one line, exit code 1; 2 for usage; 130 after Ctrl-C, 143 after SIGTERM."""
    sys.exit(run(app))


def run(command: Any) -> int:
    """Run a typer app and give its exit code, with every user's mistake as one line on stderr."""
    suit_the_processor()
    with catching_signals() as signals:
        try:
            command(standalone_mode=True)
        except Stopped as stopped:
            return _stopped(str(stopped), exit_code(stopped.signal))
        except SystemExit as end:
            if signals.first is not None:
                return _stopped(f"stopped by {signals.first.name}; {_left()}", exit_code(signals.first))
            code = end.code if isinstance(end.code, int) else 0
            if code == INTERRUPTED:
                typer.echo(f"interrupted; {_left()}", err=True)
            return code
        except Exception as error:
            return _failed(error, signals)
    return 0


def _stopped(text: str, code: int) -> int:
    """Say once, however many processes there are, that a signal ended the command."""
    if os.environ.get("RANK", "0") == "0":
        typer.echo(text, err=True)
    return code


def _failed(error: Exception, signals: CaughtSignals) -> int:
    """A user's mistake in one line; an error that only says that a signal ended another process first, not at all.

    Raises any other error again: a traceback is what a bug needs.
    """
    if os.environ.get("SNOWMELT_DEBUG"):
        raise error
    if isinstance(error, SnowmeltError):
        typer.echo(f"error[{error.code}]: {' '.join(str(error).split())}", err=True)
        return 1
    if signals.first is None or os.environ.get("WORLD_SIZE", "1") == "1":
        raise error
    return _stopped(f"stopped by {signals.first.name}; {_left()}", exit_code(signals.first))


def _left() -> str:
    """What is left of the command that was typed, and how to go on with it."""
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    if command in ("teach", "cache", "compare", "demo"):
        return KEPT_WITHOUT_FLAG
    if command in ("plan", "configs", "check-data", "init", "export", "benchmark", "evaluate", "report"):
        return NOTHING_HALF
    return KEPT
