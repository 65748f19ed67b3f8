"""The reference command with its published flags; the same job as ``snowmelt train``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from snowmelt.cli.app import run
from snowmelt.cli.options import Device

staged = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@staged.command()
def train(
    config: Annotated[str, typer.Option("--config", metavar="CONFIG", help="Name, FILE.yaml or FILE.py:ATTRIBUTE.")],
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch_size", min=1, help="Images per forward pass.")] = None,
    max_steps: Annotated[int | None, typer.Option("--max_steps", min=1, help="End after so many steps.")] = None,
    data: Annotated[str | None, typer.Option("--data", metavar="SPEC", help="Where the images are.")] = None,
    val: Annotated[str | None, typer.Option("--val", metavar="SPEC", help="A second SPEC for validation.")] = None,
    image_size: Annotated[int | None, typer.Option("--image_size", min=32, help="Side in pixels.")] = None,
    device: Annotated[Device | None, typer.Option("--device", help="Where to train.")] = None,
    mixed_precision: Annotated[bool, typer.Option("--mixed_precision", help="bf16, or fp16 on older GPUs.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run was cut.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Move an existing run aside.")] = False,
    run_name: Annotated[str | None, typer.Option("--run_name", help="Name of the run folder.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the run.")] = None,
    deterministic: Annotated[
        bool | None, typer.Option("--deterministic", help="The same bits from every run on a GPU, too, or a refusal.")
    ] = None,
    test_only: Annotated[bool, typer.Option("--test_only", help="Score the best weights, train nothing.")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Any other setting.")] = None,
) -> None:
    """Staged distillation: the same job as 'snowmelt train CONFIG'."""
    from snowmelt.jobs import prepare

    precision = None
    if mixed_precision:
        from snowmelt.jobs import mixed_precision_for

        precision = mixed_precision_for(device.value if device else "auto")
    experiment = prepare(
        config,
        epochs=epochs,
        batch_size=batch_size,
        max_steps=max_steps,
        data=data,
        val=val,
        image_size=image_size,
        device=device and device.value,
        precision=precision,
        run_name=run_name,
        seed=seed,
        deterministic=deterministic,
        overrides=set_ or [],
    )
    from snowmelt.jobs import score_run, train_experiment  # torch, for which a mistake need not wait

    if test_only:
        score_run(experiment)
    else:
        train_experiment(experiment, resume=resume, overwrite=overwrite)


def main() -> None:
    """Entry point of ``train_distillation_staged.py``."""
    sys.exit(run(staged))
