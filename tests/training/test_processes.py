"""Two processes, and micro-batches, give what one batch in one process gives, across thaws (traps 9 and 14)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import run_process
import torch

HERE = Path(__file__).parent
TORCHRUN = None  # in place of a number of processes: two of it
SCRIPT = str(HERE / "run_process.py")


class Crews:
    """A process that has imported everything and forks those that train together: torch is imported once for all."""

    def __init__(self) -> None:
        command = [sys.executable, SCRIPT]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._server = subprocess.Popen(command, env=environment(), **pipes)

    def codes(self, folder: Path, processes: int | None, *run: Any) -> list[int]:
        """Exit codes of the processes, which train into ``folder``, or of ``TORCHRUN``."""
        assert self._server.stdin is not None and self._server.stdout is not None
        folder.mkdir(exist_ok=True)
        print(json.dumps([processes, str(folder), *run]), file=self._server.stdin, flush=True)
        answer: list[int] = json.loads(self._server.stdout.readline())
        return answer

    def run(self, folder: Path, processes: int, *run: Any) -> dict[str, Any]:
        """What a run of ``processes`` processes has found; ``run`` is as in ``run_process.train``."""
        self.train(folder, processes, *run)
        return result_in(folder)

    def train(self, folder: Path, processes: int, *run: Any) -> None:
        codes = self.codes(folder, processes, *run)
        assert codes == [0] * processes, [path.read_text()[-3000:] for path in sorted(folder.glob("said.*"))]

    def close(self) -> None:
        self._server.communicate(timeout=60)


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(HERE), str(HERE.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}


def result_in(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / "result.pt", weights_only=True)
    return found


def run_here(folder: Path, *run: Any) -> dict[str, Any]:
    """What a run in this process alone has found."""
    folder.mkdir()
    run_process.train(folder, *run)
    return result_in(folder)


@pytest.fixture(scope="module")
def crews() -> Iterator[Crews]:
    crews = Crews()
    yield crews
    crews.close()


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_here(tmp_path_factory.mktemp("one") / "run", 4)


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


def test_two_processes_equal_one(one: dict[str, Any], crews: Crews, tmp_path: Path) -> None:
    two = crews.run(tmp_path / "two", 2, 2)
    assert_same(one, two)
    assert two["buffers"].tolist() == [0, 0]  # the first process's, when a network is wrapped
    assert two["suspects"] == [10, 11]  # of both processes, without the fillers


def test_micro_batches_of_two_processes_meet_once_a_step(one: dict[str, Any], crews: Crews, tmp_path: Path) -> None:
    """Gradients cross processes once an optimizer step, however many micro-batches it has."""
    both = crews.run(tmp_path / "both", 2, 1, 2)
    # Weights of tiny gradients differ by rounding, as single images are convolved in another order; losses do not.
    for (train, val, _), (other_train, other_val, _) in zip(one["rows"], both["rows"], strict=True):
        assert other_train == pytest.approx(train, rel=2e-2)
        assert other_val == pytest.approx(val, rel=2e-2)
    assert len(both["synchronised"]) == 3 * 2  # epochs x steps


def test_micro_batches_equal_one_batch(one: dict[str, Any], tmp_path: Path) -> None:
    assert_same(one, run_here(tmp_path / "micro", 2, 2))


def test_with_unlabelled_images_features_reactions_and_a_filler(crews: Crews, tmp_path: Path) -> None:
    one = run_here(tmp_path / "one", 3, 1, "everything")
    three = crews.run(tmp_path / "three", 3, 1, 1, "everything")
    assert any(name.startswith("projections.") for name in one["network"])
    # Nearly equal maps have a channel-wise divergence in which float32 leaves three digits, and three processes add up
    # in an order that changes from run to run.
    assert_same(one, three, atol=2e-4, rel=5e-3)
    assert one["slowed"].tolist() == three["slowed"].tolist() == [0.5]  # all processes have decided alike
    for name, value in one["average"].items():
        torch.testing.assert_close(three["average"][name], value, rtol=1e-4, atol=2e-4, msg=name)
        assert not name.startswith("decoder") or not torch.equal(value, one["network"][name])


def test_out_of_memory_in_one_process_stops_all_and_the_next_start_takes_half(
    one: dict[str, Any], crews: Crews, tmp_path: Path
) -> None:
    """Both have tried their stages before, which leaves no trace either. It is torchrun that ends the other one."""
    folder = tmp_path / "short"
    [code] = crews.codes(folder, TORCHRUN, 2, 1, "short")
    assert code != 0 and not (folder / "result.pt").exists()
    said = (folder / "said.torchrun").read_text()
    assert "epoch 1, step 2 (1 thawed block): out of memory in process 1 with 2 images at a time" in said
    assert [path.name for path in folder.glob("out_of_memory.*")] == ["out_of_memory.1.json"]
    assert torch.load(folder / "last.ckpt", weights_only=True)["state"]["step"] == 2
    resumed = crews.run(folder, 2, 2, 1, "short")
    assert resumed["micro_batch"] == 1 and not list(folder.glob("out_of_memory.*"))
    torch.testing.assert_close(resumed["network"], one["network"], rtol=1e-3, atol=2e-4)
    rows = one["rows"][1:]  # of the epochs after the cut
    for (train, val, _), (other_train, other_val, _) in zip(rows, resumed["rows"], strict=True):
        assert other_train == pytest.approx(train, rel=2e-2)
        assert other_val == pytest.approx(val, rel=2e-2)


def test_a_fault_in_one_process_of_two_takes_both_back_and_ends_both(crews: Crews, tmp_path: Path) -> None:
    """Each skips the same steps, goes back to the same place as often, and stops with the same words and weights."""
    folder = tmp_path / "faulty"
    crews.train(folder, 2, 2, 1, "faulty")
    first, second = (torch.load(folder / f"result.{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["error"] == second["error"]
    assert first["error"].startswith("epoch 2, step 5: teacher output (Tiny) not finite in 2 steps in a row (after 3")
    assert first["steps"] == [1, 2, 3, 4, 5, *[3, 4, 5] * 3]
    assert [event["back_to"] for event in first["rollbacks"]] == [{"epoch": 1, "step": 2}] * 3
    assert [event["factor_from_here"] for event in first["rollbacks"]] == [0.5, 0.25, 0.125]
    torch.testing.assert_close(first["network"], second["network"], rtol=0, atol=0)
