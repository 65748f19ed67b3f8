"""Frozen in every sense, in every way that train mode can be entered, with groups that never change."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from snowmelt.errors import SnowmeltError
from snowmelt.models import Thaw, build_network, encoder_blocks

BATCH_NORM = torch.nn.modules.batchnorm._BatchNorm
SEVEN = tuple(f"blocks.{i}" for i in range(6, -1, -1))


def network(encoder: str = "timm-efficientnet-b0", depth: int = 5) -> nn.Module:
    torch.manual_seed(0)
    return build_network("unet", encoder, encoder_depth=depth, decoder_channels=(16, 8, 8, 8, 8)[:depth])


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model.train()
    optimizer.zero_grad()
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()
    optimizer.step()


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(before: dict[str, torch.Tensor], model: nn.Module) -> set[str]:
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


def keys_of_blocks(model: nn.Module, names: tuple[str, ...]) -> set[str]:
    """State dict keys, buffers included, of the named blocks."""
    modules = {name: m for block in encoder_blocks(model) if block.name in names for name, m in block.modules.items()}
    own = {f"{name}.{key}" for name, m in modules.items() for key in m.state_dict() if "." not in key}
    assert own
    return own


def test_blocks_and_states() -> None:
    thaw = Thaw(network())
    assert thaw.blocks == SEVEN
    assert thaw.thawed == 7 and thaw.frozen_blocks == ()
    thaw.to(2)
    assert thaw.thawed == 2 and thaw.frozen_blocks == SEVEN[2:]


@pytest.mark.parametrize("encoder", ["timm-efficientnet-b0", "tu-mobilenetv2_050", "mobilenet_v2", "mit_b0"])
def test_frozen_blocks_do_not_move_by_a_bit(encoder: str) -> None:
    """Momentum and gradients built up before the freeze, weight decay, statistics: nothing reaches them."""
    model = network(encoder)
    thaw = Thaw(model)
    optimizer = torch.optim.AdamW(thaw.param_groups(lr=1e-2, weight_decay=0.1))
    for _ in range(2):
        train_step(model, optimizer)
    model.train()
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()  # gradients that are stale once frozen
    for blocks in (2, 1):
        thaw.to(blocks)
        assert all(p.grad is None for b in encoder_blocks(model)[blocks:] for p in b.parameters.values())
        before = state_of(model)
        optimizer.step()
        train_step(model, optimizer)
        train_step(model, optimizer)
        frozen = keys_of_blocks(model, thaw.frozen_blocks)
        learning = {n for n in before if not n.startswith("encoder.")}
        learning |= keys_of_blocks(model, thaw.blocks[:blocks])
        assert changed(before, model) == learning
        assert not frozen & changed(before, model)


@pytest.mark.parametrize("depth", [5, 3])
@pytest.mark.parametrize("encoder", ["timm-efficientnet-b0", "mobilenet_v2"])
def test_exactly_what_is_thawed_changes_and_the_unreached_never_does(encoder: str, depth: int) -> None:
    model = network(encoder, depth)
    thaw = Thaw(model)
    optimizer = torch.optim.AdamW(thaw.param_groups(lr=1e-2, weight_decay=0.1))
    for blocks in range(len(thaw.blocks) + 1):
        thaw.to(blocks)
        before = state_of(model)
        train_step(model, optimizer)
        learning = {n for n in before if not n.startswith("encoder.")}
        if blocks:
            learning |= keys_of_blocks(model, thaw.blocks[:blocks])
        assert changed(before, model) == learning


class Wrapper(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


@pytest.fixture
def one_process(tmp_path: Path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def assert_held(model: nn.Module, frozen: tuple[str, ...]) -> None:
    for block in encoder_blocks(model):
        for name, module in block.modules.items():
            assert module.training == (block.name not in frozen), name


def test_train_mode_entered_from_anywhere(one_process: None) -> None:
    model = network()
    thaw = Thaw(model)
    thaw.to(3)
    model.train()
    assert_held(model, SEVEN[3:])
    model.encoder.train()
    assert_held(model, SEVEN[3:])
    model.encoder.blocks.train()
    assert_held(model, SEVEN[3:])
    Wrapper(model).train()
    assert_held(model, SEVEN[3:])
    nn.parallel.DistributedDataParallel(model).train()
    assert_held(model, SEVEN[3:])
    model.apply(lambda module: module.train())
    assert_held(model, SEVEN[3:])
    assert not model.encoder.bn2.training  # unreached


def test_eval_reaches_everything_and_train_comes_back() -> None:
    model = network()
    thaw = Thaw(model)
    for blocks in (0, 3, 7):
        thaw.to(blocks)
        model.train()
        model.eval()
        assert not any(module.training for module in model.modules())
        thaw.to(7 - blocks)
        assert not any(module.training for module in model.modules())  # a thaw does not enter train mode
        model.train()
        assert_held(model, SEVEN[7 - blocks :])


def test_a_block_that_thaws_takes_the_mode_of_the_model() -> None:
    model = network().train()
    thaw = Thaw(model)
    thaw.to(0)
    thaw.to(1)
    assert_held(model, SEVEN[1:])


def test_stochastic_depth_and_dropout_of_frozen_blocks_are_off() -> None:
    model = network()
    thaw = Thaw(model)
    images = torch.randn(2, 3, 64, 64)
    model.train()
    with torch.no_grad():
        assert not torch.equal(model.encoder(images)[-1], model.encoder(images)[-1])
        thaw.to(0)
        model.train()
        assert torch.equal(model.encoder(images)[-1], model.encoder(images)[-1])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])
def test_a_copy_is_frozen_like_the_original_and_independent_of_it(duplicate) -> None:
    model = network()
    Thaw(model).to(2)
    model.train()
    twin = duplicate(model)
    assert_held(twin, SEVEN[2:])
    model.eval()
    assert_held(twin, SEVEN[2:])
    twin.train()
    assert_held(twin, SEVEN[2:])
    assert not any(module.training for module in model.modules())
    Thaw(twin).to(7)
    twin.train()
    assert_held(twin, ())
    model.train()
    assert_held(model, SEVEN[2:])
    twin.eval()
    assert_held(model, SEVEN[2:])


def test_a_whole_module_survives_torch_save() -> None:
    model = network()
    Thaw(model).to(2)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    assert_held(torch.load(buffer, weights_only=False).train(), SEVEN[2:])


def test_state_dict_keys_are_those_of_a_plain_network() -> None:
    model = network()
    keys = list(model.state_dict())
    Thaw(model).to(3)
    assert list(model.state_dict()) == keys


def test_groups_hold_every_reached_parameter_once_under_fixed_names() -> None:
    model = network()
    thaw = Thaw(model, lr_scale=0.1)
    thaw.to(0)
    groups = thaw.param_groups(lr=1e-3, weight_decay=1e-4)
    assert [group["name"] for group in groups] == ["decoder", *SEVEN]
    assert [group["lr"] for group in groups] == [1e-3] + [1e-3 * 0.1] * 7
    assert [group["lr_scale"] for group in groups] == [1.0] + [0.1] * 7
    assert {group["weight_decay"] for group in groups} == {1e-4}
    names = {id(p): n for n, p in model.named_parameters()}
    listed = [[names[id(p)] for p in group["params"]] for group in groups]
    flat = [name for group in listed for name in group]
    unreached = {"encoder.conv_head.weight", "encoder.bn2.weight", "encoder.bn2.bias"}
    assert sorted(flat) == sorted(set(names.values()) - unreached)
    assert {n.split(".")[0] for n in listed[0]} == {"decoder", "segmentation_head"}
    assert {"encoder.conv_stem.weight", "encoder.bn1.weight", "encoder.bn1.bias"} <= set(listed[-1])
    for block, group in zip(SEVEN[:-1], listed[1:-1], strict=True):
        assert all(name.startswith(f"encoder.{block}.") for name in group)
    thaw.to(5)
    again = thaw.param_groups(lr=1e-3, weight_decay=1e-4)
    assert [[id(p) for p in group["params"]] for group in again] == [[id(p) for p in g["params"]] for g in groups]


def test_moments_survive_a_thaw() -> None:
    model = network("resnet18")
    thaw = Thaw(model)
    optimizer = torch.optim.AdamW(thaw.param_groups(lr=1e-3, weight_decay=0.0))
    train_step(model, optimizer)
    weight = model.encoder.layer1[0].conv1.weight
    moment = optimizer.state[weight]["exp_avg"].clone()
    thaw.to(0)
    train_step(model, optimizer)
    assert torch.equal(optimizer.state[weight]["exp_avg"], moment)
    thaw.to(4)
    train_step(model, optimizer)
    assert optimizer.state[weight]["step"] == 2


def test_what_learns_is_counted() -> None:
    model = network()
    thaw = Thaw(model)
    for blocks in (0, 3, 7):
        thaw.to(blocks)
        learning = [p for p in model.parameters() if p.requires_grad]
        assert {id(p) for p in thaw.trainable_parameters()} == {id(p) for p in learning}
        assert thaw.trainable_count() == sum(p.numel() for p in learning)
    thaw.to(0)
    assert thaw.trainable_count(7) > thaw.trainable_count(1) > thaw.trainable_count()


@pytest.mark.parametrize("encoder", ["timm-efficientnet-b0", "tu-mobilenetv2_050", "mobilenet_v2"])
def test_norms_that_keep_their_statistics_learn_all_else(encoder: str) -> None:
    """However many blocks learn: weights and biases of norms do, statistics and their counters do not."""
    model = network(encoder)
    thaw = Thaw(model, norm_eval=True)
    assert thaw.norm_eval and not Thaw(network(encoder)).norm_eval
    optimizer = torch.optim.AdamW(thaw.param_groups(lr=1e-2, weight_decay=0.1))
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    for blocks in (len(thaw.blocks), 2, 0, len(thaw.blocks)):
        thaw.to(blocks)
        before = state_of(model)
        train_step(model, optimizer)
        learning = {n for n in before if not n.startswith("encoder.")}
        if blocks:
            of_blocks = keys_of_blocks(model, thaw.blocks[:blocks])
            assert any(name.endswith(statistics) for name in of_blocks)
            learning |= {name for name in of_blocks if not name.endswith(statistics)}
        assert changed(before, model) == learning


def test_a_thawed_encoder_whose_norms_rest_treats_each_image_by_itself() -> None:
    """With fixed statistics an image's features are the same in any batch, in training mode, too."""
    images = torch.randn(4, 3, 64, 64)
    for norm_eval in (True, False):
        model = network("resnet18")
        Thaw(model, norm_eval=norm_eval)
        model.train()
        with torch.no_grad():
            together, alone = model.encoder(images)[-1][:1], model.encoder(images[:1])[-1]
        assert torch.allclose(together, alone, atol=1e-5) == norm_eval


