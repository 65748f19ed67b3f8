"""Opening a run by its folder, its name, its weights file or a lone file; and what is refused, in one line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from tiny_experiments import ENCODER

from snowmelt.build import load_network
from snowmelt.errors import SnowmeltError
from snowmelt.jobs.opening import TrainedRun, open_run
from snowmelt.models import save_weights


def refusal(source: Path | str, **options: Any) -> str:
    with pytest.raises(SnowmeltError) as refused:
        open_run(source, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def answer(run: TrainedRun) -> torch.Tensor:
    torch.manual_seed(1)
    with torch.no_grad():
        return run.network(torch.rand(1, 3, 64, 64))


def test_a_run_folder_has_all_that_is_needed(cycle: Any) -> None:
    root = cycle.output / "distilled"
    run = open_run(root)
    assert (run.root, run.weights) == (root, root / "checkpoints" / "best.safetensors")
    assert (run.classes, run.image_size, run.name) == (("background", "person"), 64, "distilled")
    assert run.config is not None
    assert run.config.student.encoder == ENCODER
    assert run.config.thaw.start == 1
    assert run.metadata["run"] == "distilled"
    assert run.normalisation.mean == pytest.approx((0.485, 0.456, 0.406))
    assert not run.network.training
    assert {value.dtype for value in run.network.parameters()} == {torch.float32}
    assert answer(run).shape == (1, 1, 64, 64)


def test_the_network_is_that_of_the_weights(cycle: Any) -> None:
    run = open_run(cycle.output / "plain")
    assert run.config is not None
    built = load_network(run.weights, run.config.student, run.classes)
    for name, value in built.network.state_dict().items():
        assert torch.equal(run.network.state_dict()[name], value)


def test_the_same_run_by_its_name_its_file_and_as_a_lone_file(
    cycle: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answer(open_run(cycle.output / "plain"))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(cycle.output / "plain", tmp_path / "experiments" / "plain")
    named = open_run("plain")
    assert named.root == Path("experiments") / "plain"
    inside = open_run(named.weights)
    assert inside.root == named.root
    assert inside.config == named.config
    monkeypatch.chdir(named.root / "checkpoints")
    beside = open_run("best.safetensors")
    assert beside.root is not None
    assert beside.root.samefile(tmp_path / "experiments" / "plain")
    monkeypatch.chdir(tmp_path)
    lone = shutil.copy(named.weights, tmp_path / "taken.safetensors")
    alone = open_run(lone)
    assert (alone.root, alone.config, alone.name) == (None, None, "taken")
    assert (alone.classes, alone.image_size, alone.normalisation) == (
        named.classes,
        named.image_size,
        named.normalisation,
    )
    for run in (named, inside, beside, alone):
        assert torch.equal(answer(run), expected)


def test_last_is_not_best(cycle_copy: Any) -> None:
    root = cycle_copy.output / "plain"
    save_weights(root / "checkpoints" / "last.safetensors", open_run(root).network, {**open_run(root).metadata})
    assert open_run(root, "last").weights.name == "last.safetensors"
    (root / "checkpoints" / "last.safetensors").unlink()
    assert "has no checkpoints/last.safetensors yet; train it first" in refusal(root, weights="last")


def test_a_name_that_is_not_there_is_told_with_those_that_are(
    cycle: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refusal(cycle.output / "distiled") == (
        f"{cycle.output / 'distiled'}: there is no such run or weights file; there is {cycle.output / 'distilled'}"
    )
    monkeypatch.chdir(tmp_path)
    assert "train one first (snowmelt demo, snowmelt train)" in refusal("plain")
    (tmp_path / "experiments").symlink_to(cycle.output)
    assert refusal("plian").endswith(f"there is {Path('experiments') / 'plain'}")
    assert "there is no such run or weights file" in refusal("plain.safetensors")


def test_the_folder_of_all_runs_is_no_run(cycle: Any) -> None:
    said = refusal(cycle.output)
    assert said.startswith(f"{cycle.output}: is no run folder")
    assert str(cycle.output / "plain") in said


def test_files_of_others_are_refused(cycle: Any, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    save_weights(foreign, smp.Unet("mobilenet_v2", encoder_weights=None), {})
    assert "Snowmelt's training did not write it" in refusal(foreign)
    assert "is no .safetensors file" in refusal(cycle.output / "plain" / "checkpoints" / "last.ckpt")
    foreign.write_bytes(foreign.read_bytes()[:1000])
    assert "cannot be read as weights" in refusal(foreign)


def test_a_run_without_weights_or_settings_is_told(cycle_copy: Any) -> None:
    root = cycle_copy.output / "plain"
    (root / "config.yaml").rename(root / "settings.yaml")
    assert "has no config.yaml yet" in refusal(root)
    (root / "settings.yaml").rename(root / "config.yaml")
    (root / "checkpoints" / "best.safetensors").unlink()
    assert "has no checkpoints/best.safetensors yet" in refusal(root)


def test_opening_leaves_the_run_as_it_is(cycle_copy: Any) -> None:
    before = {path: path.read_bytes() for path in cycle_copy.output.rglob("*") if path.is_file()}
    open_run(cycle_copy.output / "distilled")
    after = {path: path.read_bytes() for path in cycle_copy.output.rglob("*") if path.is_file()}
    assert all(after[path] == content for path, content in before.items())
