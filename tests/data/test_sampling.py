from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowmelt.data.sampling import StepSampler, epoch_order
from snowmelt.errors import SnowmeltError

Steps = list[list[tuple[int, int]]]
GOLDEN_ORDER = [4, 6, 3, 7, 5, 2, 8, 9, 0, 1]
GOLDEN_JOINED = [8, 0, 7, 3, 6, 9, 2, 5, 1, 4]
GOLDEN_STEP = [8, 4, 7, 1, 9, 3, 5, 2, 0, 6]


def steps(*arguments: int, epoch: int = 0, start: int = 0, **options: int) -> Steps:
    sampler = StepSampler(*arguments, **options)
    sampler.set_position(epoch, start)
    found = list(sampler)
    assert len(found) == len(sampler)
    return found


@given(
    size=st.integers(1, 60),
    batch=st.integers(1, 7),
    accumulate=st.integers(1, 3),
    world=st.integers(1, 4),
    epoch=st.integers(0, 5),
)
def test_shares_make_up_the_step_and_steps_the_epoch(
    size: int, batch: int, accumulate: int, world: int, epoch: int
) -> None:
    ranks = [
        steps(size, batch, 9, accumulate=accumulate, rank=rank, world_size=world, epoch=epoch) for rank in range(world)
    ]
    effective = batch * accumulate * world
    seen: list[int] = []
    assert len({len(found) for found in ranks}) == 1
    for number, shares in enumerate(zip(*ranks, strict=True)):
        assert all(share and all(key[0] == epoch for key in share) for share in shares)
        images = [key[1] for share in shares for key in share if key[1] >= 0]
        last = number == len(ranks[0]) - 1
        assert len(images) == effective or (last and 1 <= len(images) <= effective + 1)
        if len(images) == 1:  # nothing to join, or steps of one image throughout
            assert effective == 1 or number == 0
        seen += images
    assert sorted(seen) == list(range(size))


