"""How claims are judged: gaps in the objective between two arms, over seeds, against a stated tolerance."""

import dataclasses
import math
from typing import Any

import numpy as np

from multirate.comparison import Comparison, compare, signed
from multirate.curve import Curve, point
from multirate.errors import UsageError
from multirate.experiments.reproduce.recipe import Claim, Measured, Results

# Nats of D + beta R: a multi-rate curve this far above dedicated models at most counts as on them. It is what two runs
# that differ in nothing but their seed may differ by.
TOLERANCE = 1.0


def mean_curve(measured: Measured) -> Curve:
    """Return the mean of an arm's curves over its seeds, point by point, with the arm's label.

    Rate, distortion and further measures are averaged, so that the objective is the mean objective.

    Args:
        measured: whose curves have the same betas.

    Raises:
        UsageError: if their betas differ.
    """
    first = dataclasses.replace(measured.curve, label=measured.arm.label)
    if len(measured.curves) == 1:
        return first
    grids = [curve.betas for curve in measured.curves]
    if any(len(grid) != len(grids[0]) or not np.allclose(grid, grids[0], rtol=1e-6) for grid in grids):
        raise UsageError(f"the seeds of {measured.arm.label!r} were measured at different betas; measure them anew")
    names = [name for name in first.measures if all(name in curve.measures for curve in measured.curves)]
    means = {name: np.mean([curve.values(name) for curve in measured.curves], axis=0) for name in names}
    points = []
    for i in range(len(first)):
        row = {name: float(values[i]) for name, values in means.items() if name not in ("elbo", "objective")}
        points.append(point(row.pop("beta"), row.pop("rate"), row.pop("distortion"), **row))
    return dataclasses.replace(first, points=tuple(points))


def spread(measured: Measured) -> float | None:
    """Return the largest standard deviation over seeds of the objective at a beta, nats; None for one seed."""
    if len(measured.curves) < 2:
        return None
    values = np.array([curve.values("objective") for curve in measured.curves])
    return float(values.std(axis=0, ddof=1).max())


def compared(ours: Measured, theirs: Measured) -> Comparison:
    """Compare the mean curves of two arms at the second one's betas.

    Args:
        ours: over the range of the other's betas.
        theirs: dedicated models.
    """
    return compare(mean_curve(ours), mean_curve(theirs))


def unit(measured: Measured) -> str:
    """Return the unit of an arm's objective, with a blank before it."""
    return " of squared error" if measured.curve.details.get("likelihood") == "squared_error" else " nats"


def _limit(value: float, measured: Measured) -> str:
    return f"{value:g}{unit(measured)}" if value != 1 else f"1{unit(measured)}".removesuffix("s")


def gap_claim(text: str, paper: str, ours: Measured, theirs: Measured, *, at_most: float = TOLERANCE) -> Claim:
    """Judge that one arm is on or below another in D + beta R, at each of the other's betas.

    Args:
        text: of the claim; the rule is put after it.
        paper: the paper's words.
        ours: the multi-rate model.
        theirs: dedicated models.
        at_most: largest gap at which the claim holds, nats.

    Returns:
        The claim, with the worst and the mean gap.
    """
    comparison = compared(ours, theirs)
    rule = f"worst gap in D + βR at most {_limit(at_most, theirs)}"
    worst, mean = comparison.worst, signed(comparison.mean_gap)
    found = f"worst {signed(worst.gap)}{unit(theirs)} at β = {worst.beta:.3g}, mean {mean}"
    return Claim(f"{text} ({rule})", paper, found + _over_seeds(ours), worst.gap <= at_most)


def agreement_claim(text: str, paper: str, ours: Measured, theirs: Measured, *, at_most: float = TOLERANCE) -> Claim:
    """Judge that one arm is as good as another: the gap is small in size, at each of the other's betas.

    Args:
        text: of the claim; the rule is put after it.
        paper: the paper's words.
        ours: one arm.
        theirs: the other.
        at_most: largest size of a gap at which the claim holds, nats.
    """
    comparison = compared(ours, theirs)
    largest = max(comparison.gaps, key=lambda gap: abs(gap.gap))
    rule = f"D + βR differs by at most {_limit(at_most, theirs)}"
    mean = signed(comparison.mean_gap)
    found = f"largest difference {signed(largest.gap)}{unit(theirs)} at β = {largest.beta:.3g}, mean {mean}"
    return Claim(f"{text} ({rule})", paper, found + _over_seeds(ours), abs(largest.gap) <= at_most)


def share_claim(text: str, paper: str, ours: float | None, theirs: float | None, *, at_most: float) -> Claim:
    """Judge that a cost exceeds another by no more than a share of it.

    Args:
        text: of the claim; the rule is put after it.
        paper: the paper's number.
        ours: cost of the multi-rate model; None if it was not recorded.
        theirs: cost of one dedicated model; None likewise.
        at_most: largest share, such as 0.05.
    """
    rule = f"{text} (at most {at_most:.0%} more)"
    if ours is None or theirs is None:
        return Claim(rule, paper, "not recorded", False)
    more = ours / theirs - 1
    return Claim(
        rule,
        paper,
        f"{ours:,.0f} against {theirs:,.0f}: {more:+.2%}".replace("-", "\N{MINUS SIGN}"),
        ours <= theirs * (1 + at_most),
    )


def costs(measured: Measured, key: str) -> list[float] | None:
    """Return what each model of an arm's first seed cost, in order of beta.

    Args:
        measured: the arm.
        key: ``seconds`` or ``cpu_seconds`` of training, or ``parameters``, those of the gates included.

    Returns:
        One number a model; None if one of them was not recorded.
    """
    details = measured.curve.details
    models = len(measured.curve) if measured.arm.kind == "dedicated" else 1
    value = details.get(key)
    values = value if isinstance(value, list) else [value] * models
    gates = details.get("response_parameters", 0) if key == "parameters" else 0
    found = [float(one + gates) for one in values if isinstance(one, int | float)]
    return found if len(found) == models else None


def total_cost(measured: Measured, key: str) -> float | None:
    """Return what all models of an arm's first seed cost together: see :func:`costs`."""
    found = costs(measured, key)
    return None if found is None else math.fsum(found)


def one_of(total: float | None, models: int) -> float | None:
    """Return the mean cost of one of several models."""
    return None if total is None else total / models


def gap_numbers(results: Results, ours: str, theirs: str) -> dict[str, Any]:
    """Return the comparison of two arms in each panel that has both, as JSON, with the spread over seeds.

    Args:
        results: of a recipe.
        ours: label of the multi-rate arm.
        theirs: label of the dedicated arm.
    """
    numbers: dict[str, Any] = {}
    for panel in results.panels:
        arms = results.of_panel(panel)
        if ours in arms and theirs in arms:
            spreads = {label: value for label in (ours, theirs) if (value := spread(arms[label])) is not None}
            found = compared(arms[ours], arms[theirs]).to_dict()
            numbers[panel] = found | ({"spread_over_seeds": spreads} if spreads else {})
    return numbers


def _over_seeds(measured: Measured) -> str:
    value = spread(measured)
    return "" if value is None else f"; mean of {len(measured.curves)} seeds, which spread by {value:.2f}"
