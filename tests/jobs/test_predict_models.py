"""What predicts: a run as its training scored it, and exported files by what they say of themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from predicted_runs import MEAN, NAMES, STD, brightest_channel
from tiny_experiments import overheard

from snowmelt.build import make_scorer
from snowmelt.data import EvaluationDataset, build_evaluation_transform, collate
from snowmelt.errors import SnowmeltError
from snowmelt.evaluation import predict_classes
from snowmelt.inference import Whole
from snowmelt.jobs.opening import open_run
from snowmelt.jobs.predicting.models import open_exported, open_model
from snowmelt.jobs.scoring import settings_of_run
from snowmelt.jobs.session import open_session
from snowmelt.models import normalise
from snowmelt.reporting import RunFolder

CPU = torch.device("cpu")


def test_a_run_predicts_what_its_scorer_scores(cycle) -> None:  # type: ignore[no-untyped-def]
    """The same pixels go in and the same classes come out, at the network's resolution."""
    root = cycle.output / "plain"
    run = open_run(root)
    assert run.config is not None
    session, _ = overheard(open_session, settings_of_run(RunFolder(root), run.config))
    source = session.splits.val
    scored: list[torch.Tensor] = []
    handle = run.network.register_forward_hook(lambda module, inputs, logits: scored.append(logits.float()))
    make_scorer(session.config, source, session.engine, run.normalisation).score(run.network)
    handle.remove()
    dataset = EvaluationDataset(source, build_evaluation_transform(run.image_size))
    shown = collate([dataset[index] for index in range(len(source))]).images
    model = open_model(str(root), None, "cpu")
    for index in range(len(source)):
        sheet = Whole((64, 64)).sheet(source.load(index).image, model.channels, flip=False, keep=False)
        [piece] = sheet.pieces()
        assert torch.equal(piece.pixels, shown[index])
    predicted = predict_classes(model.network(shown))
    assert torch.equal(predicted, predict_classes(torch.cat(scored)))
    assert 0 < predicted.float().mean() < 1  # both classes are there, so the comparison says something


def test_what_is_known_of_a_run(cycle) -> None:  # type: ignore[no-untyped-def]
    model = open_model(str(cycle.output / "plain"), "last", "cpu")
    assert (model.name, model.file.name, model.channels, model.image_size) == ("plain", "last.safetensors", 1, 64)
    assert model.size is None and model.config is not None
    assert "float32" in model.describe


@pytest.mark.parametrize("inside", [True, False])
def test_an_exported_file_gets_what_it_asks_for(inside: bool, tmp_path: Path) -> None:
    model = open_exported(brightest_channel(tmp_path / "a.onnx", inside=inside), CPU)
    images = torch.randint(0, 256, (2, 3, 32, 64), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert (model.classes, model.channels, model.image_size, model.size) == (NAMES, 3, 64, None)
    torch.testing.assert_close(model.network(images), images.float() * 0.1, atol=1e-4, rtol=0)


def test_the_metadata_are_normalised_as_training_does(tmp_path: Path) -> None:
    """The toy file undoes the normalisation; here it is checked that this is that of the models room."""
    from snowmelt.models import Normalisation

    images = torch.randint(0, 256, (1, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    undone = normalise(images, Normalisation(MEAN, STD)).numpy() * np.array(STD).reshape(1, 3, 1, 1)
    undone = (undone + np.array(MEAN).reshape(1, 3, 1, 1)) * 255
    np.testing.assert_allclose(undone, images.numpy(), atol=1e-3)


def test_a_file_of_a_fixed_size_says_so(tmp_path: Path) -> None:
    model = open_exported(brightest_channel(tmp_path / "a.onnx", size=(64, 96)), CPU)
    assert model.size == (64, 96)
    assert "64 x 96" in model.describe


def test_files_of_another_origin_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SnowmeltError, match=r"missing\.onnx: there is no such ONNX file"):
        open_model(str(tmp_path / "missing.onnx"), None, "cpu")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(SnowmeltError, match=r"text\.onnx: cannot be opened"):
        open_model(str(tmp_path / "text.onnx"), None, "cpu")
    plain = onnx.load(brightest_channel(tmp_path / "plain.onnx"))
    del plain.metadata_props[:]
    onnx.save(plain, tmp_path / "plain.onnx")
    with pytest.raises(SnowmeltError, match="'snowmelt export' did not write it"):
        open_model(str(tmp_path / "plain.onnx"), None, "cpu")
    with pytest.raises(SnowmeltError, match=r"another version \(format 2\)"):
        open_model(str(brightest_channel(tmp_path / "new.onnx", format=2)), None, "cpu")
    with pytest.raises(SnowmeltError, match="metadata lack"):
        open_model(str(brightest_channel(tmp_path / "odd.onnx", mean=None)), None, "cpu")
    with pytest.raises(SnowmeltError, match="leave the option out"):
        open_model(str(brightest_channel(tmp_path / "a.onnx")), "best", "cpu")
