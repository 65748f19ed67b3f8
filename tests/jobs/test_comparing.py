"""``compare``: two arms, two seeds, one teacher; cut and gone on with; what is refused and what goes on."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny_experiments import overheard, tiny, undrawn, write_data_folder

from snowmelt.config import ExperimentConfig
from snowmelt.errors import SnowmeltError
from snowmelt.jobs import CompareRequest, compare_experiment
from snowmelt.jobs.comparing import job, running
from snowmelt.jobs.comparing.layout import CompareFolder
from snowmelt.jobs.session import open_session
from snowmelt.jobs.teaching import teacher_source
from snowmelt.reporting import read_metrics
from snowmelt.teachers import LiveTeaching

pytestmark = pytest.mark.usefixtures("draws_nothing")

ARMS = ("plain", "cooled+thaw")
TIMES = {
    *("train_seconds", "train_seconds_with_teacher", "seconds_to_base_best", "seeds_not_reaching"),
    *("images_per_second", "seconds", "seconds_curve", "training_seconds", "cache_seconds"),
}


@dataclass(frozen=True)
class Compared:
    """A finished comparison; look, do not touch. ``copied`` is for that."""

    output: Path
    said: str = ""

    def request(self, arms: tuple[str, ...] = ARMS, *own: str, **values: Any) -> CompareRequest:
        seeds, transfer = values.pop("seeds", (0, 1)), values.pop("transfer", "scenes:5")
        return CompareRequest(self.config(**values), arms, own, seeds, transfer=transfer)

    def config(self, **values: Any) -> ExperimentConfig:
        settings = {"name": "tiny", "thaw": {"start": 0}, "training": {"epochs": 1}, **values}
        return tiny(self.output, "fine_tuning", **settings)

    @property
    def folder(self) -> Path:
        return self.output / "tiny-compare"

    def content(self) -> Any:
        return json.loads((self.folder / "comparison.json").read_text(), parse_constant=pytest.fail)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    first = Compared(tmp_path_factory.mktemp("compared"))
    with undrawn("plots"):
        _, said = overheard(compare_experiment, first.request())
    return Compared(first.output, said)


@pytest.fixture
def copied(compared: Compared, tmp_path: Path) -> Compared:
    # In the very same place, as the path of the teacher is one of a run's settings.
    shutil.copytree(compared.output, tmp_path / "before")
    yield compared  # type: ignore[misc]
    shutil.rmtree(compared.output)
    shutil.copytree(tmp_path / "before", compared.output)


def timeless(value: Any) -> Any:
    """The content without whatever differs from machine to machine."""
    if isinstance(value, dict):
        return {key: timeless(each) for key, each in value.items() if key not in TIMES}
    return [timeless(each) for each in value] if isinstance(value, list) else value


def refusal(request: CompareRequest) -> str:
    with pytest.raises(SnowmeltError) as refused:
        overheard(compare_experiment, request)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_it_leaves_ordinary_runs_and_what_they_show(compared: Compared) -> None:
    names = {path.name for path in compared.folder.iterdir() if not path.name.startswith(".")}
    runs = {f"{arm}-seed{seed}" for arm in ARMS for seed in (0, 1)}
    assert names == {*runs, "comparison.json", "comparison.png", "teacher_scores.npz", "cache_seconds.json"}
    for name in runs:
        assert (compared.folder / name / "summary.json").is_file()
        assert (compared.folder / name / "plots" / "curves.png").is_file()
    assert {path.name for path in compared.output.iterdir()} == {
        *("tiny-compare", "teachers", "teacher-cache", "image-store")
    }
    assert len(list((compared.output / "teachers").iterdir())) == 1


def test_the_scores_are_those_of_the_runs(compared: Compared) -> None:
    content = compared.content()
    assert (content["part"], content["base"], content["budget"]) == ("test", "plain", "epochs")
    assert [(run["arm"], run["seed"]) for run in content["runs"]] == [(arm, seed) for arm in ARMS for seed in (0, 1)]
    for run in content["runs"]:
        root = compared.folder / f"{run['arm']}-seed{run['seed']}"
        [row] = read_metrics(root / "metrics.csv")
        assert run["val_miou"] == row["miou"] == run["val_curve"][0]
        assert run["agreement"] == row["agreement"]
        [times] = read_metrics(root / "timing.csv")
        assert run["seconds"] == times["train_seconds"]
    assert [row["teacher"] for row in content["arms"]] == [False, True]
    teacher = content["teacher"]
    [timing] = read_metrics(next((compared.output / "teachers").iterdir()) / "timing.csv")
    assert teacher["training_seconds"] == timing["train_seconds"]
    assert teacher["cache_seconds"] > 0
    assert all(row["transfer"] is not None for row in content["arms"])
    alone = teacher_source(open_session(compared.config()))  # of an ordinary run of the same experiment
    assert Path(alone.removeprefix("weights:")).parents[1].name == teacher["name"]
    assert any("the test part of scenes:5, 4 images" in note for note in content["notes"])


def test_arms_share_a_teacher_and_its_answers_whatever_else_they_change(compared: Compared) -> None:
    [root] = (compared.output / "teachers").iterdir()
    given = f"given: kd teacher.source=weights:{root / 'checkpoints' / 'best.safetensors'}"
    own = ("live: t3 teacher.mode=live", "fast: t8 optimizer.lr=0.1 training.epochs=4", given)
    request = compared.request(("plain", "kd", "cooled"), *own, transfer=None, seeds=(5,))
    material, said = overheard(job._prepare, request)
    found, teachings = material.taught.found, material.taught.teachings
    assert list(found) == ["kd", "cooled", "live", "fast", "given"]
    assert found["kd"] is found["cooled"] is found["live"] is found["fast"] is not found["given"]
    assert teachings["kd"] is teachings["cooled"] is teachings["fast"]
    assert isinstance(teachings["live"].train, LiveTeaching)
    assert said.count("teacher cache: the answers to all 4 images are there") == 2
    assert [path.name for path in (compared.output / "teachers").iterdir()] == [root.name]
    notes = " ".join(material.notes)
    assert "arm given has a teacher of its own" in notes
    assert notes.count("of its own") == 1


def test_the_verdict_comes_last_and_the_teacher_first_in_it(compared: Compared) -> None:
    verdict = compared.content()["verdict"]["sentences"]
    end = " ".join(compared.said.split())
    assert end.endswith(" ".join(" ".join(verdict).split()))
    assert "teacher" in verdict[0].lower()


def test_cut_and_gone_on_with_by_somebody_else_it_is_the_same(copied: Compared) -> None:
    whole = copied.content()
    for arm in ARMS:
        shutil.rmtree(copied.folder / f"{arm}-seed1")
        (copied.folder / f"{arm}-seed0").rename(copied.output / f"{arm}-seed0")  # longer than what follows
    overheard(compare_experiment, copied.request(seeds=(1,), training={"epochs": 1, "max_steps": 1}))
    for arm in ARMS:
        (copied.output / f"{arm}-seed0").rename(copied.folder / f"{arm}-seed0")
    _, said = overheard(compare_experiment, copied.request(seeds=(1,)))
    assert "finished" not in said
    assert timeless(copied.content()) == timeless(whole)


def test_what_is_finished_is_taken_and_nothing_is_scored_again(
    copied: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = copied.content()
    path = copied.folder / "plain-seed0" / "comparison_scores.npz"
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    for key, value in arrays.items():
        if key.startswith("test-"):
            arrays[key] = np.zeros_like(value)
            arrays[key][:, 0, 0] = 1  # as if it had found nothing but background, and been right
    np.savez(path, **arrays)
    monkeypatch.setattr("snowmelt.jobs.comparing.scores.score_images", lambda *_: pytest.fail("scored again"))
    _, said = overheard(compare_experiment, copied.request())
    assert said.count("this run is finished") == 4
    after = copied.content()
    assert after["runs"][0]["miou"] == 1.0
    assert timeless(after["runs"][1:]) == timeless(before["runs"][1:])
    assert after["teacher"]["miou"] == before["teacher"]["miou"]


def test_other_weights_or_a_damaged_file_are_not_taken_for_scores(copied: Compared) -> None:
    root = copied.folder / "plain-seed0"
    shutil.copy(copied.folder / "plain-seed1" / "comparison_scores.npz", root / "comparison_scores.npz")
    overheard(compare_experiment, copied.request(seeds=(0,)))
    content = copied.content()
    assert content["runs"][0]["miou"] != content["runs"][1]["miou"]
    (root / "comparison_scores.npz").write_bytes(b"PK no more")
    assert "comparison_scores.npz: cannot be read" in refusal(copied.request(seeds=(0,)))


def test_other_settings_are_refused_by_name_before_anything_trains(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "run_training", lambda *_, **__: pytest.fail("trained"))
    text = refusal(compared.request(seeds=(7,), optimizer={"lr": 0.5}))
    assert f"{compared.folder / 'plain-seed0'}: cannot resume with other settings: optimizer.lr was 0.0003" in text
    text = refusal(compared.request(("plain", "kd"), "other: plain thaw.lr_scale=2", data={"source": "scenes:9"}))
    assert "data.source was 'scenes:4' and is now 'scenes:9'" in text


def test_seeds_of_other_weights_or_lengths_are_not_put_beside_each_other(
    copied: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single run may go on without its weights, or for fewer steps."""
    monkeypatch.setattr(running, "run_training", lambda *_, **__: pytest.fail("trained"))
    text = refusal(copied.request(seeds=(0, 7), training={"epochs": 1, "max_steps": 1}))
    assert f"{copied.folder / 'plain-seed0'}: other seeds would not be comparable with this one: it made" in text
    assert text.count("steps and training.max_steps is now 1") == 1
    file = copied.output / "other.safetensors"
    text = refusal(copied.request(seeds=(7,), student={"weights": str(file)}))
    assert f"student.weights was 'none' and is now '{file}'" in text