@given(size=st.integers(1, 50), batch=st.integers(1, 6), world=st.sampled_from([2, 4]))
def test_more_processes_with_smaller_batches_take_the_same_steps(size: int, batch: int, world: int) -> None:
    alone = steps(size, batch * world, 3)
    together = [steps(size, batch, 3, rank=rank, world_size=world) for rank in range(world)]
    for whole, *shares in zip(alone, *together, strict=True):
        real = [[key for key in share if key[1] >= 0] for share in shares]
        woven = [real[position % world][position // world] for position in range(len(whole))]
        assert woven == whole  # the same images in the same order, dealt out like cards


@given(size=st.integers(1, 40), batch=st.integers(1, 6), accumulate=st.integers(2, 3))
def test_accumulation_takes_the_same_steps_as_a_larger_batch(size: int, batch: int, accumulate: int) -> None:
    assert steps(size, batch, 0, accumulate=accumulate) == steps(size, batch * accumulate, 0)


@given(
    labelled=st.integers(0, 40),
    others=st.integers(0, 60),
    batch=st.integers(1, 7),
    world=st.integers(1, 4),
    seed=st.integers(0, 3),
)
def test_every_step_holds_its_share_of_labelled_images(
    labelled: int, others: int, batch: int, world: int, seed: int
) -> None:
    size = max(1, labelled + others)
    ranks = [steps(size, batch, seed, rank=rank, world_size=world, epoch=1, labelled=labelled) for rank in range(world)]
    seen: list[int] = []
    for shares in zip(*ranks, strict=True):
        images = [key[1] for share in shares for key in share if key[1] >= 0]
        found = sum(index < labelled for index in images)
        assert abs(found - len(images) * labelled / size) <= 1
        seen += images
    assert sorted(seen) == list(range(size))


def test_labelled_and_others_are_shuffled_anew_each_epoch() -> None:
    orders = [epoch_order(30, 4, epoch, 10) for epoch in (0, 1)]
    for low, high in ((0, 10), (10, 30)):
        first, second = ([index for index in order if low <= index < high] for order in orders)
        assert first != second and sorted(first) == sorted(second) != first


@pytest.mark.parametrize(
    ("labelled", "others", "pattern"),
    [(2, 4, "oloolo"), (1, 3, "oloo"), (3, 3, "lololo"), (5, 1, "llloll"), (0, 2, "oo"), (2, 0, "ll")],
)
def test_the_pattern_of_labelled_images(labelled: int, others: int, pattern: str) -> None:
    order = epoch_order(labelled + others, 0, 0, labelled)
    assert "".join("l" if index < labelled else "o" for index in order) == pattern


def test_no_process_gets_all_labelled_images() -> None:
    """With one in seven labelled and seven processes the even order alone would give them all to one."""
    for rank in range(7):
        keys = [key for step in steps(140, 1, 0, rank=rank, world_size=7, labelled=20) for key in step]
        assert len(keys) == 20 and sum(key[1] < 20 for key in keys) < 10


@pytest.mark.parametrize("start", range(5))
def test_starting_inside_an_epoch_of_joined_images(start: int) -> None:
    whole = steps(14, 4, 0, epoch=2, labelled=5)
    assert steps(14, 4, 0, epoch=2, start=start, labelled=5) == whole[start:]


def test_golden_order_of_joined_images() -> None:
    assert epoch_order(10, 0, 0, 4) == GOLDEN_JOINED
    assert [key[1] for key in steps(10, 10, 0, labelled=4)[0]] == GOLDEN_STEP


def test_the_order_depends_on_seed_and_epoch() -> None:
    assert epoch_order(20, 1, 2) == epoch_order(20, 1, 2)
    orders = {tuple(epoch_order(20, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert [key[1] for step in steps(20, 3, 1, epoch=2) for key in step] == epoch_order(20, 1, 2)


def test_golden_order() -> None:
    """A resumed run relies on this order: a change breaks every checkpoint that lies in the middle of an epoch."""
    assert epoch_order(10, 0, 0) == GOLDEN_ORDER


@pytest.mark.parametrize(
    ("size", "lengths"),
    [(8, [4, 4]), (9, [4, 5]), (10, [4, 4, 2]), (4, [4]), (5, [5]), (1, [1]), (3, [3])],
)
def test_a_single_last_image_joins_the_step_before(size: int, lengths: list[int]) -> None:
    assert [len(step) for step in steps(size, 4, 0)] == lengths
    assert StepSampler(size, 4, 0).steps_per_epoch == len(lengths)


def test_steps_of_one_image_stay_single() -> None:
    assert [len(step) for step in steps(3, 1, 0)] == [1, 1, 1]


def test_an_empty_share_is_filled_with_an_ignored_image_of_the_step() -> None:
    shares = [steps(6, 2, 0, rank=rank, world_size=2, epoch=3)[-1] for rank in range(2)]
    assert [len(share) for share in shares] == [1, 1]  # two images are left for two processes
    shares = [steps(6, 1, 0, rank=rank, world_size=4, epoch=3)[-1] for rank in range(4)]
    images = [key[1] for share in shares[:2] for key in share]
    assert all(index >= 0 for index in images)
    assert shares[2] == shares[3] == [(3, -1 - images[0])]


@pytest.mark.parametrize("start", range(5))
def test_starting_inside_an_epoch(start: int) -> None:
    whole = steps(14, 4, 0, epoch=2)
    assert steps(14, 4, 0, epoch=2, start=start) == whole[start:]


def test_the_position_is_taken_when_iteration_starts() -> None:
    sampler = StepSampler(8, 2, 0)
    running = iter(sampler)
    first = next(running)
    sampler.set_position(1)
    assert [first, *running] == steps(8, 2, 0, epoch=0)
    assert list(sampler) == steps(8, 2, 0, epoch=1)


@pytest.mark.parametrize(
    "bad",
    [{"size": 0}, {"batch_size": 0}, {"accumulate": 0}, {"rank": 2}, {"seed": -1}, {"labelled": 5}, {"labelled": -1}],
)
def test_impossible_numbers(bad: dict[str, int]) -> None:
    with pytest.raises(SnowmeltError):
        StepSampler(**{"size": 4, "batch_size": 2, "seed": 0, "world_size": 2, **bad})  # type: ignore[arg-type]


@pytest.mark.parametrize("position", [(-1, 0), (0, -1), (0, 4)])
def test_impossible_positions(position: tuple[int, int]) -> None:
    with pytest.raises(SnowmeltError, match="position epoch"):
        StepSampler(6, 2, 0).set_position(*position)
