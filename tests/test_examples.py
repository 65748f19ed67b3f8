"""The examples run: each once, in this process, on the data that it makes; the notebook in a kernel of its own."""

from __future__ import annotations

import ast
import importlib.util
import json
import math
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from tiny_experiments import overheard

from snowmelt.jobs import running

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NOTEBOOK = EXAMPLES / "distil_your_own.ipynb"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No plots and pictures, which take longer than the training; nobody looks at them. The notebook has them."""
    for name in ("draw_plots", "draw_predictions"):
        monkeypatch.setattr(running, name, lambda *_: {})


def test_a_folder_of_ones_own(undrawn: None, tmp_path: Path) -> None:
    miou, said = overheard(example("own_data").main, tmp_path)
    assert 0 < miou < 1
    assert "training takes this data" in said
    assert (tmp_path / "experiments/own-data/checkpoints/best.safetensors").exists()


def test_a_teacher_of_ones_own(undrawn: None, tmp_path: Path) -> None:
    outcome, said = overheard(example("own_teacher").main, tmp_path)
    assert outcome["reason"] == "complete"
    assert "Teacher mIoU" in said
    assert len(list((tmp_path / "maps").glob("*.npy"))) == 20  # 16 to train on, 4 to validate on


def test_a_loop_of_ones_own() -> None:
    losses, said = overheard(example("your_loop").main)
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < losses[0]
    assert [line.split(":")[1].split(",")[0] for line in said.splitlines()] == [
        " T 4.00",
        " T 3.25",
        " T 1.75",
        " T 1.00",
    ]
    assert "0 of 6 blocks" in said.splitlines()[0]
    assert "3 of 6 blocks" in said.splitlines()[-1]


def test_the_loop_is_twenty_lines() -> None:
    tree = ast.parse((EXAMPLES / "your_loop.py").read_text())
    [function] = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "distil"]
    loop = next(node for node in function.body if isinstance(node, ast.For))
    assert loop.end_lineno is not None
    assert loop.end_lineno - loop.lineno + 1 <= 20


def test_several_processes_are_started_as_torchrun_wants(tmp_path: Path) -> None:
    """What the processes then do is tested in tests/training/test_processes.py."""
    words: list[str] = example("several_gpus").command(tmp_path, 3)
    assert words[:3] == [sys.executable, "-m", "torch.distributed.run"]
    assert words[words.index("--nproc-per-node") + 1] == "3"
    assert words[-2:] == [str(EXAMPLES / "several_gpus.py"), str(tmp_path)]


def test_every_example_is_listed() -> None:
    text = (EXAMPLES / "README.md").read_text()
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in {".py", ".ipynb"}}
    assert len(names) >= 5
    assert all(f"`{name}`" in text for name in names)


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book: Any = nbformat.read(NOTEBOOK, as_version=4)
    first = next(cell for cell in book.cells if cell.cell_type == "code")
    for old, new in (('"scenes:96"', '"scenes:8"'), ("EPOCHS = 12", "EPOCHS = 1")):
        assert old in first.source
        first.source = first.source.replace(old, new)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    # Jupyter looks for a kernel by name in folders of the user's; ours is the interpreter that runs the test.
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(
        json.dumps(
            {
                "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                "display_name": "Python 3",
                "language": "python",
            }
        )
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    NotebookClient(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(shown) >= 4
    # Tables of rich come as data, all else as a stream.
    text = "".join(output.get("text", "") or output["data"].get("text/plain", "") for output in outputs)
    assert "training takes this data" in text
    assert "# Written by 'snowmelt init'" in text
    assert "mIoU" in text


def test_the_notebook_is_committed_clean() -> None:
    book: Any = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(book)
    for cell in book.cells:
        assert cell.cell_type == "markdown" or (cell.outputs == [] and cell.execution_count is None)
        assert not any(part in cell.source for part in ("/home/", "/tmp/", "/Users/"))