def test_weights_are_the_same_wherever_their_file_lies(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    here, there, gone = tmp_path / "w.pth", tmp_path / "a" / "w.pth", tmp_path / "gone" / "w.pth"
    here.write_bytes(b"1")
    there.write_bytes(b"1")
    assert running.same_weights(str(here), str(there)) and running.same_weights(str(gone), str(here))
    assert not running.same_weights(str(tmp_path / "gone.pth"), str(here))
    there.write_bytes(b"2")
    assert not running.same_weights(str(here), str(there))
    assert running.same_weights("none", "none") and not running.same_weights("none", "imagenet")
    assert not running.same_weights("imagenet", str(here))


def test_missing_weights_of_a_student_are_told_before_a_teacher_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "teach_arms", lambda *_: pytest.fail("taught"))
    text = refusal(Compared(tmp_path).request(("plain", "kd"), student={"weights": str(tmp_path / "no.safetensors")}))
    assert text == f"arm plain: there is no weight file {tmp_path / 'no.safetensors'}"
    assert not (tmp_path / "tiny-compare" / "plain-seed0").exists()


def test_only_students_that_have_yet_to_begin_need_their_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "check_student", lambda _: pytest.fail("checked"))
    ready: Any = SimpleNamespace(name="plain", session=None, config=ExperimentConfig())
    folder = CompareFolder(tmp_path)
    for seed in (0, 1):
        checkpoints = folder.run("plain", seed).checkpoints
        checkpoints.mkdir(parents=True)
        (checkpoints / "last.ckpt").touch()
    running.refuse_students_without_weights([ready], folder, (0, 1))
    with pytest.raises(pytest.fail.Exception):
        running.refuse_students_without_weights([ready], folder, (0, 1, 2))


