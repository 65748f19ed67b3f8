"""Two processes, and micro-batches, give what one batch in one process gives, across thaws (traps 9 and 14)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

HERE = Path(__file__).parent


def run_processes(
    folder: Path, processes: int, batch_size: int, accumulate: int = 1, variant: str = "plain"
) -> dict[str, Any]:
    done = launch(folder, processes, batch_size, accumulate, variant)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(folder / "result.pt", weights_only=True)


def launch(
    folder: Path, processes: int, batch_size: int, accumulate: int, variant: str
) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    script = [str(HERE / "run_process.py"), str(folder), str(batch_size), str(accumulate), variant]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), *script]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]),
    }
    return subprocess.run(command, capture_output=True, text=True, timeout=400, env=environment, check=False)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_processes(tmp_path_factory.mktemp("one") / "run", 1, 4)


def assert_same(one: dict[str, Any], other: dict[str, Any], atol: float = 2e-5, rel: float = 1e-4) -> None:
    moved = 0
    for name, value in one["network"].items():
        torch.testing.assert_close(other["network"][name], value, rtol=1e-4, atol=atol, msg=name)
        moved += value.numel()
    assert moved > 100_000
    for (train, val, miou), (other_train, other_val, other_miou) in zip(one["rows"], other["rows"], strict=True):
        assert other_train == pytest.approx(train, rel=rel)
        assert other_val == pytest.approx(val, rel=rel)
        assert other_miou == pytest.approx(miou, abs=1e-3)


def test_two_processes_equal_one(one: dict[str, Any], tmp_path: Path) -> None:
    two = run_processes(tmp_path / "two", 2, 2)
    assert_same(one, two)
    assert two["buffers"].tolist() == [0, 0]  # the first process's, when a network is wrapped
    assert two["suspects"] == [10, 11]  # of both processes, without the fillers


def test_micro_batches_of_two_processes_meet_once_a_step(one: dict[str, Any], tmp_path: Path) -> None:
    """Gradients cross processes once an optimizer step, however many micro-batches it has."""
    both = run_processes(tmp_path / "both", 2, 1, 2)
    # Weights of tiny gradients differ by rounding, as single images are convolved in another order; losses do not.
    for (train, val, _), (other_train, other_val, _) in zip(one["rows"], both["rows"], strict=True):
        assert other_train == pytest.approx(train, rel=2e-2)
        assert other_val == pytest.approx(val, rel=2e-2)
    assert len(both["synchronised"]) == 3 * 2  # epochs x steps


def test_micro_batches_equal_one_batch(one: dict[str, Any], tmp_path: Path) -> None:
    assert_same(one, run_processes(tmp_path / "micro", 1, 2, 2))


def test_with_unlabelled_images_features_reactions_and_a_filler(tmp_path: Path) -> None:
    one = run_processes(tmp_path / "one", 1, 3, variant="everything")
    three = run_processes(tmp_path / "three", 3, 1, variant="everything")
    assert any(name.startswith("projections.") for name in one["network"])
    # Nearly equal maps have a channel-wise divergence in which float32 leaves three digits, and three processes add up
    # in an order that changes from run to run.
    assert_same(one, three, atol=2e-4, rel=5e-3)
    assert one["slowed"].tolist() == three["slowed"].tolist() == [0.5]  # all processes have decided alike
    for name, value in one["average"].items():
        torch.testing.assert_close(three["average"][name], value, rtol=1e-4, atol=2e-4, msg=name)
        assert not name.startswith("decoder") or not torch.equal(value, one["network"][name])


def test_out_of_memory_in_one_process_stops_all_and_the_next_start_takes_half(
    one: dict[str, Any], tmp_path: Path
) -> None:
    """Both have tried their stages before, which leaves no trace either."""
    folder = tmp_path / "short"
    done = launch(folder, 2, 2, 1, "short")
    assert done.returncode != 0 and not (folder / "result.pt").exists()
    assert "epoch 1, step 2 (1 thawed block): out of memory in process 1 with 2 images at a time" in done.stderr
    assert [path.name for path in folder.glob("out_of_memory.*")] == ["out_of_memory.1.json"]
    assert torch.load(folder / "last.ckpt", weights_only=True)["state"]["step"] == 2
    resumed = run_processes(folder, 2, 2, variant="short")
    assert resumed["micro_batch"] == 1 and not list(folder.glob("out_of_memory.*"))
    torch.testing.assert_close(resumed["network"], one["network"], rtol=1e-3, atol=2e-4)
    rows = one["rows"][1:]  # of the epochs after the cut
    for (train, val, _), (other_train, other_val, _) in zip(rows, resumed["rows"], strict=True):
        assert other_train == pytest.approx(train, rel=2e-2)
        assert other_val == pytest.approx(val, rel=2e-2)


def test_a_fault_in_one_process_of_two_takes_both_back_and_ends_both(tmp_path: Path) -> None:
    """Each skips the same steps, goes back to the same place as often, and stops with the same words and weights."""
    folder = tmp_path / "faulty"
    done = launch(folder, 2, 2, 1, "faulty")
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(folder / f"result.{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["error"] == second["error"]
    assert first["error"].startswith("epoch 2, step 5: teacher output (Tiny) not finite in 2 steps in a row (after 3")
    assert first["steps"] == [1, 2, 3, 4, 5, *[3, 4, 5] * 3]
    assert [event["back_to"] for event in first["rollbacks"]] == [{"epoch": 1, "step": 2}] * 3
    assert [event["factor_from_here"] for event in first["rollbacks"]] == [0.5, 0.25, 0.125]
    torch.testing.assert_close(first["network"], second["network"], rtol=0, atol=0)