def test_norms_alone_rest_whatever_happened_before() -> None:
    """Dropout and stochastic depth follow the mode, and so does what timm puts inside a norm."""
    model, usual = network(), network()
    thaw = Thaw(model, norm_eval=True)
    Thaw(usual)
    for blocks in (7, 0, 7):
        thaw.to(blocks)
        model.train()
    usual.train()
    modes = {name: module.training for name, module in usual.named_modules()}
    resting = {name for name, module in model.named_modules() if module.training != modes[name]}
    norms = {name for name, module in model.encoder.named_modules(prefix="encoder") if isinstance(module, BATCH_NORM)}
    assert resting == norms - {"encoder.bn2"}  # the unreached one rests in both
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert not torch.equal(model.encoder(images)[-1], model.encoder(images)[-1])  # stochastic depth
    model.eval()
    assert not any(module.training for module in model.modules())


def test_norms_that_keep_their_statistics_need_norms_that_have_some() -> None:
    with pytest.raises(SnowmeltError, match=r"norm_eval .*: this encoder has no batch norms"):
        Thaw(network("tu-convnext_atto", depth=4), norm_eval=True)


@pytest.mark.parametrize("n", [-1, 8, 1.0, True, "3"])
def test_impossible_numbers_of_blocks(n) -> None:
    thaw = Thaw(network())
    with pytest.raises(SnowmeltError, match="must be 0 to 7"):
        thaw.to(n)
    with pytest.raises(SnowmeltError, match="must be 0 to 7"):
        thaw.trainable_count(n)
    assert thaw.thawed == 7


@pytest.mark.parametrize("lr_scale", [0.0, -0.1, float("nan"), float("inf")])
def test_impossible_scales(lr_scale: float) -> None:
    with pytest.raises(SnowmeltError, match="lr_scale must be positive"):
        Thaw(network(), lr_scale)


def test_a_fresh_thaw_wakes_a_decoder_that_was_switched_off() -> None:
    model = network("resnet18")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    Thaw(model).to(0)
    assert all(p.requires_grad for n, p in model.named_parameters() if not n.startswith("encoder."))
