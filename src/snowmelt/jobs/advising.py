"""After a student's run: what its curves suggest, said on the screen and in the text log."""

from __future__ import annotations

from typing import Any

from snowmelt.build import labelled_only
from snowmelt.config import ExperimentConfig
from snowmelt.jobs.session import Session
from snowmelt.reporting import RunFolder, read_metrics
from snowmelt.study import RunFacts, advise
from snowmelt.training import Message, TrainingRun


def give_advice(
    session: Session, config: ExperimentConfig, folder: RunFolder, run: TrainingRun, reason: str | None
) -> list[dict[str, Any]]:
    """Tell the run's listeners, and return what ``summary.json`` keeps.

    Args:
        reason: why the run ended, in the word of its last event.
    """
    rows = read_metrics(folder.metrics_file) if folder.metrics_file.exists() else []
    images = len(labelled_only(session.splits).train)
    given = advise(rows, facts_of(config, images, len(run.thaw.blocks), cut=reason != "complete"))
    if given:
        run.announcer.tell(Message("What this run's curves suggest (see docs/advice.md; nothing of it is a promise):"))
    for advice in given:
        run.announcer.tell(Message(f"  - {advice.line()}"))
    return [advice.to_json() for advice in given]


def facts_of(config: ExperimentConfig, images: int, blocks: int, cut: bool) -> RunFacts:
    """What the rules of advice want to know of a settled experiment."""
    thaw = config.thaw
    cools = config.distills and config.temperature.kind != "piecewise"
    return RunFacts(
        images=images,
        epochs=config.training.epochs,
        blocks=blocks,
        cut=cut,
        progressive=thaw.progressive,
        start=thaw.start,
        every=thaw.every,
        lr_scale=thaw.lr_scale,
        most=thaw.most,
        guard=config.reactions.thaw_guard,
        warmup=config.reactions.block_warmup,
        temperature=config.temperature.initial if cools else None,
        lr=config.optimizer.lr,
        average=config.training.average,
        teacher_epochs=config.teacher.epochs if config.distills and config.teacher.source == "auto" else None,
    )
