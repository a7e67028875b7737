"""Collapse of a curve: latents of known rates, a curve of known shape, and known bounds."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.interpolate import PchipInterpolator

import multirate as mr
from multirate.collapse import Collapse, LatentFate, collapse
from multirate.curve import Curve, point
from multirate.errors import DataError, UsageError
from multirate.theory import LinearVAE

BETAS = np.geomspace(0.01, 10.0, 13)
# Rates of one latent along seven betas from 0.001 to 1000, and what becomes of it.
FATES: dict[str, tuple[list[float], str, int]] = {
    "dies": ([3.0, 2.0, 1.0, 0.5, 0.0, 0.0, 0.0], "dies", 0),
    "never alive": ([0.0, 0.001, 0.0, 0.0, 0.0, 0.0, 0.0], "never alive", 0),
    "alive throughout": ([3.0, 2.0, 2.0, 2.0, 1.0, 1.0, 0.5], "alive throughout", 0),
    "dies twice": ([3.0, 0.0, 0.0, 2.0, 1.0, 0.0, 0.0], "dies", 1),
    "dies three times": ([3.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0], "dies", 2),
    "opens late": ([0.0, 0.0, 3.0, 2.0, 0.0, 0.0, 0.0], "dies", 0),
    "opens late and dies twice": ([0.0, 2.0, 0.0, 2.0, 0.0, 0.0, 0.0], "dies", 1),
    "opens and stays": ([0.0, 0.0, 3.0, 2.0, 2.0, 2.0, 2.0], "alive at the end", 0),
    "reopens and stays": ([2.0, 0.0, 3.0, 2.0, 2.0, 2.0, 2.0], "alive at the end", 1),
}
# The last beta at which each that dies is alive.
LAST = {"dies": 1.0, "dies twice": 10.0, "dies three times": 10.0, "opens late": 1.0, "opens late and dies twice": 1.0}


def make(betas: Any, latent_rates: list[list[float]], distortions: Any = None, **details: Any) -> Curve:
    distortions = 50 + np.asarray(betas) if distortions is None else distortions
    points = tuple(
        point(float(beta), math.fsum(row), float(d))
        for beta, row, d in zip(betas, latent_rates, distortions, strict=True)
    )
    details = {"latent_rates": latent_rates, "beta_range": [0.001, 1000.0]} | details
    return Curve("multi-rate mlp", "mlp", "toy", "test", 100, points, details=details)


def linear_curve(eigenvalues: list[float], betas: Any) -> tuple[Curve, LinearVAE]:
    theory = LinearVAE(torch.tensor(eigenvalues, dtype=torch.float64).diag(), len(eigenvalues))
    rates = [[max(0.0, 0.5 * math.log(value / beta)) for value in eigenvalues] for beta in betas]
    return make(betas, rates, [float(theory.distortion(beta)) for beta in betas]), theory


@pytest.mark.parametrize("name", FATES)
def test_each_latent_has_the_fate_of_its_last_crossing(name: str) -> None:
    rates, fate, reopens = FATES[name]
    (found,) = collapse(make(np.geomspace(1e-3, 1e3, 7), [[rate] for rate in rates])).latents
    assert (found.fate, found.reopens) == (fate, reopens)
    if name in LAST:
        assert found.beta is not None
        assert LAST[name] < found.beta < 10 * LAST[name]
    else:
        assert found.beta is None


def test_latents_of_a_linear_vae_die_where_beta_reaches_their_eigenvalue() -> None:
    eigenvalues = [4.0, 0.5, 0.03]
    curve, _ = linear_curve(eigenvalues, np.geomspace(0.01, 10.0, 200))
    found = collapse(curve, threshold=0.01)
    # A rate of the threshold is reached a little before: log(lambda / beta) / 2 = 0.01.
    expected = [value * math.exp(-0.02) for value in eigenvalues]
    assert [latent.beta for latent in found.latents] == pytest.approx(expected, rel=0.01)


def test_a_crossing_between_two_points_is_interpolated_in_log_beta() -> None:
    betas, rates = [0.01, 0.1, 1.0, 10.0], [3.0, 1.5, 1.0, 0.0]
    (found,) = collapse(make(betas, [[rate] for rate in rates]), threshold=0.25).latents
    (root,) = PchipInterpolator(np.log(betas), rates).solve(0.25, extrapolate=False)
    assert found.beta == pytest.approx(math.exp(root), rel=1e-9)


def test_a_rate_of_the_threshold_is_dead() -> None:
    found = collapse(make([0.1, 1.0, 10.0], [[1.0], [0.5], [0.5]]), threshold=0.5)
    assert found.latents == (LatentFate("dies", pytest.approx(1.0)),)  # type: ignore[arg-type]
    assert found.alive == (1, 0, 0)


def test_the_curve_moves_where_its_rate_leaves_and_reaches_its_ends() -> None:
    # A logistic fall of the rate in log beta about 1: 95% and 5% are log 19 to either side.
    betas = np.geomspace(1e-4, 1e4, 400)
    rates = [[100 / (1 + float(beta)) + 3.0] for beta in betas]
    low, high = collapse(make(betas, rates)).moves or (0.0, 0.0)
    assert low == pytest.approx(1 / 19, rel=0.01)
    assert high == pytest.approx(19, rel=0.01)


@pytest.mark.parametrize("rates", [[[2.0], [2.0]], [[2.0]], [[1.0], [2.0]]], ids=["flat", "one point", "rising"])
def test_a_curve_whose_rate_does_not_fall_moves_nowhere(rates: list[list[float]]) -> None:
    assert collapse(make([0.1, 1.0][: len(rates)], rates)).moves is None


def test_the_gap_to_the_entropy_is_what_a_model_of_known_data_loses() -> None:
    # Gaussian data of entropy H, and the linear VAE that is exact at beta 1: there it loses nothing.
    eigenvalues = [5.0, 2.0, 1.5]
    curve, _ = linear_curve(eigenvalues, [0.1, 0.5, 1.0, 2.0, 4.0])
    entropy = 0.5 * sum(math.log(2 * math.pi * math.e * value) for value in eigenvalues)

    gaps = collapse(curve, entropy=entropy).bound_gap["entropy"]

    assert gaps == pytest.approx([-p["elbo"] - entropy for p in curve.points])
    assert gaps[2] == pytest.approx(0, abs=1e-9)
    assert min(gaps) >= -1e-9
    assert gaps[0] > gaps[1] > gaps[2] < gaps[3] < gaps[4]


def test_the_gap_to_the_linear_optimum_is_the_excess_in_the_objective() -> None:
    curve, _ = linear_curve([4.0, 0.5, 0.03], [0.1, 1.0, 3.0])
    worse = dataclasses.replace(
        curve, points=tuple(point(p["beta"], p["rate"] + 0.5, p["distortion"] + 0.2) for p in curve.points)
    )
    assert collapse(curve, optimum=curve).bound_gap["optimum"] == pytest.approx([0.0] * 3)
    gaps = collapse(worse, optimum=curve).bound_gap["optimum"]
    assert gaps == pytest.approx([0.2 + 0.5 * beta for beta in (0.1, 1.0, 3.0)])


def test_dedicated_models_have_numbers_alive_but_no_fates() -> None:
    curve = make([0.1, 1.0, 10.0], [[1.0, 2.0], [0.0, 1.0], [0.0, 0.0]])
    family = dataclasses.replace(curve, details={"latent_rates": curve.details["latent_rates"]})
    assert (collapse(family).alive, collapse(family).latents) == ((2, 1, 0), ())
    assert len(collapse(curve).latents) == 2


def test_a_curve_without_rates_of_latents_has_its_range_alone() -> None:
    curve = dataclasses.replace(make([0.1, 1.0, 10.0], [[2.0], [1.0], [0.0]]), details={})
    found = collapse(curve)
    assert (found.latents, found.alive) == ((), ())
    assert [name for name, _ in found.summary()] == ["the curve moves"]


def test_the_summary_says_it_in_a_few_lines() -> None:
    rows = [[3.0, 1.0, 2.0, 0.0], [2.0, 0.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0], [0.5, 0.0, 0.0, 0.0]]
    text = dict(collapse(make([0.01, 0.1, 1.0, 10.0], rows), entropy=50.0).summary())
    assert text["latents alive"] == "3 of 4 at beta 0.01, 1 at 10"
    assert text["latents' fate"].startswith("2 die between beta ")
    assert text["latents' fate"].endswith("; 1 alive throughout; 1 never alive; 1 had been dead before and reopened")
    assert "nats, most at beta 10 (H - D <= R, H 50)" in text["above the bound"]
    assert "rate from 95% to 5%" in text["the curve moves"]


def test_a_report_reads_back_as_it_was_written(tmp_path: Path) -> None:
    curve, _ = linear_curve([4.0, 0.5], [0.1, 1.0, 10.0])
    found = collapse(curve, entropy=3.0, optimum=curve)
    assert Collapse.load(found.save(tmp_path / "collapse.json")) == found
    written = json.loads((tmp_path / "collapse.json").read_text())
    assert written["schema"] == "multirate.collapse/1"
    assert written["latents"][0]["fate"] == "dies"


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"schema": "multirate.collapse/2"}', '{"schema": "multirate.collapse/1"}']
)
def test_a_file_of_something_else_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "collapse.json").write_text(text)
    with pytest.raises(DataError, match="multirate collapse"):
        Collapse.load(tmp_path / "collapse.json")


@pytest.mark.parametrize("rates", [[[1.0]], "no", [[1.0, 2.0], [1.0]], [[1.0], [math.nan]]], ids=str)
def test_rates_that_are_no_row_a_point_are_refused(rates: Any) -> None:
    curve = dataclasses.replace(make([0.1, 1.0], [[2.0], [1.0]]), details={"latent_rates": rates})
    with pytest.raises(DataError, match="latent_rates of curve 'multi-rate mlp' are not a list"):
        collapse(curve)


def test_options_that_cannot_be_right_are_refused() -> None:
    curve = make([0.1, 1.0], [[2.0], [1.0]])
    for threshold in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="threshold is a rate"):
            collapse(curve, threshold)
    with pytest.raises(UsageError, match="entropy must be a finite number"):
        collapse(curve, entropy=math.inf)


def test_it_is_a_public_function() -> None:
    assert mr.collapse is collapse
    assert mr.Collapse is Collapse


DAMAGE = {
    "a beta of text": ("latents", [{"fate": "dies", "beta": "1", "reopens": 0}], "beta is '1'"),
    "a latent that dies nowhere": ("latents", [{"fate": "dies", "beta": None, "reopens": 0}], "do not go together"),
    "another fate": ("latents", [{"fate": "sleeps", "beta": None, "reopens": 0}], "fate is 'sleeps'"),
    "counts of other betas": ("alive", [1], "do not go together"),
    "betas that fall": ("betas", [1.0, 0.1, 10.0], "do not go together"),
    "a list of text": ("betas", "abc", "betas is 'abc'"),
    "gaps that are missing": ("bound_gap", {"optimum": [0.1]}, "do not go together"),
}


@pytest.mark.parametrize(("name", "value", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_report_whose_parts_do_not_fit_is_refused(tmp_path: Path, name: str, value: object, message: str) -> None:
    curve, _ = linear_curve([4.0, 0.5], [0.1, 1.0, 10.0])
    path = collapse(curve).save(tmp_path / "collapse.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(DataError, match=message):
        Collapse.load(path)
