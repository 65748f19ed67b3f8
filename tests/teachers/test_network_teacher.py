"""A teacher only teaches: whatever happens to the student around it, it sleeps on, unseen and unchanged."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny_experiments import tiny
from torch import Tensor, nn

from snowmelt.build import OpenedTeacher, live_teaching, make_engine, make_network, make_run, open_data, settle
from snowmelt.config import NetworkConfig
from snowmelt.data import Batch
from snowmelt.models import Normalisation
from snowmelt.teachers import FittedTeacher, NetworkTeacher, StoredMaps, Teacher, TeacherModel
from snowmelt.teachers.network import digest_of_tensors
from snowmelt.training import TrainingRun, fit

HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET = Normalisation()
HALF_ENCODER = "tu-tf_mobilenetv3_small_minimal_100"  # expects inputs from -1 to 1


class Listening(nn.Module):
    """A small network with everything that train mode would change; it keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 1, 1)
        )
        self.inputs: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.inputs.append(images)
        return self.layers(images)


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def sleeps(network: nn.Module) -> bool:
    return not any(module.training for module in network.modules())


WAYS_TO_WAKE: dict[str, Callable[[nn.Module], object]] = {
    "itself": lambda network: network.train(),
    "by name": lambda network: network.train(mode=True),
    "a child": lambda network: network.layers.train(),
    "every module": lambda network: [module.train() for module in network.modules()],
    "a parent": lambda network: nn.ModuleList([network, nn.Linear(1, 1)]).train(),
    "applied": lambda network: network.apply(lambda module: module.train() and None),
}


@pytest.mark.parametrize("way", WAYS_TO_WAKE)
def test_nothing_wakes_a_teacher(way: str, images: Tensor) -> None:
    network = Listening()
    teacher = NetworkTeacher(network, IMAGENET)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    WAYS_TO_WAKE[way](network)
    assert sleeps(network)
    assert torch.equal(teacher(images), teacher(images))  # dropout is off
    after = network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())  # so are running statistics


def test_train_still_returns_the_module() -> None:
    network = Listening()
    NetworkTeacher(network, IMAGENET)
    assert network.train() is network
    assert network.eval() is network


def test_a_network_that_was_in_train_mode_is_put_to_sleep() -> None:
    network = Listening().train()
    assert sleeps(NetworkTeacher(network, IMAGENET).network)


def test_no_gradient_comes_near_it(images: Tensor) -> None:
    network = Listening()
    teacher = NetworkTeacher(network, IMAGENET)
    with torch.enable_grad():
        logits = teacher(images)
    assert not logits.requires_grad
    assert not any(parameter.requires_grad for parameter in network.parameters())
    student = nn.Conv2d(3, 1, 1)
    ((student(images.float()) - logits) ** 2).mean().backward()
    assert student.weight.grad is not None
    assert all(parameter.grad is None for parameter in network.parameters())


def test_it_is_no_part_of_a_module_that_holds_it() -> None:
    student = nn.Linear(2, 2)
    student.teacher = NetworkTeacher(Listening(), IMAGENET)
    assert set(student.state_dict()) == {"weight", "bias"}
    assert len(list(student.parameters())) == 2
    assert list(student.modules()) == [student]
    student.train()
    assert sleeps(student.teacher.network)


@pytest.mark.parametrize("normalisation", [IMAGENET, HALF, Normalisation((0.1, 0.2, 0.3), (1.0, 0.5, 0.25))])
def test_it_normalises_by_itself(normalisation: Normalisation, images: Tensor) -> None:
    network = Listening()
    NetworkTeacher(network, normalisation)(images)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (normalisation.mean, normalisation.std))
    torch.testing.assert_close(network.inputs[0], (images / 255 - mean) / std)


def test_logits_are_float32_in_any_precision(images: Tensor) -> None:
    network = Listening()
    inner: list[torch.dtype] = []
    network.layers[0].register_forward_hook(lambda module, inputs, output: inner.append(output.dtype))
    halved = NetworkTeacher(network, IMAGENET, lambda: torch.autocast("cpu", torch.bfloat16))
    assert halved(images).dtype == torch.float32
    assert NetworkTeacher(network, IMAGENET)(images).dtype == torch.float32
    assert inner == [torch.bfloat16, torch.float32]  # the precision was asked for, and then not


def test_it_says_who_it_is() -> None:
    teacher: Teacher = NetworkTeacher(Listening(), IMAGENET, name="unet with resnet18 (here)")
    assert teacher.describe() == "unet with resnet18 (here)"
    assert NetworkTeacher(Listening(), IMAGENET).describe() == "network"


