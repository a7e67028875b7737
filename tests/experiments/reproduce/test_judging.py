"""Claims at known answers: each can hold and fail."""

import dataclasses
import math

import pytest

from multirate.errors import UsageError
from multirate.experiments.reproduce import judging
from multirate.experiments.reproduce.recipe import Arm, Measured, Results
from synthetic_arms import DEDICATED, MULTI_RATE, curve, measured

ONE = Arm(label="MR-VAE", panel="p", seeds=())
MANY = Arm(label="b", panel="p", seeds=(), kind="dedicated")
OURS, THEIRS = measured(ONE, curve(MULTI_RATE)), measured(MANY, curve(DEDICATED))


def lowered(values: dict[float, tuple[float, float]], by: float) -> dict[float, tuple[float, float]]:
    return {beta: (rate, distortion - by) for beta, (rate, distortion) in values.items()}


def test_published_curves_have_the_published_gap() -> None:
    claim = judging.gap_claim("on it", "on or below", OURS, THEIRS)
    assert not claim.holds
    assert claim.ours == "worst +5.20 nats at β = 10, mean +3.67"
    assert claim.text == "on it (worst gap in D + βR at most 1 nat)"


@pytest.mark.parametrize(("by", "holds"), [(4.1, False), (4.3, True)])
def test_a_gap_claim_holds_up_to_its_tolerance(by: float, holds: bool) -> None:
    nearer = measured(ONE, curve(lowered(MULTI_RATE, by)))
    assert judging.gap_claim("", "", nearer, THEIRS).holds == holds
    assert not judging.gap_claim("", "", nearer, THEIRS, at_most=0).holds


@pytest.mark.parametrize(("by", "holds"), [(0.9, True), (-0.9, True), (1.1, False), (-1.1, False)])
def test_agreement_fails_on_either_side(by: float, holds: bool) -> None:
    other = measured(MANY, curve(lowered(DEDICATED, by)))
    assert judging.agreement_claim("", "", other, THEIRS).holds == holds


@pytest.mark.parametrize(("ours", "holds"), [(1_050.0, True), (1_051.0, False), (900.0, True), (None, False)])
def test_a_share_claim_holds_up_to_its_share(ours: float | None, holds: bool) -> None:
    assert judging.share_claim("cost", "", ours, 1_000.0, at_most=0.05).holds == holds


def test_the_mean_over_seeds_has_the_mean_objective_and_the_spread_is_its_deviation() -> None:
    curves = [curve(lowered(MULTI_RATE, by)) for by in (0.0, 2.0, 4.0)]
    arm = measured(ONE, *curves)
    mean = judging.mean_curve(arm)
    assert mean.label == "MR-VAE"
    for p in mean.points:
        expected = sum(one.at(p["beta"])["objective"] for one in curves) / 3
        assert p["objective"] == pytest.approx(expected)
    assert judging.spread(arm) == pytest.approx(2.0)
    assert judging.spread(OURS) is None
    assert "mean of 3 seeds, which spread by 2.00" in judging.gap_claim("", "", arm, THEIRS).ours


def test_seeds_at_different_betas_are_refused() -> None:
    shifted = {beta * 1.1: terms for beta, terms in MULTI_RATE.items()}
    with pytest.raises(UsageError, match="the seeds of 'MR-VAE' were measured at different betas"):
        judging.mean_curve(measured(ONE, curve(MULTI_RATE), curve(shifted)))


COSTS = {
    "a multi-rate model, once": (ONE, {"seconds": 60.0}, "seconds", [60.0]),
    "its gates too": (ONE, {"parameters": 100, "response_parameters": 7}, "parameters", [107.0]),
    "dedicated ones alike": (MANY, {"parameters": 100}, "parameters", [100.0] * 4),
    "dedicated ones that differ": (MANY, {"seconds": [1.0, 2.0, 3.0, 4.0]}, "seconds", [1.0, 2.0, 3.0, 4.0]),
    "one of them unknown": (MANY, {"seconds": [1.0, 2.0, None, 4.0]}, "seconds", None),
    "none recorded": (ONE, {}, "seconds", None),
}


@pytest.mark.parametrize(("arm", "details", "key", "expected"), COSTS.values(), ids=COSTS)
def test_a_cost_counts_each_model_once(
    arm: Arm, details: dict[str, object], key: str, expected: list[float] | None
) -> None:
    found = measured(arm, curve(DEDICATED, **details))
    assert judging.costs(found, key) == expected
    assert judging.total_cost(found, key) == (None if expected is None else math.fsum(expected))


def test_gap_numbers_are_those_of_the_comparison_with_the_spread() -> None:
    twice = measured(ONE, curve(MULTI_RATE), curve(lowered(MULTI_RATE, 1.0)))
    arms: dict[tuple[str, str], Measured] = {("p", "MR-VAE"): twice, ("p", "b"): THEIRS, ("q", "MR-VAE"): OURS}
    numbers = judging.gap_numbers(Results("cpu", arms), "MR-VAE", "b")
    assert list(numbers) == ["p"]
    assert numbers["p"]["worst_gap"] == pytest.approx(4.7)
    assert numbers["p"]["spread_over_seeds"] == {"MR-VAE": pytest.approx(math.sqrt(0.5))}


def test_squared_error_is_not_called_nats() -> None:
    ours, theirs = (
        dataclasses.replace(m, curves=(dataclasses.replace(m.curve, details={"likelihood": "squared_error"}),))
        for m in (OURS, THEIRS)
    )
    claim = judging.gap_claim("", "", ours, theirs)
    assert "nat" not in claim.text + claim.ours
    assert "5.20 of squared error" in claim.ours
