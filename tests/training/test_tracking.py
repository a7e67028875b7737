"""Metrics, curves and pictures of a run in the trackers' own files, read back by the trackers' own readers."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import multirate as mr
from multirate.cli.main import main
from multirate.data import as_source
from multirate.errors import DataError, UsageError
from multirate.experiments.monitoring import pictures
from multirate.report.progress import curves_so_far
from multirate.training.tracking import check_trackers

BETAS = 3
OPTIONS: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 32,
    "log_every": 2,
    "validation_betas": BETAS,
    "device": "cpu",
    "progress": False,
}


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    source = mr.data.load("digits", "train")
    return source.batch(torch.arange(96))


def model() -> mr.MultiRate:
    torch.manual_seed(0)
    return mr.convert(mr.models.mlp(shape=(1, 8, 8), latents=4, hidden=(16,)), mr.BetaRange(0.1, 10.0))


def scalars_and_images(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], dict[str, list[Any]]]:
    """Read TensorBoard's files by TensorBoard's reader."""
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = loader.EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    accumulator.Reload()
    tags = accumulator.Tags()
    scalars = {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in tags["scalars"]}
    return scalars, {tag: accumulator.Images(tag) for tag in tags["images"]}


@pytest.fixture(scope="module")
def tracked(digits: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> tuple[mr.Run, Path]:
    pytest.importorskip("tensorboard")
    folder = tmp_path_factory.mktemp("tracked") / "run"
    run = mr.fit(model(), digits, val=digits[:40], out=folder, trackers=["tensorboard"], pictures=pictures, **OPTIONS)
    return run, folder


@pytest.mark.slow
def test_tensorboard_holds_the_numbers_of_the_metrics_file(tracked: tuple[mr.Run, Path]) -> None:
    run, folder = tracked
    scalars, _ = scalars_and_images(folder / "tracking" / "multirate")
    for name in ("loss", "rate", "distortion"):
        expected = [(line["step"], line[name]) for line in run.history]
        assert [step for step, _ in scalars[f"train/{name}"]] == [step for step, _ in expected]
        assert [value for _, value in scalars[f"train/{name}"]] == pytest.approx([value for _, value in expected])
    for line in run.validation:
        for name in ("rate", "distortion", "objective"):
            logged = dict(scalars[f"validation/{name}/beta={line['beta']:.3g}"])
            assert logged[line["step"]] == pytest.approx(line[name])


@pytest.mark.slow
def test_tensorboard_holds_a_curve_and_pictures_for_each_validation(tracked: tuple[mr.Run, Path]) -> None:
    _, folder = tracked
    _, images = scalars_and_images(folder / "tracking" / "multirate")
    assert set(images) == {"curve", "reconstructions", "samples"}
    for events in images.values():
        assert [event.step for event in events] == [3, 6]
        assert all(event.width > 100 and event.height > 50 for event in events)


@pytest.mark.slow
def test_tracking_changes_no_weight(tracked: tuple[mr.Run, Path], digits: torch.Tensor) -> None:
    run, _ = tracked
    alone = mr.fit(model(), digits, **OPTIONS)
    for name, value in alone.model.state_dict().items():
        assert torch.equal(value, run.model.state_dict()[name]), name


@pytest.mark.slow
def test_a_tracker_that_fails_is_left_out_and_the_run_goes_on(
    digits: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    from accelerate.tracking import TensorBoardTracker

    def fail(self: Any, values: Any, step: Any = None, **options: Any) -> None:
        raise ConnectionError("service\nunavailable")

    monkeypatch.setattr(TensorBoardTracker, "log", fail)
    with pytest.warns(UserWarning, match="tracker tensorboard failed and is left out .*: service unavailable"):
        run = mr.fit(model(), digits, out=tmp_path / "run", trackers=["tensorboard"], **OPTIONS)
    assert len(run.history) == 3
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


@pytest.mark.slow
def test_a_tracker_that_cannot_be_opened_is_left_out(
    digits: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    from accelerate.tracking import TensorBoardTracker

    def refuse(self: Any) -> None:
        raise ConnectionError("not logged in")

    monkeypatch.setattr(TensorBoardTracker, "start", refuse)
    with pytest.warns(UserWarning, match="tensorboard could not be opened, and the run goes on without: not logged in"):
        run = mr.fit(model(), digits, out=tmp_path / "run", trackers=["tensorboard"], **OPTIONS)
    assert len(run.history) == 3


@pytest.mark.slow
def test_pictures_that_fail_are_left_out_and_the_numbers_stay(digits: torch.Tensor, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")

    def broken(*_: Any) -> dict[str, Any]:
        raise ValueError("no canvas")

    options = OPTIONS | {"trackers": ["tensorboard"], "pictures": broken}
    with pytest.warns(UserWarning, match="pictures failed and are left out from here on: no canvas"):
        run = mr.fit(model(), digits, val=digits[:40], out=tmp_path / "run", **options)
    assert len(run.validation) == 2 * BETAS
    scalars, images = scalars_and_images(tmp_path / "run" / "tracking" / "multirate")
    assert [step for step, _ in scalars["validation/rate/beta=0.1"]] == [3, 6]
    assert images == {}


def test_an_unknown_tracker_is_refused_before_anything_is_written(digits: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no tracker 'paper'; choose of tensorboard, wandb, trackio"):
        mr.fit(model(), digits, out=tmp_path / "run", trackers=["paper"], **OPTIONS)
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'multirate\[wandb\]'"):
        check_trackers(["wandb"], tmp_path)


def test_tensorboard_needs_a_folder() -> None:
    pytest.importorskip("tensorboard")
    with pytest.raises(UsageError, match="--out"):
        check_trackers(["tensorboard"], None)


def test_pictures_of_other_data_than_images_are_the_curve_alone() -> None:
    history = [{"epoch": 1, "step": 4, "beta": beta, "rate": 2 / beta, "distortion": beta} for beta in (0.1, 1.0)]
    torch.manual_seed(0)
    vae = mr.convert(mr.models.linear(shape=(5,), latents=2), mr.BetaRange(0.1, 1.0))
    made = pictures(vae, as_source(torch.rand(4, 5)), history)
    assert set(made) == {"curve"}
    assert made["curve"].dtype == np.uint8
    assert made["curve"].shape[2] == 3
    assert made["curve"].std() > 5  # something is drawn


def test_the_curve_so_far_shows_the_newest_epoch_and_at_most_eight() -> None:
    lines = [
        {"epoch": epoch, "beta": beta, "rate": (20 - epoch) / beta, "distortion": beta + 30 / epoch}
        for epoch in range(1, 21)
        for beta in (0.1, 1.0, 10.0)
    ]
    axes = curves_so_far(lines).axes[0]
    assert len(axes.lines) == 8
    newest = axes.lines[-1]
    assert np.asarray(newest.get_xdata()).tolist() == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)
    assert axes.get_title(loc="left") == "validation after epoch 20"
    assert [text.get_text() for text in axes.texts] == ["β = 0.1", "β = 1", "β = 10"]


def test_no_validation_no_curve() -> None:
    with pytest.raises(DataError, match="--validate"):
        curves_so_far([])


@pytest.mark.slow
def test_train_shows_the_curve_so_far_after_each_validation(tmp_path: Path) -> None:
    words = ["--data", "digits", "--model", "mlp", "--hidden", "16", "--epochs", "2", "--validation-betas", "3"]
    command = [sys.executable, "-m", "multirate", "train", *words, "--validate", "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    shown = done.stderr
    assert shown.index("validation after epoch 1") < shown.index("validation after epoch 2")
    lines = [json.loads(text) for text in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    validated = [line for line in lines if line["split"] == "validation"]
    second = {line["beta"]: line for line in validated if line["epoch"] == 2}
    rows = [text.split() for text in shown[shown.index("validation after epoch 2") :].splitlines()[2:5]]
    for row, (beta, line) in zip(rows, sorted(second.items()), strict=True):
        before = next(v for v in validated if v["epoch"] == 1 and math.isclose(v["beta"], beta))
        expected = [line["rate"], line["distortion"], line["objective"], line["objective"] - before["objective"]]
        assert [float(word) for word in row[1:]] == pytest.approx(expected, abs=0.0051)
        assert row[0] == f"{beta:.3g}"


def test_validation_of_a_range_of_lambda_is_told_in_beta(digits: torch.Tensor) -> None:
    torch.manual_seed(0)
    vae = mr.models.mlp(shape=(1, 8, 8), latents=4, hidden=(16,))
    over_lambda = mr.convert(vae, mr.BetaRange(0.1, 10.0, weighs="distortion"))
    run = mr.fit(over_lambda, digits, val=digits[:40], **OPTIONS | {"epochs": 1})
    assert [line["beta"] for line in run.validation] == pytest.approx([0.1, 1.0, 10.0])
    for line in run.validation:
        assert line["objective"] == pytest.approx(line["distortion"] + line["beta"] * line["rate"])
    assert run.validation[0]["rate"] > run.validation[-1]["rate"]


@pytest.mark.slow
def test_the_command_line_tracks_a_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    words = ["train", "--data", "digits", "--model", "mlp", "--hidden", "16", "--epochs", "1", "--log-every", "5"]
    assert main([*words, "--validate", "--track", "tensorboard", "--out", str(tmp_path / "run")]) == 0
    scalars, images = scalars_and_images(tmp_path / "run" / "tracking" / "multirate")
    assert [step for step, _ in scalars["train/loss"]] == [5, 10]
    assert {"curve", "reconstructions", "samples"} == set(images)


@pytest.mark.slow
def test_wandb_keeps_a_run_offline(digits: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="Weights & Biases is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    mr.fit(model(), digits, val=digits[:40], out=tmp_path / "run", trackers=["wandb"], pictures=pictures, **OPTIONS)
    kept = list((tmp_path / "run" / "tracking").rglob("*.wandb"))
    assert len(kept) == 1
    assert kept[0].stat().st_size > 1000
    drawn = {path.name.split("_")[0] for path in (tmp_path / "run" / "tracking").rglob("*.png")}
    assert drawn == {"curve", "reconstructions", "samples"}


@pytest.mark.slow
def test_trackio_keeps_a_run_on_this_machine(digits: torch.Tensor, tmp_path: Path) -> None:
    pytest.importorskip("trackio", reason="trackio is not installed")
    script = (
        "import torch, multirate as mr\n"
        "from multirate.experiments.monitoring import pictures\n"
        "torch.manual_seed(0)\n"
        "m = mr.convert(mr.models.mlp(shape=(1, 8, 8), latents=4, hidden=(16,)), mr.BetaRange(0.1, 10.0))\n"
        "x = torch.rand(64, 1, 8, 8).round()\n"
        "mr.fit(m, x, val=x[:32], out='run', epochs=2, batch_size=32, log_every=1, device='cpu', progress=False,\n"
        "       trackers=['trackio'], pictures=pictures)\n"
        "from trackio.sqlite_storage import SQLiteStorage\n"
        "(run,) = SQLiteStorage.get_runs('multirate')\n"
        "assert run == 'run', run\n"
        "lines = SQLiteStorage.get_logs('multirate', run)\n"
        "names = {name for line in lines for name in line}\n"
        "assert {'train/loss', 'validation/rate/beta=0.1', 'curve', 'samples'} <= names, names\n"
        "assert [line['step'] for line in lines if 'train/loss' in line] == [1, 2, 3, 4], lines\n"
    )
    environment = {"TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