def test_a_run_that_fails_is_told_and_the_others_go_on(copied: Compared) -> None:
    """And arms may differ in their data: here in the number of images and in their size."""
    bad = "optimizer.lr=1e30 optimizer.clip_norm=null optimizer.warmup=0 training.max_skipped=1"
    own = (f"broken: plain {bad}", "few: plain data.limit=2 data.image_size=32")
    text = refusal(copied.request(("plain",), *own, seeds=(0,)))
    assert text.startswith("1 run failed (broken-seed0)") and "broken-seed0: epoch 0" in text
    content = copied.content()
    assert [row["arm"] for row in content["arms"]] == ["plain", "few"]
    assert any(note.startswith("broken-seed0 failed and is left out: epoch 0") for note in content["notes"])
    assert "seed 1 is not finished in few" in content["notes"]
    assert "arm few sees and is scored on images of 32 pixels" in content["notes"]
    assert len(read_metrics(copied.folder / "few-seed0" / "metrics.csv")) == 1
    assert read_metrics(copied.folder / "few-seed0" / "metrics.csv")[0]["step"] == 1  # two images, a batch of two


def test_a_second_data_set_needs_the_same_classes(compared: Compared, tmp_path: Path) -> None:
    other = write_data_folder(tmp_path / "other", classes=3)
    (other / "classes.txt").write_text("background\nperson\ndog\n")
    text = refusal(compared.request(transfer=str(other)))
    assert "it also has dog; give a data set with background, person" in text


def test_without_a_test_part_it_is_said_that_scores_are_flattered(tmp_path: Path) -> None:
    data = write_data_folder(tmp_path / "data")
    config = tiny(tmp_path / "runs", "plain", name="x", data={"source": str(data)}, training={"epochs": 1})
    request = CompareRequest(config, ("plain",), ("quick: plain optimizer.lr=0.01",), (3,))
    comparison, said = overheard(compare_experiment, request, as_json=True)
    printed = json.loads(said, parse_constant=pytest.fail)  # nothing else is on standard output
    assert printed["part"] == comparison.part == "val"
    assert "choices (the best epoch, the best arm) and scores share the 1 validation images" in printed["notes"][0]
    assert printed["teacher"] is None
