"""What a comparison says to a person: before it trains, and at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from rich.console import Console

from snowmelt.jobs.compare_request import CompareRequest
from snowmelt.jobs.comparing.budget import ArmBudget
from snowmelt.jobs.comparing.layout import CompareFolder
from snowmelt.jobs.comparing.scores import ScoredPart
from snowmelt.jobs.comparing.teachers import Taught
from snowmelt.jobs.session import Session
from snowmelt.jobs.teaching import teacher_source
from snowmelt.reporting import budget_table, comparison_tables
from snowmelt.study import Comparison


def print_budgets(budgets: Mapping[str, ArmBudget], base: str) -> None:
    """How many epochs each arm gets, before anything trains."""
    console = Console()
    console.print()
    console.print(budget_table([asdict(budget) for budget in budgets.values()], base))


def print_comparison(folder: CompareFolder, comparison: Comparison) -> None:
    """Tables, notes, where everything lies, and the verdict last."""
    console, content = Console(), comparison.to_dict()
    console.print()
    for table in comparison_tables(content):
        console.print(table)
    for note in comparison.notes:
        console.print(f"Note: {note}.", highlight=False, markup=False)
    console.print(f"{folder.json_file} and {folder.plot_file.name} have all of it.", highlight=False, markup=False)
    console.print()
    for sentence in comparison.verdict.sentences:
        console.print(sentence, highlight=False, markup=False)


def notes_of(
    request: CompareRequest,
    main: Session,
    taught: Taught,
    *,
    part: ScoredPart,
    transfer: ScoredPart | None,
    transfer_is: str,
    budgets: Mapping[str, ArmBudget],
) -> list[str]:
    """What a reader should know of any comparison made like this, each without its full stop."""
    notes = []
    if part.name == "val":
        notes.append(
            "the data has no test part, so choices (the best epoch, the best arm) and scores share the "
            f"{len(part.source)} validation images, which flatters all scores"
        )
    if transfer is not None:
        images = {"all": "all images"}.get(transfer_is, f"the {transfer_is} part")
        notes.append(f"transfer: {images} of {request.transfer}, {len(transfer.source)} images")
    if budgets:
        notes.append(
            "epochs differ between arms so that the training steps take equal time, by a prediction; thaw, warm-up and "
            "milestones keep their share of a run"
        )
    first = next((ready.teacher_session for ready in taught.arms if ready.teacher_session is not None), None)
    for ready in taught.arms:
        if ready.teacher_session is not None and first is not None and ready.teacher_session is not first:
            notes.append(
                f"arm {ready.name} has a teacher of its own ({teacher_source(ready.teacher_session)}), whose score and "
                "training time are not in this comparison"
            )
        if ready.config.data.image_size != main.config.data.image_size:
            notes.append(f"arm {ready.name} sees and is scored on images of {ready.config.data.image_size} pixels")
    said = [notice for found in taught.found.values() for notice in found.notices]
    return [*notes, *dict.fromkeys(said)]
