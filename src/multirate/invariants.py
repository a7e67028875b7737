"""What holds of every right curve, and what is said of one where it does not: warnings, never errors.

At its own beta a model minimises D + beta R. From that alone follows that the rate falls and the distortion grows with
beta, and that at the weight beta no other point has a lower D + beta R. A curve that breaks this beyond its noise is of
a model that is undertrained, overfitted, or wrong.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from multirate.curve import Curve, FloatArray

# So many standard errors of a difference are noise: with 20 betas some hundred differences are looked at.
STANDARD_ERRORS = 4.0
# And so much of the range of the rate, or of the distortion: what one network for all betas gives up.
FLOOR = 0.01
# And so much of the largest rate and distortion together, which is rounding.
_ROUNDING = 1e-5
# Nats below 0 that are rounding of a rate computed as a difference of logarithms.
_ROUNDED_TO_ZERO = 1e-3
_ORDERED = "beta-vae"
_REMEDY = "train for longer, and if that does not help look for overfitting, or for a gate that works the wrong way"
# What only an evaluation can see; the rest is found anew wherever a curve is read.
NOISE = "noise"

_log = logging.getLogger("multirate")


@dataclass(frozen=True)
class Finding:
    """One thing that does not hold of a curve.

    Args:
        check: ``rate_order``, ``distortion_order``, ``objective_order``, ``negative_rate``, ``training_data`` or
            ``noise``.
        message: one line that names the numbers and the remedy.
    """

    check: str
    message: str


@dataclass(frozen=True)
class Noise:
    """Standard errors of differences between the points of a curve, in nats per example.

    Args:
        rates: of each point's rate, ``[N]``.
        rate: of the difference of two points' rates, ``[N, N]``.
        distortion: of the difference of two points' distortions, ``[N, N]``.
        objective: of the difference of two points' D + beta R at the beta of the row's point, ``[N, N]``.
    """

    rates: FloatArray
    rate: FloatArray
    distortion: FloatArray
    objective: FloatArray


def paired_noise(rate: FloatArray, distortion: FloatArray, betas: FloatArray) -> Noise:
    """Return the noise of points that were measured on the same examples with the same draws.

    Args:
        rate: deviations whose inner products are the covariances of the points' mean rates, ``[N, K]``.
        distortion: likewise, of the distortions.
        betas: of the points, ``[N]``.
    """
    of_rate, of_distortion, cross = rate @ rate.T, distortion @ distortion.T, distortion @ rate.T
    own = cross.diagonal()
    both = own[:, None] + own[None] - cross - cross.T
    rates, distortions = _of_differences(of_rate), _of_differences(of_distortion)
    weight = betas[:, None]
    objective = distortions + weight**2 * rates + 2 * weight * both
    roots = (np.sqrt(np.maximum(variance, 0)) for variance in (of_rate.diagonal(), rates, distortions, objective))
    return Noise(*roots)


def unpaired_noise(errors: FloatArray, betas: FloatArray) -> Noise:
    """Return a bound of the noise of points that were measured apart, or of which no more is known.

    Args:
        errors: standard errors of rate and distortion, ``[N, 2]``.
        betas: of the points, ``[N]``.
    """
    rate, distortion = (np.hypot(column[:, None], column[None]) for column in errors.T)
    return Noise(errors[:, 0], rate, distortion, distortion + betas[:, None] * rate)


def findings(curve: Curve, noise: Noise | None = None) -> list[Finding]:
    """Return what does not hold of a curve.

    The order of the points is looked at where beta weighs the rate and nothing else: not of a model that was trained
    for another objective than D + beta R (``details["objective"]``).

    Args:
        curve: of any origin.
        noise: of its points; by default what its standard errors bound, or without any none at all: then only
            :data:`FLOOR` of the range counts as noise.

    Returns:
        At most one finding a check, about the worst case of each.
    """
    noise = _known_noise(curve) if noise is None else noise
    found = [_negative_rate(curve, noise), _training_data(curve)]
    if curve.details.get("objective", _ORDERED) == _ORDERED and len(curve) > 1:
        distortions = curve.distortions + _extra(curve)
        found += [
            _order(curve, "rate", curve.rates, noise.rate, falls=True),
            _order(curve, "distortion", distortions, noise.distortion, falls=False),
            _objective_order(curve, distortions, noise.objective),
        ]
    return [finding for finding in found if finding is not None]


def checked(curve: Curve, noise: Noise | None = None, seen: Sequence[Finding] = ()) -> Curve:
    """Return a curve whose ``details["warnings"]`` has every finding; what is there already stays as it is.

    Args:
        curve: of any origin.
        noise: as in :func:`findings`.
        seen: what else was found.
    """
    found: dict[str, Finding] = {}
    for finding in (*kept_findings(curve), *findings(curve, noise), *seen):
        found.setdefault(finding.check, finding)
    return replace(curve, details=curve.details | {"warnings": [asdict(finding) for finding in found.values()]})


def kept_findings(curve: Curve) -> list[Finding]:
    """Return the findings that a curve has in its details."""
    entries = curve.details.get("warnings")
    return [
        Finding(str(entry["check"]), str(entry["message"]))
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict) and {"check", "message"} <= set(entry)
    ]


def log_warnings(curve: Curve, known: Sequence[str] = ()) -> None:
    """Log a curve's warnings, a line each, by the logger ``multirate``.

    Args:
        curve: that was checked.
        known: messages that were logged already.
    """
    for message in curve.warnings:
        if message not in known:
            _log.warning("%s: %s", curve.label, message)


def _of_differences(covariance: FloatArray) -> FloatArray:
    own = covariance.diagonal()
    return own[:, None] + own[None] - 2 * covariance


def _known_noise(curve: Curve) -> Noise:
    errors = _rows(curve, "standard_errors", 2)
    return unpaired_noise(np.zeros((len(curve), 2)) if errors is None else errors, curve.betas)


def _extra(curve: Curve) -> FloatArray:
    """Return what the model adds to each objective beside rate and distortion, ``[N]``."""
    rows = _rows(curve, "extra", 1)
    return np.zeros(len(curve)) if rows is None else rows[:, 0]


def _rows(curve: Curve, name: str, columns: int) -> FloatArray | None:
    """Return an entry of the details that has a row of numbers a point, ``[N, columns]``, or None."""
    entry: Any = curve.details.get(name)
    if not isinstance(entry, list) or len(entry) != len(curve):
        return None
    right = all(isinstance(row, list) and len(row) == columns for row in entry)
    if not right or not all(isinstance(value, int | float) for value in chain.from_iterable(entry)):
        return None
    rows = np.array(entry, dtype=np.float64)
    return rows if np.isfinite(rows).all() else None


def _order(curve: Curve, name: str, values: FloatArray, noise: FloatArray, *, falls: bool) -> Finding | None:
    """Look for two points in the wrong order: the one of the smaller beta has less rate, or more distortion."""
    signed = -values if falls else values
    wrong = np.triu(signed[:, None] - signed[None], 1)
    room = STANDARD_ERRORS * noise + _floor(curve, values)
    first, second = _worst(wrong, room)
    if wrong[first, second] <= room[first, second]:
        return None
    low, high = curve.betas[first], curve.betas[second]
    return Finding(
        f"{name}_order",
        f"the {name} {'rises' if falls else 'falls'} as beta grows, from {values[first]:.6g} at beta {low:.3g} to "
        f"{values[second]:.6g} at beta {high:.3g}, by {wrong[first, second]:.3g} nats where "
        f"{room[first, second]:.2g} would be noise: {_REMEDY}",
    )


def _objective_order(curve: Curve, distortions: FloatArray, noise: FloatArray) -> Finding | None:
    """Look for points that another one beats at their own beta."""
    objectives = distortions[None] + curve.betas[:, None] * curve.rates[None]
    excess = objectives.diagonal()[:, None] - objectives
    room = STANDARD_ERRORS * noise + _floor(curve, distortions)
    own, other = _worst(excess, room)
    if excess[own, other] <= room[own, other]:
        return None
    beaten = int((excess > room).any(1).sum())
    return Finding(
        "objective_order",
        f"at the weight {curve.betas[own]:.3g} the point of beta {curve.betas[other]:.3g} has a lower D + beta R than "
        f"the one of beta {curve.betas[own]:.3g} itself, by {excess[own, other]:.3g} nats where "
        f"{room[own, other]:.2g} would be noise; {beaten} of {len(curve)} points are beaten so: {_REMEDY}",
    )


def _floor(curve: Curve, values: FloatArray) -> float:
    rounding = _ROUNDING * (np.abs(curve.rates).max() + np.abs(curve.distortions).max())
    return float(FLOOR * (values.max() - values.min()) + rounding)


def _worst(excess: FloatArray, room: FloatArray) -> tuple[int, int]:
    row, column = np.unravel_index(int((excess - room).argmax()), excess.shape)
    return int(row), int(column)


def _negative_rate(curve: Curve, noise: Noise) -> Finding | None:
    """Look for a rate below 0; what is no divergence, such as the second of two losses, may be."""
    if "rate" in curve.details:
        return None
    below = -curve.rates - STANDARD_ERRORS * noise.rates
    point = int(below.argmax())
    if below[point] <= _ROUNDED_TO_ZERO:
        return None
    return Finding(
        "negative_rate",
        f"the rate is {curve.rates[point]:.6g} nats at beta {curve.betas[point]:.3g}, and a divergence from the prior "
        "is never below 0: mend the rate that terms(x) returns",
    )


def _training_data(curve: Curve) -> Finding | None:
    measured = f"{curve.data} {curve.split}"
    if curve.split != "train" and curve.details.get("training_data") != measured:
        return None
    return Finding(
        "training_data",
        f"measured on the data that the model was trained on, {measured}: new data have a higher distortion; "
        "evaluate on the test split to know it",
    )
