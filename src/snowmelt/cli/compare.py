"""``snowmelt compare``: parse, call."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from snowmelt.cli.options import (
    BatchSize,
    Config,
    Data,
    DeviceOption,
    Epochs,
    ImageSize,
    MaxSteps,
    PrecisionOption,
    RunName,
    Set,
    Val,
)


class Budget(StrEnum):
    epochs = "epochs"
    seconds = "seconds"


def compare(
    config: Config,
    arms: Annotated[
        str,
        typer.Option(
            metavar="ARM,ARM",
            help="Ready-made arms: plain, config, thaw, kd, cooled, t2 (any t and number), and one of these + thaw.",
        ),
    ] = "plain,kd,cooled,thaw,cooled+thaw",
    arm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'NAME: WORD...'",
            help="An arm of your own: ready-made words and settings, such as 'hot: kd temperature.initial=8'; "
            "may be given several times.",
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(metavar="N|A,B", help="So many seeds from 0, or just these.")] = "3",
    budget: Annotated[
        Budget, typer.Option(help="Equal epochs, or the epochs that fit into the base arm's training time.")
    ] = Budget.epochs,
    transfer: Annotated[
        str | None, typer.Option(metavar="SPEC", help="A second data set of the same classes to score on too.")
    ] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    max_steps: MaxSteps = None,
    data: Data = None,
    val: Val = None,
    image_size: ImageSize = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    run_name: RunName = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print comparison.json; all else goes to stderr.")] = False,
    set_: Set = None,
) -> None:
    """Does it help on your data? Train the student in several ways and seeds; give it again to go on after a cut."""
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
        overrides=set_ or [],
    )
    from snowmelt.jobs import read_request

    request = read_request(experiment, arms, arm or (), seeds, budget.value, transfer)
    from snowmelt.jobs import compare_experiment

    compare_experiment(request, as_json=as_json)
