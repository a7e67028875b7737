"""Sweeps go on where they stopped, and give the same in one process and in several."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import multirate as mr
from multirate.errors import TrainingError, UsageError
from multirate.experiments import sweep as module
from multirate.experiments.spec import RunSpec
from multirate.experiments.sweep import sweep

SPEC = RunSpec(data="digits", model="mlp", hidden=(16,), latents=3, examples=256)
CONFIG = mr.TrainConfig(epochs=2, batch_size=64)
BETAS = (0.1, 1.0)


def silent(text: str) -> None:
    """Drop a line."""


def test_a_finished_sweep_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sweep(SPEC, BETAS, CONFIG, tmp_path, progress=False, say=silent)
    monkeypatch.setattr(module, "evaluate_run", None)
    assert sweep(SPEC, BETAS, CONFIG, tmp_path, progress=False, say=silent) == first
    assert mr.Curve.load(tmp_path / "curve.json") == first


def test_a_sweep_that_lost_a_model_trains_it_again(tmp_path: Path) -> None:
    import shutil

    first = sweep(SPEC, BETAS, CONFIG, tmp_path, progress=False, say=silent)
    shutil.rmtree(tmp_path / "beta-1")
    again = sweep(SPEC, BETAS, CONFIG, tmp_path, progress=False, say=silent)
    assert again.points == first.points


def test_another_split_is_measured_anew(tmp_path: Path) -> None:
    sweep(SPEC, BETAS, CONFIG, tmp_path, progress=False, say=silent)
    assert sweep(SPEC, BETAS, CONFIG, tmp_path, split="validation", progress=False, say=silent).split == "validation"


@pytest.mark.parametrize("other", [{"examples": 50}, {"data": "rows"}])
def test_a_curve_of_other_examples_or_data_is_measured_anew(other: dict[str, Any], tmp_path: Path) -> None:
    first = sweep(SPEC, BETAS[:1], CONFIG, tmp_path / "sweep", progress=False, say=silent)
    stored = tmp_path / "sweep" / "beta-0.1" / "curve.json"
    dataclasses.replace(mr.Curve.load(stored), **other).save(stored)
    again = sweep(SPEC, BETAS[:1], CONFIG, tmp_path / "sweep", progress=False, say=silent)
    assert (again.data, again.examples, again.points) == ("digits", 300, first.points)


def test_betas_that_differ_in_the_last_digits_get_folders_of_their_own() -> None:
    betas = (0.1, 1.0, 0.1234567, 0.12345671, 1e-7)
    names = ["beta-0.1", "beta-1", "beta-0.1234567", "beta-0.12345671", "beta-1e-07"]
    assert [module._folder_name(beta) for beta in betas] == names


def test_other_options_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    sweep(SPEC, BETAS[:1], CONFIG, tmp_path, progress=False, say=silent)
    with pytest.raises(TrainingError, match="epochs"):
        sweep(SPEC, BETAS[:1], mr.TrainConfig(epochs=3, batch_size=64), tmp_path, progress=False, say=silent)


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    one = sweep(SPEC, BETAS, CONFIG, tmp_path / "one", progress=False, say=silent)
    two = sweep(SPEC, BETAS, CONFIG, tmp_path / "two", jobs=2, say=silent)
    for ours, theirs in zip(one.points, two.points, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize(("betas", "jobs"), [((), 1), ((1.0, 1.0), 1), ((1.0,), 0)])
def test_a_sweep_that_makes_no_sense_is_refused(betas: tuple[float, ...], jobs: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        sweep(SPEC, betas, CONFIG, tmp_path, jobs=jobs)
