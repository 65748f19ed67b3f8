"""The whole of ``snowmelt compare``, to be read top to bottom."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

from snowmelt.errors import SnowmeltError
from snowmelt.jobs.compare_request import CompareRequest
from snowmelt.jobs.comparing.budget import find_budgets, read_budgets
from snowmelt.jobs.comparing.collecting import Material, collect, write_comparison
from snowmelt.jobs.comparing.layout import CompareFolder
from snowmelt.jobs.comparing.preparing import prepare_arms
from snowmelt.jobs.comparing.printing import notes_of, print_budgets, print_comparison
from snowmelt.jobs.comparing.running import (
    Failures,
    refuse_other_settings,
    refuse_students_without_weights,
    train_seed,
)
from snowmelt.jobs.comparing.scaling import with_epochs
from snowmelt.jobs.comparing.scores import main_part, transfer_part
from snowmelt.jobs.comparing.teachers import Taught, teach_arms
from snowmelt.jobs.locking import held
from snowmelt.jobs.session import as_asked
from snowmelt.jobs.signals import going_on_by_itself
from snowmelt.study import Comparison, base_of


def compare_experiment(request: CompareRequest, as_json: bool = False) -> Comparison:
    """Train every arm with every seed, and say what that shows.

    What is there already is taken: finished runs as they are, begun ones from their last checkpoint. The seeds are the
    outer loop, so that after each of them there is a comparison to look at.

    Args:
        as_json: print the content of ``comparison.json`` and nothing else; what is said goes to standard error.

    Raises:
        SnowmeltError: whatever the user can mend: arms, settings, data, runs with other settings; and at the end, when
            everything else is done, runs that failed.
    """
    if not as_json:
        material, comparison, failures = _compare(request)
        if material.main.leads:
            print_comparison(material.folder, comparison)
    else:
        with contextlib.redirect_stdout(sys.stderr):
            material, comparison, failures = _compare(request)
        if material.main.leads:
            print(json.dumps(comparison.to_dict(), indent=2, allow_nan=False, ensure_ascii=False))
    if failures.reasons:
        first, reason = next(iter(failures.reasons.items()))
        count = len(failures.reasons)
        raise SnowmeltError(
            f"{count} {'run' if count == 1 else 'runs'} failed ({', '.join(failures.reasons)}), the comparison is of "
            f"the others; {first}: {reason}",
            code="comparison-failed",
        )
    return comparison


@going_on_by_itself()
def _compare(request: CompareRequest) -> tuple[Material, Comparison, Failures]:
    with as_asked(request.config):
        return _train_and_compare(request)


def _train_and_compare(request: CompareRequest) -> tuple[Material, Comparison, Failures]:
    material = _prepare(request)
    failures, comparison = Failures(), None
    parts = [part for part in (material.part, material.transfer) if part is not None]
    for seed in request.seeds:
        train_seed(material.taught, seed, material.folder, parts, failures)
        comparison = collect(material, failures.reasons)
        if comparison is not None:
            write_comparison(material, comparison)
    if comparison is None:
        reasons = "; ".join(f"{run}: {reason}" for run, reason in failures.reasons.items())
        raise SnowmeltError(
            f"{material.folder.root}: no run of {material.base} came to its end ({reasons})", code="comparison-failed"
        )
    return material, comparison, failures


def _prepare(request: CompareRequest) -> Material:
    """All that has to be there before the first run: arms, data, teachers, and epochs at equal seconds."""
    arms = request.make_arms()
    base, folder = base_of(arms).name, CompareFolder.of(request.config)
    main, ready = prepare_arms(request.config, arms, folder)
    engine = main.engine
    transfer, transfer_is = transfer_part(main, request.transfer)
    seconds = request.budget == "seconds"
    epochs = {name: budget.epochs for name, budget in read_budgets(folder).items()} if seconds else {}
    refuse_other_settings(ready, folder, epochs)
    refuse_students_without_weights(ready, folder, request.seeds)
    # Another comparison of this folder may be at it with other seeds: teachers and caches are made by one of them.
    what = f"{folder.root}: another comparison prepares its teachers there"
    with held(engine, folder.root / ".preparing.lock", what, waits=True, say=main.say):
        taught = teach_arms(ready, folder)
        budgets = find_budgets(taught, base, folder) if seconds else {}
    if budgets:
        if main.leads:
            print_budgets(budgets, base)
        arms_at_length = [each.with_config(with_epochs(each.config, budgets[each.name].epochs)) for each in taught.arms]
        taught = Taught(arms_at_length, taught.found, taught.teachings)
    refuse_other_settings(taught.arms, folder, {})
    part = main_part(main)
    notes: dict[str, Any] = {"part": part, "transfer": transfer, "transfer_is": transfer_is, "budgets": budgets}
    return Material(request, folder, main, taught, part, transfer, tuple(notes_of(request, main, taught, **notes)))
