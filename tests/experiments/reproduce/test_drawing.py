"""Measured arms as panels, in the units of their data."""

import dataclasses
import math

import pytest

from multirate.experiments.reproduce.drawing import BITS, SQUARED, bits_per_dimension, panels_of, series_of
from multirate.experiments.reproduce.recipe import Arm, Results
from synthetic_arms import MULTI_RATE, curve, measured

ONE = Arm(label="MR-VAE", panel="p", seeds=())
UNITS = {
    "bernoulli": ("nats per example", "nats per example"),
    "squared_error": (SQUARED, "nats per example"),
    "discretized_logistic": (BITS, BITS),
}


def test_a_bit_of_each_of_the_values_of_celeba_is_one_bit_per_dimension() -> None:
    bit = 3 * 64 * 64 * math.log(2)
    faces = dataclasses.replace(curve({1.0: (bit, 2 * bit)}), data="celeba")
    found = bits_per_dimension(faces).points[0]
    assert (found["rate"], found["distortion"]) == (pytest.approx(1.0), pytest.approx(2.0))
    assert found["objective"] == pytest.approx(3.0)


@pytest.mark.parametrize(("likelihood", "units"), UNITS.items(), ids=UNITS)
def test_a_panel_has_the_units_of_its_likelihood(likelihood: str, units: tuple[str, str]) -> None:
    arms = {("p", "MR-VAE"): measured(ONE, curve(MULTI_RATE, likelihood=likelihood))}
    (panel,) = panels_of(Results("cpu", arms))
    assert (panel.units, panel.rate_units) == units


def test_only_the_arms_asked_for_are_drawn() -> None:
    arms = {("p", label): measured(ONE, curve(MULTI_RATE)) for label in ("MR-VAE", "other")}
    assert [series.label for series in series_of(Results("cpu", arms), "p")] == ["MR-VAE", "other"]
    assert [series.label for series in series_of(Results("cpu", arms), "p", ("other",))] == ["other"]
