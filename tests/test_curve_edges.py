"""Curve at its boundaries: what is kept, what counts as the same beta, where interpolation begins, what is refused."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from multirate.curve import Curve, point
from multirate.errors import BetaError, DataError, UsageError

BETAS = (0.01, 0.1, 1.0, 10.0)
RATES = (112.2, 76.1, 30.2, 4.7)
DISTORTIONS = (47.5, 48.9, 65.3, 141.6)


def make(**fields: Any) -> Curve:
    points = tuple(point(b, r, d) for b, r, d in zip(BETAS, RATES, DISTORTIONS, strict=True))
    return Curve(
        **{"label": "ours", "model": "mlp", "data": "toy", "split": "test", "examples": 10, "points": points} | fields
    )


def with_measures(**measures: tuple[float, ...]) -> Curve:
    columns = [dict(zip(measures, values, strict=True)) for values in zip(*measures.values(), strict=True)]
    return make(points=tuple(p | more for p, more in zip(make().points, columns, strict=True)))


def test_a_curve_has_defaults_does_not_change_and_keeps_its_own_points() -> None:
    points = [point(0.1, 1.0, 2.0)]
    curve = make(points=points)
    points[0]["rate"] = 7.0

    assert (curve.seed, curve.samples, curve.units, curve.details) == (0, 1, "nats/example", {})
    assert curve.points == (point(0.1, 1.0, 2.0),)
    assert len(curve) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        curve.seed = 1  # type: ignore[misc]


def test_columns_are_float64_and_in_order() -> None:
    curve = make()

    for values, expected in ((curve.betas, BETAS), (curve.rates, RATES), (curve.distortions, DISTORTIONS)):
        assert values.dtype == np.float64
        assert values.tolist() == list(expected)


def test_a_measure_that_a_point_lacks_is_none_of_the_curve() -> None:
    points = (point(0.1, 1.0, 2.0, active_units=2, fid=1.0), point(1.0, 0.5, 3.0, fid=2.0))
    curve = make(points=points)

    assert curve.measures == ("beta", "rate", "distortion", "elbo", "objective", "fid")
    with pytest.raises(UsageError, match=r"curve 'ours' has no measure 'active_units'; it has beta, rate.*, fid$"):
        curve.values("active_units")


@pytest.mark.parametrize(("relative", "same"), [(0.9e-6, True), (1.1e-6, False), (-0.9e-6, True), (-1.1e-6, False)])
def test_betas_are_the_same_to_a_millionth(relative: float, same: bool) -> None:
    read = make().at(1.0 * (1 + relative))

    assert (read == make().points[2]) is same
    assert read["rate"] == pytest.approx(30.2, rel=1e-4)


def test_what_is_read_at_a_point_is_a_copy() -> None:
    curve = make()
    curve.at(0.1)["rate"] = 0.0

    assert curve.points[1]["rate"] == 76.1


def test_between_points_every_measure_is_the_monotone_cubic_in_log_beta() -> None:
    curve = with_measures(active_units=(32.0, 30.0, 12.0, 1.0))

    read = curve.at(0.3)

    def cubic(values: tuple[float, ...]) -> float:
        return float(PchipInterpolator(np.log(BETAS), values)(math.log(0.3)))

    rate, distortion = cubic(RATES), cubic(DISTORTIONS)
    assert read == pytest.approx(point(0.3, rate, distortion, active_units=cubic((32.0, 30.0, 12.0, 1.0))), rel=1e-14)
    assert list(read) == ["beta", "rate", "distortion", "elbo", "objective", "active_units"]


def test_lambda_between_points_is_one_over_beta() -> None:
    curve = make(points=tuple(p | {"lambda": 1 / p["beta"]} for p in make().points))

    assert curve.at(0.3)["lambda"] == pytest.approx(1 / 0.3)
    assert curve.at(0.1)["lambda"] == 10.0


@pytest.mark.parametrize("beta", [0.01 * (1 - 2e-6), 10 * (1 + 2e-6), 0.0, -1.0])
def test_nothing_is_read_beyond_the_ends(beta: float) -> None:
    with pytest.raises(BetaError, match=r"outside the curve, whose betas go from 0\.01 to 10"):
        make().at(beta)


@pytest.mark.parametrize("place", range(4))
def test_the_beta_of_a_measured_rate_or_distortion_is_that_of_its_point(place: int) -> None:
    assert make().beta_for(rate=RATES[place]) == BETAS[place]
    assert make().beta_for(distortion=DISTORTIONS[place]) == BETAS[place]


@pytest.mark.parametrize("rate", [5.0, 20.0, 30.0, 31.0, 60.0, 76.0, 77.0, 112.0])
def test_a_wanted_rate_is_where_the_monotone_cubic_has_it(rate: float) -> None:
    beta = make().beta_for(rate=rate)

    assert float(PchipInterpolator(np.log(BETAS), RATES)(math.log(beta))) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize("distortion", [47.6, 48.8, 49.0, 65.0, 66.0, 141.0])
def test_a_wanted_distortion_is_where_the_monotone_cubic_has_it(distortion: float) -> None:
    beta = make().beta_for(distortion=distortion)

    assert float(PchipInterpolator(np.log(BETAS), DISTORTIONS)(math.log(beta))) == pytest.approx(distortion, rel=1e-12)


@pytest.mark.parametrize(("rounding", "reachable"), [(0.5e-9, True), (2e-9, False)])
def test_an_end_is_reached_to_a_billionth(rounding: float, reachable: bool) -> None:
    wanted = {
        "rate": [(RATES[0] * (1 + rounding), 0.01), (RATES[3] - RATES[0] * rounding, 10.0)],
        "distortion": [
            (DISTORTIONS[0] - DISTORTIONS[3] * rounding, 0.01),
            (DISTORTIONS[3] * (1 + rounding), 10.0),
        ],
    }
    for name, cases in wanted.items():
        for target, beta in cases:
            if reachable:
                assert make().beta_for(**{name: target}) == pytest.approx(beta)
            else:
                with pytest.raises(UsageError, match="not reachable"):
                    make().beta_for(**{name: target})


@pytest.mark.parametrize(("sign", "rounding", "reachable"), [(1, 0.5e-9, True), (-1, 0.5e-9, True), (-1, 2e-9, False)])
def test_the_billionth_of_small_and_negative_distortions_is_of_one(sign: int, rounding: float, reachable: bool) -> None:
    curve = make(points=(point(0.1, 2e-3, sign * 2e-3), point(1.0, 1e-3, 3e-3)))
    target = sign * 2e-3 - rounding

    if reachable:
        assert curve.beta_for(distortion=target) == 0.1
    else:
        with pytest.raises(UsageError, match="not reachable"):
            curve.beta_for(distortion=target)


def test_the_billionth_of_large_negative_distortions_is_of_their_size() -> None:
    curve = make(points=(point(0.1, 2.0, -3000.0), point(1.0, 1.0, -1000.0)))

    assert curve.beta_for(distortion=-3000.0 - 2e-6) == 0.1
    with pytest.raises(UsageError, match=r"goes from -3000 to -1000 nats/example"):
        curve.beta_for(distortion=-3000.0 - 4e-6)


def test_on_a_plateau_a_rate_has_its_smallest_beta_and_a_distortion_its_largest() -> None:
    flat = make(points=(point(0.1, 9.0, 1.0), point(0.2, 5.0, 2.0), point(0.4, 5.0, 2.0), point(0.8, 1.0, 7.0)))

    assert flat.beta_for(rate=5.0) == 0.2
    assert flat.beta_for(distortion=2.0) == 0.4
    ends = make(points=(point(0.1, 5.0, 1.0), point(0.2, 5.0, 1.0), point(0.4, 2.0, 2.0), point(0.8, 2.0, 2.0)))
    assert (ends.beta_for(rate=5.0), ends.beta_for(rate=2.0)) == (0.1, 0.4)
    assert (ends.beta_for(distortion=1.0), ends.beta_for(distortion=2.0)) == (0.2, 0.8)


def test_a_curve_out_of_order_is_replaced_by_the_closest_monotone_one() -> None:
    noisy = make(points=(point(0.1, 9.0, 1.0), point(0.2, 4.0, 3.0), point(0.4, 6.0, 2.0), point(0.8, 1.0, 7.0)))

    assert noisy.beta_for(rate=5.0) == 0.2
    assert noisy.beta_for(distortion=2.5) == 0.4
    betas = np.log([0.1, 0.2, 0.4, 0.8])
    beta = noisy.beta_for(rate=3.0)
    assert float(PchipInterpolator(betas, [9.0, 5.0, 5.0, 1.0])(math.log(beta))) == pytest.approx(3.0, rel=1e-12)


def test_two_points_are_a_curve_and_one_is_none() -> None:
    two = make(points=(point(0.1, 9.0, 1.0), point(10.0, 1.0, 2.0)))

    assert two.beta_for(rate=5.0) == pytest.approx(1.0)
    assert two.beta_for(distortion=1.5) == pytest.approx(1.0)
    with pytest.raises(UsageError, match="has one point"):
        make(points=(point(0.1, 9.0, 1.0),)).beta_for(rate=9.0)


def test_the_best_is_the_highest_elbo_unless_said_otherwise_and_the_first_of_equals() -> None:
    curve = with_measures(fid=(3.0, 1.0, 1.0, 5.0), score=(2.0, 7.0, 7.0, 1.0))

    assert curve.best() == curve.best("elbo") == 1.0
    assert curve.best("elbo", lowest=True) == 0.01
    assert curve.best("fid", lowest=True) == 0.1
    assert curve.best("score") == 0.1


def test_the_file_has_details_where_there_are_any() -> None:
    assert "details" not in make().to_dict()
    assert make(details={"epochs": 3}).to_dict()["details"] == {"epochs": 3}


def test_what_is_written_is_a_copy() -> None:
    curve = make()
    curve.to_dict()["points"][0]["rate"] = 0.0

    assert curve.points[0]["rate"] == 112.2


WRONG = {
    "a boolean for a number": (lambda c: c | {"seed": True}, "seed=True; expected int"),
    "points that are an object": (lambda c: c | {"points": {}}, "must be a list"),
    "no points at all": (lambda c: {k: v for k, v in c.items() if k != "points"}, "must be a list"),
    "details that are a list": (lambda c: c | {"details": [1]}, "'details' an object"),
    "a point with a truth": (lambda c: changed(c, fid=True), "fid must be a finite number; got True"),
    "a point with a word": (lambda c: changed(c, fid="low"), "fid must be a finite number; got 'low'"),
    "a beta of zero": (lambda c: changed(c, beta=0.0, objective=47.5), "betas must be positive"),
    "a point without beta": (lambda c: c | {"points": [{"rate": 1.0}]}, "point at beta None: 'beta' is missing"),
    "no object": (lambda c: 3, "is not a curve"),
}


def changed(content: dict[str, Any], **measures: Any) -> dict[str, Any]:
    return content | {"points": [content["points"][0] | measures, *content["points"][1:]]}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_curve_is_refused(name: str) -> None:
    change, message = WRONG[name]

    with pytest.raises(DataError) as caught:
        Curve.from_dict(change(make().to_dict()), "that file")

    assert message in str(caught.value)
    assert str(caught.value).startswith("that file")


def test_a_curve_of_an_object_is_that_curve() -> None:
    curve = make(seed=4, samples=3, units="bits/example", details={"epochs": 3})

    assert Curve.from_dict(curve.to_dict()) == curve


@pytest.mark.parametrize(("name", "size"), [("elbo", 159.7), ("objective", 159.7 + 1.122)])
@pytest.mark.parametrize("sign", [1, -1])
def test_sums_may_be_rounded_by_hand(name: str, size: float, sign: int) -> None:
    def given(share: float) -> Curve:
        content = make().to_dict()
        return Curve.from_dict(changed(content, **{name: content["points"][0][name] + sign * share * size}))

    assert given(1.95e-3).points[0][name] != make().points[0][name]
    with pytest.raises(DataError, match=f"{name} is .* evaluate the model again"):
        given(2.05e-3)


def test_sums_of_nothing_may_be_off_by_a_billionth() -> None:
    make(points=(point(0.1, 0.0, 0.0) | {"elbo": 0.9e-9, "objective": -0.9e-9},))
    for name in ("elbo", "objective"):
        with pytest.raises(DataError, match=name):
            make(points=(point(0.1, 0.0, 0.0) | {name: 1.1e-9},))


@pytest.mark.parametrize(
    ("size", "right"), [(1.0, True), (1.0019, True), (0.9981, True), (1.0021, False), (0.9979, False)]
)
def test_lambda_is_one_over_beta_to_two_in_a_thousand(size: float, right: bool) -> None:
    points = (point(0.5, 1.0, 2.0) | {"lambda": 2.0 * size},)

    if right:
        assert make(points=points).values("lambda").tolist() == [2.0 * size]
    else:
        with pytest.raises(DataError, match="1 / beta is 2; leave it out"):
            make(points=points)


def test_a_negative_rate_is_a_size_to_sums() -> None:
    p = point(2.0, -50.0, 1.0)

    assert make(points=(p | {"elbo": p["elbo"] + 0.09, "objective": p["objective"] + 0.28},)).points[0]["rate"] == -50.0


def test_warnings_are_the_messages_that_are_text() -> None:
    entries = [{"message": "first"}, {"message": 3}, "second", {"other": "third"}, {"message": "fourth", "kind": "x"}]
    curve = make(details={"warnings": entries})

    assert curve.warnings == ("first", "fourth")
    assert str(curve).splitlines()[-2:] == ["warning: first", "warning: fourth"]
    for damaged in ("text", None, {"message": "first"}):
        assert make(details={"warnings": damaged}).warnings == ()
    assert make().warnings == ()


def test_whole_numbers_are_read_as_float64() -> None:
    assert with_measures(active_units=(4, 3, 2, 1)).values("active_units").dtype == np.float64


@pytest.mark.parametrize(("wanted", "name"), [({"rate": 500.0}, "rate 500"), ({"distortion": 1.0}, "distortion 1")])
def test_what_is_not_reachable_is_named(wanted: dict[str, float], name: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name} is not reachable: curve 'ours' goes from"):
        make().beta_for(**wanted)


@pytest.mark.parametrize(("rate", "off", "place"), [(4.7 + 1e-7, 1e-6, 3), (30.2 - 1e-7, -1e-6, 2)])
def test_within_rounding_of_a_point_the_nearer_one_is_taken(
    rate: float, off: float, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rounded(x: Any, y: Any) -> Any:
        return lambda at: np.interp(at, x, y) + off

    monkeypatch.setattr("multirate.curve.pchip", rounded)
    assert make().beta_for(rate=rate) == BETAS[place]


def test_a_measure_that_a_point_lacks_is_an_empty_cell(tmp_path: Path) -> None:
    curve = make(points=(point(0.1, 1.0, 2.0, fid=1.5), point(1.0, 0.5, 3.0)))
    header, first, second = curve.table()

    assert (first[header.index("fid")], second[header.index("fid")]) == ("1.50", "")
    content = curve.save_csv(tmp_path / "curve.csv").read_bytes()
    assert content.startswith(b"beta,rate,distortion,elbo,objective,fid\n") and b"\r" not in content
    assert content.endswith(b",\n")


def test_points_that_are_wrong_are_named_with_their_curve_beta_and_formula() -> None:
    good = point(0.1, 1.0, 2.0)
    for name, formula in (("elbo", r"-\(distortion \+ rate\)"), ("objective", r"distortion \+ beta rate")):
        with pytest.raises(DataError, match=rf"^curve 'ours', point at beta 0\.1: {name} is 7 but {formula} is "):
            make(points=(good | {name: 7.0},))
    content = make().to_dict()
    content["schema"] = "another"
    with pytest.raises(DataError, match=r"^curve has schema 'another'"):
        Curve.from_dict(content)
