"""Claims on measures against beta: each rule at numbers where the answer is known, on both sides of its bound."""

from collections.abc import Mapping

import pytest

from multirate.curve import Curve, point
from multirate.errors import UsageError
from multirate.experiments.reproduce.measured_claims import (
    difference_claim,
    excess_claim,
    falling_claim,
    order_claim,
    side_by_side,
)
from multirate.experiments.reproduce.recipe import Arm, Measured

# Values at increasing betas, largest rise allowed, whether the claim holds.
FALLING = {
    "falls": ((32.0, 20.0, 8.0), 1.0, True),
    "rises by what is allowed": ((32.0, 20.0, 21.0), 1.0, True),
    "rises by more": ((32.0, 20.0, 22.0), 1.0, False),
    "stays": ((8.0, 8.0, 8.0), 1.0, False),
    "ends higher": ((8.0, 8.0, 8.5), 1.0, False),
}
# Dedicated at 0.1, 1 and 10; ours; the smallest difference that counts; the claim's words; whether it holds.
ORDER = {
    "same order": ((3.0, 1.0, 2.0), (30.0, 10.0, 20.0), 0.5, "3 of 3 pairs", True),
    "one pair the other way": ((3.0, 1.0, 2.0), (30.0, 20.0, 10.0), 0.5, "2 of 3 pairs", False),
    "the pair does not count": ((3.0, 1.0, 1.4), (30.0, 20.0, 10.0), 0.5, "2 of 2 pairs", True),
    "no pair counts": ((1.0, 1.1, 1.2), (1.0, 2.0, 3.0), 0.5, "no two β differ that much", False),
    "ours is flat": ((3.0, 1.0, 2.0), (5.0, 5.0, 5.0), 0.5, "0 of 3 pairs", False),
}


def arm(label: str, *seeds: Mapping[float, float]) -> Measured:
    curves = tuple(
        Curve(label, "mlp", "digits", "test", 10, tuple(point(b, 1.0, 2.0, size=v) for b, v in seed.items()))
        for seed in seeds
    )
    return Measured(Arm(label=label, panel="p", seeds=((),)), curves, ())


def over(*values: float) -> dict[float, float]:
    return dict(zip((0.1, 1.0, 10.0), values, strict=True))


@pytest.mark.parametrize("name", FALLING)
def test_a_measure_falls_up_to_a_stated_rise(name: str) -> None:
    values, rise, holds = FALLING[name]
    assert falling_claim("falls", "it falls", arm("a", over(*values)), "size", rise=rise).holds is holds


def test_the_means_over_seeds_are_judged() -> None:
    measured = arm("a", over(3, 1, 3), over(3, 4, 0))
    claim = falling_claim("falls", "it falls", measured, "size", rise=0)
    assert (claim.holds, claim.ours) == (True, "from 3 to 1.5, largest rise 0")


def test_arms_are_laid_side_by_side_at_the_betas_of_the_dedicated_one_that_are_reached() -> None:
    ours, theirs = arm("a", {0.1: 1, 1.0: 2, 10.0: 3}), arm("b", {0.01: 7, 1.0: 8, 10.0: 9, 100.0: 7})
    assert side_by_side(ours, theirs, "size") == [(1.0, 2.0, 8.0), (10.0, 3.0, 9.0)]


def test_arms_without_a_common_beta_or_measure_are_refused() -> None:
    with pytest.raises(UsageError, match="'a' was measured at no beta of 'b'"):
        side_by_side(arm("a", {1.0: 1}), arm("b", {2.0: 1}), "size")
    with pytest.raises(UsageError, match="no measure 'fid'"):
        side_by_side(arm("a", {1.0: 1}), arm("b", {1.0: 1}), "fid")


@pytest.mark.parametrize(("at_most", "holds"), [(3.9, False), (4.0, True)])
def test_the_largest_difference_of_either_sign_is_judged(at_most: float, holds: bool) -> None:
    ours, theirs = arm("a", over(5, 1, 2)), arm("b", over(2, 5, 2))
    claim = difference_claim("equal", "yes", ours, theirs, "size", at_most=at_most, unit="units")
    assert claim.holds is holds
    assert claim.ours == "largest difference \N{MINUS SIGN}4.00 units at β = 1: 1 against 5"
    assert f"at most {at_most:g} units" in claim.text


@pytest.mark.parametrize(("ours", "holds"), [((109.0, 1.0, 20.0), True), ((90.0, 20.0, 22.2), False)])
def test_the_largest_excess_is_a_share_of_the_other(ours: tuple[float, ...], holds: bool) -> None:
    claim = excess_claim("close", "close", arm("a", over(*ours)), arm("b", over(100, 40, 20)), "size", at_most=0.1)
    assert claim.holds is holds
    assert claim.ours.startswith("at worst +9.0% at β = 0.1" if holds else "at worst +11.0% at β = 10")


@pytest.mark.parametrize("name", ORDER)
def test_pairs_of_betas_that_differ_are_in_the_same_order(name: str) -> None:
    theirs, ours, apart, words, holds = ORDER[name]
    claim = order_claim("course", "same", arm("a", over(*ours)), arm("b", over(*theirs)), "size", absolute=apart)
    assert claim.holds is holds
    assert claim.ours.startswith(words)


def test_a_relative_bound_is_a_share_of_the_larger_number() -> None:
    ours, theirs = arm("a", over(1, 2, 3)), arm("b", over(100, 96, 50))
    claim = order_claim("course", "same", ours, theirs, "size", relative=0.05)
    assert (claim.ours, claim.holds) == ("0 of 2 pairs", False)
