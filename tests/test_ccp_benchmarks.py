"""Scripts about the photographs: norms that drift do so; figures and curves are those of the runs."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from snowmelt.models import Thaw, build_network, thaw

CCP = Path(__file__).resolve().parents[1] / "benchmarks" / "ccp"
sys.path.append(str(CCP))
draw_curves, gaps, drifting_norms = (import_module(name) for name in ("draw_curves", "gaps", "drifting_norms"))


@pytest.fixture(autouse=True)
def put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thaw, "_hold", thaw._hold)


def after_a_pass(everything: bool) -> tuple[set[str], set[str], nn.Module]:
    """Names of the encoder's statistics that a pass in training mode moved, and of those that rested; the network."""
    torch.manual_seed(0)
    model = build_network("unet", "tu-mobilenetv3_small_050", 2)
    frozen = Thaw(model)
    frozen.to(len(frozen.blocks) if everything else 0)
    model.train()
    before = statistics(model)
    model(torch.randn(2, 3, 64, 64))
    after = statistics(model)
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    return moved, before.keys() - moved, model


def statistics(model: nn.Module) -> dict[str, Tensor]:
    return {n: b.clone() for n, b in model.named_buffers() if n.startswith("encoder") and n.endswith("running_var")}


def learns(model: nn.Module) -> list[bool]:
    return [p.requires_grad for name, p in model.named_parameters() if name.startswith("encoder")]


@pytest.mark.parametrize("everything", [False, True])
def test_as_it_is_frozen_norms_rest_and_thawed_ones_count(everything: bool) -> None:
    moved, resting, _ = after_a_pass(everything)
    assert (moved and not resting) if everything else (resting and not moved)


def test_drifting_norms_count_in_frozen_blocks_which_learn_nothing() -> None:
    drifting_norms.let_drift()
    moved, resting, model = after_a_pass(everything=False)
    assert moved and not resting
    assert not any(learns(model))


def write_metrics(run: Path, rows: list[str]) -> None:
    run.mkdir(parents=True)
    (run / "metrics.csv").write_text("\n".join(["epoch,train/task,val/task,miou", *rows]) + "\n")


def test_a_gap_is_that_of_the_last_epoch_by_arm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_metrics(tmp_path / "kd+thaw-seed0", ["0,9,1,0.1", "1,0.25,0.5,0.2"])
    write_metrics(tmp_path / "kd+thaw-seed10", ["0,0.25,1.0,0.1"])
    write_metrics(tmp_path / "plain-seed0", ["0,1,0.5,0.1"])
    monkeypatch.setattr(sys, "argv", ["gaps.py", str(tmp_path)])
    gaps.main()
    assert capsys.readouterr().out.splitlines() == [
        "kd+thaw      0.5000 ± 0.3536 (2 seeds)",
        "plain        -0.5000 (1 seed)",
    ]
    monkeypatch.setattr(sys, "argv", ["gaps.py", str(tmp_path / "plain-seed0")])
    with pytest.raises(SystemExit, match="no runs there"):
        gaps.main()


def test_curves_are_drawn_from_what_the_runs_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_metrics(tmp_path / "run", ["0,1,1,0.25", "1,1,1,", "2,1,1,0.5"])
    assert draw_curves.scores_of(tmp_path / "run") == {0: 0.25, 2: 0.5}
    picture = tmp_path / "curves.png"
    monkeypatch.setattr(sys, "argv", ["draw_curves.py", str(picture), f"a={tmp_path / 'run'}", f"b={tmp_path / 'run'}"])
    draw_curves.main()
    with Image.open(picture) as drawn:
        assert drawn.format == "PNG" and drawn.width > 2 * drawn.height
        assert len(np.unique(np.asarray(drawn.convert("RGB")).reshape(-1, 3), axis=0)) > 20
