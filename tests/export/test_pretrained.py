"""smp's own layout: plain smp code loads it, in a process that knows no Snowmelt, and answers to the bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import snowmelt.export.pretrained as pretrained
from snowmelt.errors import SnowmeltError
from snowmelt.export import write_pretrained, write_safetensors
from snowmelt.models import build_network, load_weights, unreached_parameters

STRANGER = """
import sys
import numpy as np, torch
import segmentation_models_pytorch as smp
for folder in sys.argv[1:]:
    network = smp.from_pretrained(folder).eval()
    given = np.load(folder + "/../images.npy")
    with torch.no_grad():
        np.save(folder + "/../" + folder.split("/")[-1] + ".npy", network(torch.from_numpy(given)).numpy())
assert not [name for name in sys.modules if name.startswith("snowmelt")]
"""


@pytest.fixture(scope="module")
def shallow() -> nn.Module:
    """An encoder cut off at depth 3 whose first layers alone are reached, and a decoder of its own widths."""
    torch.manual_seed(1)
    return build_network("unet", "timm-efficientnet-b0", 1, encoder_depth=3, decoder_channels=(24, 16, 8)).eval()


def test_plain_smp_code_answers_to_the_bit(network: nn.Module, shallow: nn.Module, tmp_path: Path) -> None:
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "images.npy", images.numpy())
    networks = {"deep": network, "shallow": shallow, "fpn": build_network("fpn", "tu-test_resnet", 4).eval()}
    for name, each in networks.items():
        (tmp_path / name).mkdir()
        write_pretrained(tmp_path / name, each, {"run": name}, f"# {name}\n")
        assert sorted(file.name for file in (tmp_path / name).iterdir()) == [
            "README.md",
            "config.json",
            "model.safetensors",
        ]
    folders = [str(tmp_path / name) for name in networks]
    environment = {"OMP_NUM_THREADS": "1", "PATH": "", "PYTHONPATH": ""}
    answer = subprocess.run(
        [sys.executable, "-c", STRANGER, *folders], env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    for name, each in networks.items():
        with torch.no_grad():
            assert np.array_equal(np.load(tmp_path / f"{name}.npy"), each(images).numpy()), name
        config = json.loads((tmp_path / name / "config.json").read_text())
        assert config["encoder_weights"] is None
        assert (tmp_path / name / "README.md").read_text() == f"# {name}\n"
        assert load_weights(tmp_path / name / "model.safetensors")[1] == {"run": name}
    assert json.loads((tmp_path / "shallow" / "config.json").read_text())["decoder_channels"] == [24, 16, 8]
    assert json.loads((tmp_path / "fpn" / "config.json").read_text())["_model_class"] == "FPN"


def test_what_is_never_reached_is_not_exported(shallow: nn.Module, tmp_path: Path) -> None:
    idle = {name: value.detach() for name, value in unreached_parameters(shallow).items()}
    assert idle
    assert any(float(value.abs().max()) > 0 for value in idle.values())
    path = tmp_path / "new" / "weights.safetensors"
    write_safetensors(path, shallow, {"run": "x"})
    found = load_file(path)
    assert all(float(found[name].abs().max()) == 0 for name in idle)
    kept = {name: value for name, value in shallow.state_dict().items() if name not in idle}
    assert all(torch.equal(found[name], value) for name, value in kept.items())
    assert found.keys() == shallow.state_dict().keys()  # smp loads strictly
    assert any(float(value.abs().max()) > 0 for value in idle.values())  # in a copy


def test_a_folder_that_smp_reads_otherwise_is_refused(
    network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = build_network("unet", "tu-test_efficientnet", 3, decoder_channels=(16, 8, 8, 8, 8))
    monkeypatch.setattr(pretrained, "without_idle", lambda _: other)
    with pytest.raises(SnowmeltError, match="the network answers otherwise; nothing was written"):
        write_pretrained(tmp_path, network, {}, "")
