"""Curve: its file, interpolation, and the choice of beta."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multirate.curve import Curve, point
from multirate.errors import BetaError, DataError, UsageError
from multirate.merging import merge

# Rates and distortions of an MR-VAE on static binary MNIST (METHOD.md), in nats.
REFERENCE = ((0.01, 112.2, 47.5), (0.1, 76.1, 48.9), (1.0, 30.2, 65.3), (10.0, 4.7, 141.6))
EIGENVALUES = np.array([9.0, 5.0, 2.0, 1.0, 0.4, 0.2])


def make(points: Any = REFERENCE, **fields: Any) -> Curve:
    header = {"label": "multi-rate", "model": "resnet", "data": "mnist", "split": "test", "examples": 10000}
    return Curve(**{**header, "points": tuple(point(*p) for p in points), **fields})


def water_filling(n: int) -> Curve:
    """The optimum of a Gaussian source with EIGENVALUES, in closed form."""
    betas = np.geomspace(0.01, 5, n)
    rates = [0.5 * np.log(np.maximum(EIGENVALUES / b, 1)).sum() for b in betas]
    distortions = [0.5 * np.minimum(EIGENVALUES, b).sum() for b in betas]
    return make(list(zip(betas.tolist(), rates, distortions, strict=True)))


def test_a_point_has_elbo_and_objective() -> None:
    assert point(0.5, 10.0, 30.0, active_units=3) == {
        "beta": 0.5,
        "rate": 10.0,
        "distortion": 30.0,
        "elbo": -40.0,
        "objective": 35.0,
        "active_units": 3,
    }


def test_the_file_has_exactly_the_keys_of_the_schema(tmp_path: Path) -> None:
    written = json.loads(make().save(tmp_path / "curve.json").read_text())
    assert list(written) == [
        "schema",
        "label",
        "model",
        "data",
        "split",
        "examples",
        "units",
        "seed",
        "samples",
        "points",
    ]
    assert written["schema"] == "multirate.curve/1"
    assert written["units"] == "nats/example"
    assert [list(p) for p in written["points"]] == [["beta", "rate", "distortion", "elbo", "objective"]] * 4


def test_a_curve_survives_its_file(tmp_path: Path) -> None:
    curve = make(details={"likelihood": "bernoulli", "epochs": 8}, seed=3, samples=2)
    assert Curve.load(curve.save(tmp_path / "deep" / "curve.json")) == curve


def test_the_example_of_the_documentation_loads(tmp_path: Path) -> None:
    text = """{"schema": "multirate.curve/1", "label": "a", "model": "resnet", "data": "mnist", "split": "test",
        "examples": 10000, "units": "nats/example", "seed": 0, "samples": 1, "points": [{"beta": 0.01, "rate": 112.2,
        "distortion": 47.5, "elbo": -159.7, "objective": 48.6, "active_units": 32}]}"""
    (tmp_path / "curve.json").write_text(text)
    assert Curve.load(tmp_path / "curve.json").values("active_units").tolist() == [32]


BROKEN = {
    "another schema": (lambda c: c | {"schema": "multirate.curve/2"}, "multirate.curve/2"),
    "no schema": (lambda c: {k: v for k, v in c.items() if k != "schema"}, "schema None"),
    "a list": (lambda c: [c], "not a curve"),
    "a missing key": (lambda c: {k: v for k, v in c.items() if k != "split"}, "lacks 'split'"),
    "an unknown key": (lambda c: c | {"kld": 1}, "kld"),
    "a wrong type": (lambda c: c | {"examples": "10000"}, "examples='10000'"),
    "fewer examples than none": (lambda c: c | {"examples": -11}, "examples=-11; expected 1 or more"),
    "no samples": (lambda c: c | {"samples": 0}, "samples=0; expected 1 or more"),
    "an integer of 400 digits": (lambda c: with_point(c, rate=10**400), "more than 64 bits"),
    "no points": (lambda c: c | {"points": []}, "no points"),
    "points that are numbers": (lambda c: c | {"points": [1, 2]}, "list of objects"),
    "a null measure": (lambda c: with_point(c, active_units=None), "active_units must be a finite number"),
    "an infinite rate": (lambda c: with_point(c, rate=math.inf), "it holds Infinity, which is no number of JSON"),
    "a missing rate": (lambda c: c | {"points": [{"beta": 1.0}]}, "'rate' is missing"),
    "a repeated beta": (lambda c: c | {"points": [c["points"][0]] * 2}, "increasing"),
    "a negative beta": (lambda c: with_point(c, beta=-1.0), "positive"),
    "an elbo of other sign": (lambda c: with_point(c, elbo=159.7), "elbo is 159.7"),
    "an objective without beta": (lambda c: with_point(c, objective=159.7), "objective is 159.7"),
}


def with_point(content: dict[str, Any], **measures: Any) -> dict[str, Any]:
    return content | {"points": [content["points"][0] | measures, *content["points"][1:]]}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_and_named(name: str, tmp_path: Path) -> None:
    change, message = BROKEN[name]
    path = tmp_path / "curve.json"
    path.write_text(json.dumps(change(make().to_dict())))
    with pytest.raises(DataError) as caught:
        Curve.load(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_csv_keeps_every_digit_and_leaves_absent_measures_empty(tmp_path: Path) -> None:
    points = (point(0.1, 1 / 3, 2 / 3, active_units=2), point(1.0, 0.1, 0.9))
    path = replace(make(), points=points).save_csv(tmp_path / "curve.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert float(rows[0]["rate"]) == 1 / 3
    assert [row["active_units"] for row in rows] == ["2", ""]


def test_at_a_beta_of_the_grid_is_the_point_itself() -> None:
    curve = make()
    assert curve.at(0.1) == curve.points[1]
    assert curve.at(float(np.float32(0.1))) == curve.points[1]


def test_interpolation_is_close_to_the_closed_form_between_points() -> None:
    curve, truth = water_filling(20), water_filling(191)
    for known in truth.points:
        read = curve.at(known["beta"])
        assert read["rate"] == pytest.approx(known["rate"], abs=0.05)
        assert read["distortion"] == pytest.approx(known["distortion"], abs=0.05)
        assert read["elbo"] == -(read["distortion"] + read["rate"])
        assert read["objective"] == pytest.approx(read["distortion"] + known["beta"] * read["rate"])


@pytest.mark.parametrize("beta", [0.009, 10.1, -1.0, math.nan])
def test_a_beta_outside_the_curve_is_refused(beta: float) -> None:
    with pytest.raises(BetaError, match=r"0\.01 to 10"):
        make().at(beta)


@given(st.floats(min_value=4.7, max_value=112.2))
def test_beta_for_a_rate_gives_that_rate(rate: float) -> None:
    curve = make()
    assert curve.at(curve.beta_for(rate=rate))["rate"] == pytest.approx(rate, rel=1e-6)


@given(st.floats(min_value=47.5, max_value=141.6))
def test_beta_for_a_distortion_gives_that_distortion(distortion: float) -> None:
    curve = make()
    assert curve.at(curve.beta_for(distortion=distortion))["distortion"] == pytest.approx(distortion, rel=1e-6)


def test_beta_for_a_measured_value_is_the_measured_beta() -> None:
    curve = make()
    for known in curve.points:
        assert curve.beta_for(rate=known["rate"]) == known["beta"]
        assert curve.beta_for(distortion=known["distortion"]) == known["beta"]


def test_on_a_plateau_the_cheapest_beta_is_chosen() -> None:
    curve = make([(0.1, 5.0, 1.0), (1.0, 2.0, 3.0), (2.0, 0.0, 8.0), (4.0, 0.0, 8.0)])
    assert curve.beta_for(rate=0.0) == 2.0
    assert curve.beta_for(distortion=8.0) == 4.0


def test_noise_that_breaks_the_order_is_smoothed() -> None:
    curve = make([(0.1, 50.0, 1.0), (1.0, 20.0, 10.2), (1.1, 20.4, 10.0), (10.0, 1.0, 40.0)])
    assert 1.0 <= curve.beta_for(rate=20.2) <= 1.1
    assert curve.beta_for(rate=30.0) < curve.beta_for(rate=20.3) < curve.beta_for(rate=10.0)


@pytest.mark.parametrize("wanted", [{"rate": 4.0}, {"rate": 113.0}, {"rate": math.nan}])
def test_an_unreachable_rate_names_the_interval(wanted: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=r"from 4\.7 to 112\.2 nats/example"):
        make().beta_for(**wanted)


@pytest.mark.parametrize("wanted", [{}, {"rate": 20.0, "distortion": 60.0}])
def test_exactly_one_budget_is_asked_for(wanted: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="either"):
        make().beta_for(**wanted)


def test_one_point_is_no_choice() -> None:
    with pytest.raises(UsageError, match="at least 2"):
        make(REFERENCE[:1]).beta_for(rate=112.2)


def test_best_is_the_beta_of_the_highest_elbo() -> None:
    assert make().best() == 1.0
    assert make().best("rate") == 0.01
    assert make().best("rate", lowest=True) == 10.0
    with pytest.raises(UsageError, match="no measure 'fid'"):
        make().best("fid")


def test_the_table_is_text_with_a_header() -> None:
    header, *rows = make().table()
    assert header == ["beta", "rate", "distortion", "elbo", "objective"]
    assert rows[2] == ["1", "30.20", "65.30", "-95.50", "95.50"]


def test_merged_baselines_are_in_order_of_beta_and_keep_what_agrees() -> None:
    singles = [make([p], details={"epochs": 8, "seconds": i}) for i, p in enumerate(REFERENCE[::-1])]
    merged = merge(singles, label="beta-VAEs")
    assert merged.points == make().points
    assert merged.label == "beta-VAEs"
    assert merged.details == {"epochs": 8, "seconds": [3, 2, 1, 0], "warnings": []}


def test_curves_that_measure_different_things_do_not_merge() -> None:
    one, two = make(REFERENCE[:1]), make(REFERENCE[1:2])
    for change in ({"data": "omniglot"}, {"model": "mlp"}, {"split": "train"}, {"examples": 100}, {"samples": 5}):
        with pytest.raises(UsageError, match=next(iter(change))):
            merge([one, replace(two, **change)])
    with pytest.raises(UsageError, match=r"beta 0\.01"):
        merge([one, one])
    with pytest.raises(UsageError, match="no curves"):
        merge([])


def test_a_curve_reads_as_its_table() -> None:
    text = str(Curve("mine", "resnet", "mnist", "test", 10000, (point(0.1, 76.1, 48.9), point(1.0, 30.2, 65.3))))
    assert text.splitlines() == [
        "mine on mnist test, 10,000 examples, nats/example",
        "beta   rate  distortion     elbo  objective",
        " 0.1  76.10       48.90  -125.00      56.51",
        "   1  30.20       65.30   -95.50      95.50",
    ]


def test_a_missing_curve_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file .*; make it with `multirate evaluate`"):
        Curve.load(tmp_path / "curve.json")


def test_rates_of_groups_are_joined_in_the_order_of_the_points() -> None:
    def one(beta: float, groups: list[list[float]] | None) -> Curve:
        details = {} if groups is None else {"group_rates": groups}
        return Curve("nvae", "nvae", "mnist", "test", 10, (point(beta, 3.0, 5.0),), details=details)

    merged = merge([one(1.0, [[1.0, 2.0]]), one(0.1, [[2.5, 0.5]])])
    assert merged.details["group_rates"] == [[2.5, 0.5], [1.0, 2.0]]
    assert "group_rates" not in merge([one(1.0, [[1.0, 2.0]]), one(0.1, None)]).details


def test_rates_of_latents_are_joined_in_the_order_of_the_points() -> None:
    def one(beta: float, rates: list[float]) -> Curve:
        return Curve("a", "mlp", "toy", "test", 10, (point(beta, sum(rates), 5.0),), details={"latent_rates": [rates]})

    assert merge([one(1.0, [1.0, 2.0]), one(0.1, [2.5, 0.5])]).details["latent_rates"] == [[2.5, 0.5], [1.0, 2.0]]
