"""``auto`` with pictures without masks: plan and session choose the losses by the classes of the data."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_experiments import overheard, tiny, write_data_folder

from snowmelt.config import ExperimentConfig
from snowmelt.jobs.planning import plan_experiment
from snowmelt.jobs.session import open_session, share_session

TWO, MORE = (1.0, 0.0, 1.0), (0.0, 1.0, 1.0)
"""Weights of the KL and of DIST's relations between classes and between pixels."""


def with_pictures(folder: Path, source: str) -> ExperimentConfig:
    more = write_data_folder(folder / "more", count=3) / "images"
    return tiny(folder, "auto", data={"source": source, "unlabelled": str(more)})


@pytest.mark.parametrize(("source", "weights"), [("scenes:4", TWO), ("scenes-parts:4", MORE)])
def test_a_session_knows_how_many_classes_there_are(tmp_path: Path, source: str, weights: tuple[float, ...]) -> None:
    config = with_pictures(tmp_path, source)
    session, _ = overheard(open_session, config)
    for settled in (session.config, share_session(session, config).config):
        teaching = settled.distillation
        assert (teaching.kl_weight, teaching.dist_inter_weight, teaching.dist_intra_weight) == weights


@pytest.mark.parametrize(("source", "inter"), [("scenes:4", False), ("scenes-parts:4", True)])
def test_the_plan_says_what_a_run_would_choose(tmp_path: Path, source: str, inter: bool) -> None:
    _, said = overheard(plan_experiment, with_pictures(tmp_path, source))
    assert ("dist_inter_weight 1" in said) is inter
    assert "dist_intra_weight 1" in said
