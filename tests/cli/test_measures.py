"""Measures, choice by measure and collapse, by the commands a user types."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import multirate as mr
from multirate.cli.main import main
from multirate.collapse import Collapse, collapse

MEASURES = ["active_units", "log_likelihood", "isometric_importance", "marginal_kl"]


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def run(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the trained run, evaluated with further measures and other options than the usual."""
    folder = tmp_path_factory.mktemp("measures") / "run"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("figures", "baselines", "*.html"))
    options = ["--active-threshold", "0.3", "--importance-samples", "3", "--measures", *MEASURES]
    assert main(["evaluate", str(folder), "--betas", "5", "--examples", "80", *options]) == 0
    return folder


@pytest.mark.slow
def test_options_of_measures_reach_the_curve_and_are_recorded(run: Path) -> None:
    curve = mr.Curve.load(run / "curve.json")
    assert {"log_likelihood", "marginal_kl", "mutual_information", "active_units"} <= set(curve.measures)
    assert curve.details["measures"] == {
        "active_units": {"threshold": 0.3},
        "log_likelihood": {"samples": 3},
        "isometric_importance": {"factor": 1.0, "distortion": "negative log-likelihood"},
        "decomposition": {"examples": 80},
    }
    assert [len(row) for row in curve.details["isometric_importance"]] == [4] * 5
    usual = mr.evaluate(mr.load(run / "model"), mr.data.load("digits", "test"), 5, examples=80, progress=False)
    assert curve.values("active_units").sum() < usual.values("active_units").sum()


@pytest.mark.slow
def test_the_importance_weighted_likelihood_is_above_the_elbo_but_for_noise(run: Path) -> None:
    curve = mr.Curve.load(run / "curve.json")
    above = curve.values("log_likelihood") - curve.values("elbo")
    assert (above > -0.5).all()
    # Where the rate is high the bound is loose, and three samples tighten it by more than the noise.
    assert (above[:2] > 0).all()


@pytest.mark.parametrize(
    ("option", "message"),
    [(["--active-threshold", "-1"], "active_threshold is a variance"), (["--importance-samples", "0"], "at least 1")],
)
def test_options_of_measures_that_cannot_be_right_are_refused(
    option: list[str], message: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run), *option]) == 2
    assert message in capsys.readouterr().err


def test_help_names_the_measures_and_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in (
        "log_likelihood",
        "isometric_importance",
        "marginal_kl",
        "--active-threshold",
        "--importance-samples",
    ):
        assert words in text
    assert "--measuring" not in text


@pytest.mark.slow
def test_each_latent_is_drawn_and_a_stale_figure_goes(run: Path) -> None:
    assert {"latent_rates.png", "isometric_importance.png", "measures.png"} <= {
        path.name for path in (run / "figures").iterdir()
    }
    curve = mr.Curve.load(run / "curve.json")
    kept = (run / "curve.json").read_bytes()
    del curve.details["isometric_importance"]
    curve.save(run / "curve.json")
    assert main(["plot", str(run)]) == 0
    assert not (run / "figures" / "isometric_importance.png").exists()
    assert (run / "figures" / "latent_rates.png").exists()
    (run / "curve.json").write_bytes(kept)


def test_the_largest_and_the_least_of_a_measure_are_chosen(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = mr.Curve.load(run / "curve.json").points
    chosen = as_json(capsys, "choose", str(run), "--max", "log_likelihood", "--fold", str(tmp_path / "folded"))
    best = max(points, key=lambda point: point["log_likelihood"])
    assert (chosen["beta"], chosen["expected"]["log_likelihood"]) == (best["beta"], best["log_likelihood"])
    assert not isinstance(mr.load(tmp_path / "folded"), mr.MultiRate)
    least = as_json(capsys, "choose", str(run), "--min", "mutual-information")
    assert least["beta"] == min(points, key=lambda point: point["mutual_information"])["beta"]


def test_a_choice_at_the_end_of_the_range_says_so(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose", str(run), "--min", "rate"]) == 0
    printed = capsys.readouterr().out
    assert "at the larger end of the measured betas (0.01 to 10)" in printed
    assert "expected on digits test" in printed


def test_a_measure_that_is_missing_or_asked_for_twice_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose", str(run), "--min", "frechet_distance"]) == 2
    assert "`multirate evaluate RUN --measures frechet_distance` gives it" in capsys.readouterr().err
    assert main(["choose", str(run), "--min", "rate", "--max", "elbo"]) == 2
    assert "one of --rate X, --distortion X, --elbo, --max MEASURE, --min MEASURE" in capsys.readouterr().err


def test_evaluation_says_and_writes_where_the_curve_collapses(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curve = mr.Curve.load(run / "curve.json")
    assert Collapse.load(run / "collapse.json") == collapse(curve)
    assert main(["collapse", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "the curve moves: between beta" in printed
    assert "of 4 at beta 0.01" in printed


def test_collapse_with_a_threshold_and_an_entropy(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curve = mr.Curve.load(run / "curve.json")
    printed = as_json(capsys, "collapse", str(run), "--threshold", "0.5", "--entropy", "3")
    assert printed == json.loads((run / "collapse.json").read_text())
    assert printed["bound_gap"]["entropy"] == pytest.approx([-point["elbo"] - 3 for point in curve.points])
    assert printed["threshold"] == 0.5


def test_collapse_of_a_sweep_writes_nothing(baselines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(capsys, "collapse", str(baselines))
    assert found["betas"] == [0.05, 0.2, 1.0]
    assert len(found["alive"]) == 3
    assert found["latents"] == []
    assert not (baselines / "collapse.json").exists()


@pytest.mark.slow
def test_the_report_shows_collapse_entropy_and_latents(run: Path) -> None:
    assert main(["report", str(run), "--entropy", "3"]) == 0
    page = (run / "report.html").read_text()
    for words in (
        "Where it collapses",
        "H - D",
        "each latent",
        "The rate of each latent along",
        "isometric to the data",
    ):
        assert words in page
    assert Collapse.load(run / "collapse.json").entropy == 3.0
    assert main(["report", str(run)]) == 0
    assert Collapse.load(run / "collapse.json").entropy == 3.0