def test_without_a_digest_its_own_weights_give_one() -> None:
    torch.manual_seed(0)
    first, second = Listening(), Listening()
    digest = NetworkTeacher(first, IMAGENET).digest
    assert digest == NetworkTeacher(first, IMAGENET, name="another name").digest
    assert NetworkTeacher(second, IMAGENET).digest != digest
    assert NetworkTeacher(first, HALF).digest != digest
    second.load_state_dict(first.state_dict())
    second.layers[1].num_batches_tracked += 1  # nothing reads it
    assert NetworkTeacher(second, IMAGENET).digest == digest
    second.layers[1].running_var[0] += 1
    assert NetworkTeacher(second, IMAGENET).digest != digest
    assert NetworkTeacher(first, IMAGENET, digest="given").digest == "given"


def test_the_digest_is_of_names_shapes_and_types_too() -> None:
    values = torch.arange(6.0)
    states = [{"a": values}, {"b": values}, {"a": values.view(2, 3)}, {"a": values.view(3, 2)}, {"a": values.double()}]
    states += [{"a": values[:3], "b": values[3:]}, {"a": values.bfloat16()}, {}]
    digests = [digest_of_tensors(state, "") for state in states]
    assert len(set(digests)) == len(states)
    assert digest_of_tensors({"a": values}, "about") != digests[0]
    assert digest_of_tensors({"b": values[3:], "a": values[:3]}, "") == digests[5]  # in any order
    assert digest_of_tensors({"a": values.view(2, 3).t().contiguous().t()}, "") == digests[2]  # in any layout


def test_it_can_be_a_model_with_names_and_a_size() -> None:
    model: TeacherModel = NetworkTeacher(Listening(), HALF, classes=("a", "b"), size=(8, 8))
    assert (model.classes, model.size) == (("a", "b"), (8, 8))
    assert isinstance(model, TeacherModel)
    assert not isinstance(model, StoredMaps)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingRun, nn.Module, dict[str, Tensor]]:
    """A run of two steps beside a teacher of another normalisation, and the teacher's state before it."""
    folder = tmp_path_factory.mktemp("taught")
    config = tiny(folder, training={"epochs": 1})
    splits = open_data(config)
    settled, _ = settle(config, len(splits.train), len(splits.classes))
    engine = make_engine(settled)
    built = make_network(NetworkConfig(encoder=HALF_ENCODER, weights="none"), 1, seed=1)
    before = {name: value.clone() for name, value in built.network.state_dict().items()}
    teacher = NetworkTeacher(built.network, built.normalisation, engine.autocast)
    teaching = live_teaching(OpenedTeacher(model=FittedTeacher(teacher, channels=1)))
    run = make_run(settled, splits, engine, folder, teaching=teaching)
    fit(run)
    return run, built.network, before


Taught = tuple[TrainingRun, nn.Module, dict[str, Tensor]]


def test_a_run_leaves_its_teacher_as_it_was(taught: Taught) -> None:
    run, network, before = taught
    run.network.train()
    assert sleeps(network)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_run_neither_optimizes_nor_saves_its_teacher(taught: Taught) -> None:
    run, network, _ = taught
    own = {id(parameter) for parameter in run.network.parameters()}
    optimized = {id(parameter) for group in run.optimizer.param_groups for parameter in group["params"]}
    assert optimized
    assert optimized <= own
    assert not optimized & {id(parameter) for parameter in network.parameters()}
    saved = torch.load(run.checkpoints.last, weights_only=True)
    assert saved["network"].keys() == run.network.state_dict().keys()
    parts = {"network", "projections", "optimizer", "average", "scaler"}
    assert set(saved) == {"format", "identity", "state", "sealed", *parts}
    assert not saved["projections"] and not saved["average"]
    assert sum(len(group["params"]) for group in saved["optimizer"]["param_groups"]) == len(optimized)


def test_student_and_teacher_see_one_picture_in_two_normalisations(taught: Taught, images: Tensor) -> None:
    run, network, _ = taught
    seen: list[Tensor] = []
    hook = network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    pictures = images.repeat(1, 1, 4, 4)
    assert run.teacher is not None
    nowhere = torch.zeros(2, 32, 32, dtype=torch.uint8)
    run.teacher(Batch(pictures, nowhere, torch.arange(2)))
    hook.remove()
    torch.testing.assert_close(seen[0], pictures / 127.5 - 1)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET.mean, IMAGENET.std))
    torch.testing.assert_close(run.normalise(pictures), (pictures / 255 - mean) / std)
