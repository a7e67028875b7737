"""Sweeps go on where they stopped, do without what fails, and give the same in one process and in several."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

import multirate as mr
from multirate.errors import DataError, TrainingError, UsageError
from multirate.experiments import sweep as module
from multirate.experiments.spec import RunSpec
from multirate.experiments.sweep import sweep
from multirate.locking import alone

SPEC = RunSpec(data="digits", model="mlp", hidden=(16,), latents=3, examples=256)
CONFIG = mr.TrainConfig(epochs=2, batch_size=64)
BETAS = (0.1, 1.0)
# Its loss is infinite at the first step.
DIVERGING = 1e38


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


@pytest.mark.parametrize("content", [None, "of another evaluation"])
def test_a_run_that_was_killed_between_curve_and_table_gets_its_table(content: str | None, tmp_path: Path) -> None:
    sweep(SPEC, BETAS[:1], CONFIG, tmp_path, progress=False, say=silent)
    table = tmp_path / "beta-0.1" / "curve.csv"
    whole = table.read_bytes()
    table.unlink()
    if content is not None:
        table.write_text(content)
    sweep(SPEC, BETAS[:1], CONFIG, tmp_path, progress=False, say=silent)
    assert table.read_bytes() == whole


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


def files_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    # The table is written again with the curve that is read back.
    return {str(path): (path.read_bytes(), path.suffix != ".csv" and path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_that_fails_does_not_stop_the_others_and_is_taken_up_alone(jobs: int, tmp_path: Path) -> None:
    betas = (0.1, 1.0, DIVERGING)
    said: list[str] = []
    message = (
        r"^2 of 3 runs failed, and the same command goes on with them alone: beta 0\.1: cannot write .*beta-0\.1: .*; "
        r"beta 1e\+38: the loss is inf at step 1 \(beta 1e\+38\)"
    )
    out = tmp_path / "out"
    out.mkdir()
    (out / "beta-0.1").write_text("in the way of a folder")
    with pytest.raises(TrainingError, match=message):
        sweep(SPEC, betas, CONFIG, out, jobs=jobs, progress=False, say=said.append)
    assert [re.match(r"beta [^:]*: (failed|rate)", line)[1] for line in said] == ["failed", "rate", "failed"]
    reasons = json.loads((out / "failures.json").read_text())
    assert [*reasons] == ["0.1", "1e+38"]
    assert "choose another folder" in reasons["0.1"]
    assert "the loss is inf at step 1" in reasons["1e+38"]
    curve = mr.Curve.load(out / "curve.json")
    assert curve.betas.tolist() == [1.0]
    assert curve.details["failed_betas"] == [0.1, DIVERGING]

    (out / "beta-0.1").unlink()
    kept = files_of(out / "beta-1")
    with pytest.raises(
        TrainingError, match=r"^1 of 3 runs failed, and the same command goes on with it alone: beta 1e"
    ):
        sweep(SPEC, betas, CONFIG, out, jobs=jobs, progress=False, say=silent)
    assert files_of(out / "beta-1") == kept
    assert [*json.loads((out / "failures.json").read_text())] == ["1e+38"]

    whole = sweep(SPEC, BETAS, CONFIG, tmp_path / "whole", jobs=jobs, progress=False, say=silent)
    assert sweep(SPEC, BETAS, CONFIG, out, jobs=jobs, progress=False, say=silent).points == whole.points
    assert "failed_betas" not in mr.Curve.load(out / "curve.json").details
    assert not (out / "failures.json").exists()


def test_only_the_first_reasons_of_many_are_in_the_message(tmp_path: Path) -> None:
    betas = tuple(DIVERGING * factor for factor in (1.0, 1.1, 1.2, 1.3, 1.4))
    with pytest.raises(TrainingError, match=r"^5 of 5 runs failed.*; 2 more in .*failures\.json$") as caught:
        sweep(SPEC, betas, CONFIG, tmp_path, progress=False, say=silent)
    assert str(caught.value).count("the loss is inf") == 3
    assert len(json.loads((tmp_path / "failures.json").read_text())) == 5
    assert not (tmp_path / "curve.json").exists()


def test_what_is_wrong_with_the_command_stops_a_sweep_at_once(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(UsageError, match="no-such"):
        sweep(dataclasses.replace(SPEC, data="no-such"), BETAS, CONFIG, tmp_path, progress=False, say=said.append)
    assert said == []


@pytest.mark.slow
def test_a_process_that_is_killed_fails_its_runs_and_the_next_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "_attempt", killed)
        with pytest.raises(
            TrainingError, match=r"^2 of 2 runs failed.*: a process was killed, most likely for want of"
        ):
            sweep(SPEC, BETAS, CONFIG, tmp_path, jobs=2, progress=False, say=silent)
    assert len(sweep(SPEC, BETAS, CONFIG, tmp_path, jobs=2, progress=False, say=silent)) == 2


def killed(item: object) -> None:
    """End this process as the system does that is out of memory."""
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def test_a_second_sweep_in_a_folder_is_refused(tmp_path: Path) -> None:
    import threading

    failed = []

    def second() -> None:
        try:
            sweep(SPEC, BETAS, CONFIG, tmp_path, progress=False, say=silent)
        except DataError as error:
            failed.append(str(error))

    with alone(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(failed) == 1
    assert f"{tmp_path} is in use by process " in failed[0]
