"""The average of the weights: its values, its place in scoring, and that the run's own weights stay what they are."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import Recorder, same_tensors, start_run
from torch import nn
from torch.optim.swa_utils import AveragedModel

from snowmelt.errors import SnowmeltError
from snowmelt.models import load_weights
from snowmelt.training import TrainingRun, TrainState, WeightAverage, fit
from snowmelt.training.epoch_end import make_scorer
from snowmelt.training.events import EpochEnded


def small_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))


def move(network: nn.Module) -> None:
    """A step in train mode: weights and norm statistics change."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    network.train()
    network(torch.randn(2, 3, 8, 8)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_it_is_what_pytorch_s_averaged_model_gives() -> None:
    network, decay = small_network(), 0.6
    average = WeightAverage(network, decay)

    def blend(kept: torch.Tensor, new: torch.Tensor, _: object) -> torch.Tensor:
        share = min(decay, (1 + step) / (10 + step))
        return kept * share + new * (1 - share)

    reference = AveragedModel(network, avg_fn=blend, use_buffers=False)
    reference.n_averaged += 1  # its first update would copy, where ours begins at the network's first values
    statistics = {name: buffer.double() for name, buffer in network.named_buffers()}
    for step in range(20):
        move(network)
        average.update(step)
        reference.update_parameters(network)
        share = min(decay, (1 + step) / (10 + step))
        for name, buffer in network.named_buffers():
            statistics[name] = share * statistics[name] + (1 - share) * buffer.double()
    found = average.state_dict()
    assert found.keys() == network.state_dict().keys()
    for name, parameter in reference.module.named_parameters():
        torch.testing.assert_close(found[name], parameter.detach(), rtol=1e-5, atol=1e-6)
    assert not torch.equal(found["2.weight"], network.get_parameter("2.weight"))
    for name in ("1.running_mean", "1.running_var"):
        torch.testing.assert_close(found[name].double(), statistics[name], rtol=1e-5, atol=1e-6)
    assert found["1.num_batches_tracked"] == network.get_buffer("1.num_batches_tracked") == 20


def test_the_decay_starts_low_and_ends_where_it_was_set() -> None:
    average = WeightAverage(small_network(), 0.9)
    assert [average.decay_at(steps) for steps in (0, 1, 8, 79, 80, 81, 10_000)] == pytest.approx(
        [1 / 10, 2 / 11, 0.5, 80 / 89, 0.9, 0.9, 0.9]
    )


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5, math.nan])
def test_a_decay_that_is_no_share_is_refused(decay: float) -> None:
    with pytest.raises(SnowmeltError, match="decay of the average of weights"):
        WeightAverage(small_network(), decay)


def test_what_is_frozen_is_its_own_average_to_the_bit() -> None:
    network = small_network()
    average = WeightAverage(network, 0.99)
    for step in range(15):
        with torch.no_grad():
            network[2].bias.add_(0.1)
        average.update(step)
    moved = {name for name, value in average.state_dict().items() if not torch.equal(value, network.state_dict()[name])}
    assert moved == {"2.bias"}


def test_in_its_place_and_back_to_the_bit() -> None:
    network = small_network()
    average = WeightAverage(network, 0.9)
    move(network)
    average.update(0)
    own = {name: value.clone() for name, value in network.state_dict().items()}
    kept = {name: value.clone() for name, value in average.state_dict().items()}
    pointers = [value.data_ptr() for value in network.state_dict().values()]
    with pytest.raises(KeyError), average.in_place():
        assert same_tensors(dict(network.state_dict()), kept) and not same_tensors(kept, own)
        raise KeyError  # an error inside puts the weights back too
    assert same_tensors(dict(network.state_dict()), own)
    assert same_tensors(average.state_dict(), kept)
    assert [value.data_ptr() for value in network.state_dict().values()] == pointers


def test_it_begins_anew_and_goes_on_where_it_was() -> None:
    network = small_network()
    average = WeightAverage(network, 0.9)
    move(network)
    average.restart()
    assert same_tensors(average.state_dict(), dict(network.state_dict()))
    move(network)
    average.update(5)
    again = WeightAverage(small_network(1), 0.9)
    again.load_state_dict(average.state_dict())
    assert same_tensors(again.state_dict(), average.state_dict())


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingRun, TrainState]:
    run = start_run(tmp_path_factory.mktemp("averaged"), listeners=(Recorder(),), training={"average": 0.8})
    return run, fit(run)


def test_keeping_it_changes_nothing_of_training(averaged: tuple[TrainingRun, TrainState], tmp_path: Path) -> None:
    plain = start_run(tmp_path)
    fit(plain)
    assert same_tensors(dict(averaged[0].network.state_dict()), dict(plain.network.state_dict()))
    assert same_tensors(averaged[0].optimizer.state_dict(), plain.optimizer.state_dict())


def test_the_average_is_what_is_scored_and_saved(averaged: tuple[TrainingRun, TrainState]) -> None:
    run, state = averaged
    assert run.average is not None
    folder = run.checkpoints.folder
    saved = torch.load(folder / "last.ckpt", weights_only=True)
    assert same_tensors(saved["network"], dict(run.network.state_dict()))
    assert same_tensors(saved["average"], run.average.state_dict())
    assert same_tensors(load_file(folder / "last.safetensors"), {key: each for key, each in saved["average"].items()})
    assert not same_tensors(saved["average"], saved["network"])
    recorder = run.announcer.listeners[0]
    assert isinstance(recorder, Recorder)
    last = recorder.of(EpochEnded)[-1].record
    temperature, weights = run.schedules.temperature_at(last.epoch), run.weights_at(TrainState(epoch=last.epoch))
    with run.average.in_place():
        assert make_scorer(run).score(run.network, temperature, weights).terms == last.val
    assert make_scorer(run).score(run.network, temperature, weights).terms != last.val
    run.network.load_state_dict(load_weights(folder / "best.safetensors")[0])
    score = make_scorer(run).score(run.network, 1.0)
    assert score.miou == state.best_miou
    run.network.load_state_dict(saved["network"])


def test_projections_are_averaged_with_the_network_they_are_read_from(tmp_path: Path) -> None:
    features = {"feature_weight": 1.0, "feature_layers": ["encoder.3"]}
    run = start_run(tmp_path, distillation=features, training={"average": 0.8, "epochs": 1})
    fit(run)
    assert run.average is not None
    names = run.average.state_dict().keys()
    assert any(name.startswith("projections.") for name in names)
    best = load_file(tmp_path / "best.safetensors")
    assert best.keys() == run.network.state_dict().keys()
    assert same_tensors(best, {name: run.average.state_dict()[f"network.{name}"] for name in best})


def test_it_cannot_be_switched_on_in_between(averaged: tuple[TrainingRun, TrainState]) -> None:
    folder = averaged[0].checkpoints.folder
    with pytest.raises(SnowmeltError, match=r"training.average was 0.8 and is None"):
        fit(start_run(folder))
    other = start_run(folder)
    other.checkpoints.identity = {}
    with pytest.raises(SnowmeltError, match=r"training.average switched on or off in between"):
        fit(other)


def test_it_begins_from_the_statistics_that_were_taken_before_the_first_step(tmp_path: Path) -> None:
    """A random, frozen encoder has its norms calibrated; its average must not be what it was before that."""
    run = start_run(tmp_path, training={"average": 0.8, "max_steps": 1})
    fit(run)
    assert run.average is not None
    encoder = {name: each for name, each in run.network.state_dict().items() if name.startswith("encoder.")}
    assert same_tensors(encoder, {name: run.average.state_dict()[name] for name in encoder})
