"""The collapse report of a run: the linear optimum as its bound, on the examples that were measured."""

import dataclasses
from pathlib import Path

import pytest
import torch

import multirate as mr
from multirate.cli.main import main
from multirate.experiments.collapse import collapse_of, linear_optimum, stale, write_collapse
from multirate.experiments.run import open_run
from multirate.theory import LinearVAE

LINEAR = ["--data", "digits", "--data-options", "binarize=none", "--model", "linear", "--latents", "4"]


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("collapse") / "linear"
    assert main(["train", *LINEAR, "--epochs", "2", "--out", str(out)]) == 0
    assert main(["evaluate", str(out), "--betas", "3", "--examples", "200", "--samples", "20", "--no-figures"]) == 0
    return out


def test_the_bound_of_a_linear_run_is_the_optimum_of_the_measured_examples(linear: Path) -> None:
    curve = mr.Curve.load(linear / "curve.json")
    x = mr.data.load("digits", "test", binarize="none").batch(torch.arange(200)).flatten(1).double()
    theory = LinearVAE(torch.cov(x.T, correction=0), 4)

    gaps = write_collapse(open_run(linear)).bound_gap["optimum"]

    expected = [p["objective"] - float(theory.objective(p["beta"])) for p in curve.points]
    assert gaps == pytest.approx(expected, rel=1e-9)
    assert min(gaps) > 0


def test_a_curve_of_other_data_than_the_runs_has_no_such_bound(linear: Path) -> None:
    curve = dataclasses.replace(mr.Curve.load(linear / "curve.json"), data="others")
    assert linear_optimum(open_run(linear), curve) is None


@pytest.mark.parametrize("detail", [{"likelihood": "bernoulli"}, {"latents": None}])
def test_another_model_has_no_such_bound(detail: dict[str, object], linear: Path) -> None:
    curve = mr.Curve.load(linear / "curve.json")
    assert linear_optimum(open_run(linear), dataclasses.replace(curve, details=curve.details | detail)) is None
    assert linear_optimum(open_run(linear), dataclasses.replace(curve, model="mlp")) is None


def test_data_that_cannot_be_read_leave_the_bound_out_with_a_note(linear: Path) -> None:
    run, said = open_run(linear), []
    curve = mr.Curve.load(linear / "curve.json")
    lost = dataclasses.replace(run, spec=dataclasses.replace(run.spec, data="/nowhere/at/all.npy"))
    found = write_collapse(lost, say=said.append)
    assert found.bound_gap == {}
    assert len(found.latents) == 4
    assert said[0].startswith("note: no distance from the exact optimum")
    assert collapse_of(linear / "curve.json").betas == tuple(curve.betas)


def test_a_report_is_stale_when_the_curve_is_newer(linear: Path) -> None:
    write_collapse(open_run(linear))
    assert not stale(linear)
    curve = mr.Curve.load(linear / "curve.json")
    (linear / "collapse.json").unlink()
    assert stale(linear)
    write_collapse(open_run(linear))
    curve.save(linear / "curve.json")
    assert stale(linear)
