r"""How far one curve is from others: gaps in the objective, Bjontegaard deltas, area between.

Every number is positive where the multi-rate curve is **worse** than the baselines.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from multirate.curve import Curve, FloatArray, pchip
from multirate.errors import DataError, UsageError
from multirate.fairness import MEASURED, differences, incompatible, known_values
from multirate.files import read_json, write_json
from multirate.invariants import checked
from multirate.merging import merge
from multirate.plain import from_plain
from multirate.text import aligned, format_measure, listed

SCHEMA = "multirate.comparison/1"

_FEWEST_POINTS = 3
# Below this rate, in nats per example, a posterior has collapsed: its logarithm is noise.
_COLLAPSED = 1e-2
_GOOD_OVERLAP = 0.75


@dataclass(frozen=True)
class Gap:
    """Both curves at one baseline beta.

    Args:
        beta: of the baseline.
        rate: of the multi-rate curve, nats per example.
        distortion: of the multi-rate curve.
        objective: ``distortion + beta rate`` of the multi-rate curve.
        baseline_rate: of the baseline.
        baseline_distortion: of the baseline.
        baseline_objective: of the baseline.
        gap: objective minus baseline objective; positive where the multi-rate curve is worse.
        interpolated: whether the multi-rate curve had to be interpolated at this beta.
    """

    beta: float
    rate: float
    distortion: float
    objective: float
    baseline_rate: float
    baseline_distortion: float
    baseline_objective: float
    gap: float
    interpolated: bool


@dataclass(frozen=True)
class Comparison:
    """A multi-rate curve against baselines; positive numbers mean that the multi-rate curve is worse.

    Args:
        label: of the multi-rate curve.
        baseline: label of the baselines.
        gaps: one for each baseline beta within the multi-rate curve, in increasing beta.
        bd_rate: percent more rate at equal distortion (Bjontegaard); None if it cannot be computed.
        bd_distortion: nats more distortion at equal rate, averaged over log rate (Bjontegaard); None likewise.
        area: area between the curves over the rates that both reach, in squared nats; None likewise.
        rate_interval: those rates, lowest and highest; None likewise.
        notes: what a reader must know: numbers that are absent and why, settings that differ, warnings of the curves.
    """

    label: str
    baseline: str
    gaps: tuple[Gap, ...]
    bd_rate: float | None = None
    bd_distortion: float | None = None
    area: float | None = None
    rate_interval: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()

    @property
    def worst(self) -> Gap:
        """The largest gap."""
        return max(self.gaps, key=lambda gap: gap.gap)

    @property
    def worst_gap(self) -> float:
        """The largest gap, nats per example."""
        return self.worst.gap

    @property
    def mean_gap(self) -> float:
        """The mean gap over the baseline betas, nats per example."""
        return math.fsum(gap.gap for gap in self.gaps) / len(self.gaps)

    def table(self) -> list[list[str]]:
        """Return the gaps as rows of text, the header first."""
        names = [f.name for f in fields(Gap) if f.name not in ("gap", "interpolated")]
        rows = [[*(format_measure(name, getattr(gap, name)) for name in names), signed(gap.gap)] for gap in self.gaps]
        return [[*(name.replace("_", " ") for name in names), "gap"], *rows]

    def summary(self) -> list[tuple[str, str]]:
        """Return the numbers that sum the comparison up, as pairs of name and text; absent ones are left out."""
        pairs = [
            ("worst gap", f"{signed(self.worst_gap)} nats, at beta {self.worst.beta:.3g}"),
            ("mean gap", f"{signed(self.mean_gap)} nats over {len(self.gaps)} betas"),
        ]
        if self.bd_rate is not None:
            pairs.append(("BD-rate", f"{signed(self.bd_rate)}% rate at equal distortion"))
        if self.bd_distortion is not None:
            pairs.append(("BD-distortion", f"{signed(self.bd_distortion)} nats at equal rate"))
        if self.area is not None and self.rate_interval is not None:
            low, high = self.rate_interval
            pairs.append(("area between", f"{signed(self.area)} nats² over rates {low:.3g} to {high:.3g}"))
        return pairs

    def __str__(self) -> str:
        """Return a line about the comparison, its table, its summary and its notes."""
        about = [f"{name}: {text}" for name, text in self.summary()]
        notes = [f"note: {note}" for note in self.notes]
        head = f"{self.label} against {self.baseline}, nats per example; above 0 the former is worse"
        return "\n".join([head, aligned(self.table()), *about, *notes])

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison for JSON; numbers that could not be computed are absent."""
        present = {key: value for key, value in asdict(self).items() if value is not None}
        gaps = {"worst_gap": self.worst_gap, "worst_beta": self.worst.beta, "mean_gap": self.mean_gap}
        return {"schema": SCHEMA, **gaps, **present}

    def to_json(self) -> str:
        """Return :meth:`to_dict` as indented JSON."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def save(self, path: str | Path) -> Path:
        """Write the comparison as JSON, schema ``multirate.comparison/1``, atomically.

        Raises:
            DataError: if the file cannot be written.
        """
        return write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> "Comparison":
        """Read a comparison that :meth:`save` wrote.

        Raises:
            DataError: if the file is missing or not a comparison.
        """
        content = read_json(path, "make it with `multirate compare`")
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise DataError(f"{path} is not a comparison of schema {SCHEMA!r}; make it with `multirate compare`")
        try:
            found = from_plain(cls, content)
            if not found.gaps:
                raise ValueError("it has no gaps")
        except ValueError as error:
            raise DataError(f"{path} is not complete ({error}); make it anew with `multirate compare`") from error
        return found


def compare(curve: Curve, baselines: Curve | Sequence[Curve]) -> Comparison:
    r"""Measure how far a multi-rate curve is from dedicated models.

    The gap at a baseline's beta is the difference of :math:`D + \beta R`, the very objective that the baseline was
    trained for at that beta. The multi-rate curve is read off exactly where it has that beta, else interpolated.

    Args:
        curve: the multi-rate curve.
        baselines: dedicated models, one curve or several that :func:`multirate.merge` can join.

    Returns:
        The comparison. Bjontegaard deltas and the area are None, with the reason in ``notes``, where the curves have
        too few usable points or do not overlap.

    Raises:
        UsageError: if something else than curves is given, they measure different data, or no baseline beta is within
            the multi-rate curve.
    """
    for given in (curve, *([baselines] if isinstance(baselines, Curve) else baselines)):
        if not isinstance(given, Curve):
            raise UsageError(f"compare takes curves; got a {type(given).__name__}: read it with Curve.load(path)")
    baseline = baselines if isinstance(baselines, Curve) else merge(baselines)
    notes = _check_comparable(curve, baseline)
    notes += [f"{one.label}: {message}" for one in (curve, baseline) for message in checked(one).warnings]
    low, high = curve.points[0]["beta"], curve.points[-1]["beta"]
    gaps: list[Gap] = []
    for known in baseline.points:
        if not low * (1 - 1e-6) <= known["beta"] <= high * (1 + 1e-6):
            notes.append(f"no gap at beta {known['beta']:g}: {curve.label} covers {low:g} to {high:g}")
            continue
        gaps.append(_gap(curve, known))
    if not gaps:
        raise UsageError(
            f"no beta of {baseline.label!r} is within {low:g} to {high:g}, the betas of {curve.label!r}; "
            "evaluate it over a wider range"
        )
    numbers: dict[str, Any] = {}
    absent: dict[str, list[str]] = {}
    for name, measure in (("bd_rate", bd_rate), ("bd_distortion", bd_distortion), ("area", area_between)):
        try:
            numbers[name] = measure(curve, baseline)
        except UsageError as error:
            absent.setdefault(str(error), []).append(_READABLE[name])
    notes += [f"no {listed(names)}: {reason}" for reason, names in absent.items()]
    if "area" in numbers:
        numbers["rate_interval"] = _overlap(_front(curve)[0], _front(baseline)[0], "rate")
    notes += _overlap_notes(curve, baseline) if "bd_rate" in numbers else []
    return Comparison(curve.label, baseline.label, tuple(gaps), **numbers, notes=tuple(notes))


def families(curves: Sequence[Curve]) -> list[Curve]:
    """Join baselines of one point each that share a label; curves of several points are families already.

    Args:
        curves: of sweeps or of single runs.

    Returns:
        One curve a family, in the order in which the families first appear.

    Raises:
        UsageError: as :func:`multirate.merge`.
    """
    groups: dict[tuple[str, int], list[Curve]] = {}
    for index, curve in enumerate(curves):
        groups.setdefault((curve.label, -1 if len(curve) == 1 else index), []).append(curve)
    return [members[0] if len(members) == 1 else merge(members) for members in groups.values()]


_READABLE = {"bd_rate": "BD-rate", "bd_distortion": "BD-distortion", "area": "area between the curves"}


def bd_rate(curve: Curve, baseline: Curve) -> float:
    r"""Bjontegaard delta rate: percent more rate that ``curve`` needs for the same distortion.

    .. math:: 100 \Bigl(10^{\overline{\log_{10} R_\mathrm{curve}(D) - \log_{10} R_\mathrm{baseline}(D)}} - 1\Bigr)

    The mean is over the distortions that both curves reach; log rate is interpolated in distortion by PCHIP. Points
    that are dominated (another has less rate and no more distortion) or whose rate has collapsed below 0.01 nats are
    left out.

    Args:
        curve: the curve to judge.
        baseline: the reference.

    Returns:
        Percent; positive where ``curve`` is worse.

    Raises:
        UsageError: if either has fewer than 3 usable points, or they do not overlap.
    """
    (rate, distortion), (baseline_rate, baseline_distortion) = _front(curve), _front(baseline)
    _overlap(distortion, baseline_distortion, "distortion")
    difference = _mean_difference((-distortion, np.log10(rate)), (-baseline_distortion, np.log10(baseline_rate)))
    return float((10.0**difference - 1) * 100)


def bd_distortion(curve: Curve, baseline: Curve) -> float:
    """Bjontegaard delta distortion: nats more distortion at the same rate, averaged over log rate.

    Args:
        curve: the curve to judge.
        baseline: the reference.

    Returns:
        Nats per example; positive where ``curve`` is worse.

    Raises:
        UsageError: as :func:`bd_rate`.
    """
    (rate, distortion), (baseline_rate, baseline_distortion) = _front(curve), _front(baseline)
    _overlap(rate, baseline_rate, "rate")
    return _mean_difference((np.log10(rate), distortion), (np.log10(baseline_rate), baseline_distortion))


def area_between(curve: Curve, baseline: Curve) -> float:
    r"""Signed area :math:`\int (D_\mathrm{curve}(R) - D_\mathrm{baseline}(R))\,dR` over the rates that both reach.

    Args:
        curve: the curve to judge.
        baseline: the reference.

    Returns:
        Squared nats; positive where ``curve`` is worse. Divided by the width of the interval it is the mean excess
        distortion at equal rate.

    Raises:
        UsageError: as :func:`bd_rate`.
    """
    (rate, distortion), (baseline_rate, baseline_distortion) = _front(curve), _front(baseline)
    low, high = _overlap(rate, baseline_rate, "rate")
    mean = _mean_difference((rate, distortion), (baseline_rate, baseline_distortion))
    return mean * (high - low)


def signed(value: float) -> str:
    """Write a difference with its sign, a true minus, and 2 decimals."""
    text = f"{value:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", "\N{MINUS SIGN}")


def _gap(curve: Curve, known: dict[str, float]) -> Gap:
    ours = curve.at(known["beta"])
    objective = ours["distortion"] + known["beta"] * ours["rate"]
    baseline_objective = known["distortion"] + known["beta"] * known["rate"]
    return Gap(
        beta=known["beta"],
        rate=ours["rate"],
        distortion=ours["distortion"],
        objective=objective,
        baseline_rate=known["rate"],
        baseline_distortion=known["distortion"],
        baseline_objective=baseline_objective,
        gap=objective - baseline_objective,
        interpolated=not bool(np.isclose(curve.betas, known["beta"], rtol=1e-6, atol=0).any()),
    )


def _check_comparable(curve: Curve, baseline: Curve) -> list[str]:
    """Refuse curves of different data; return notes on settings that differ but can be compared."""
    for name in MEASURED:
        ours, theirs = getattr(curve, name), getattr(baseline, name)
        if ours != theirs:
            raise UsageError(
                f"cannot compare {curve.label!r} with {baseline.label!r}: {name} is {ours!r} and {theirs!r}; "
                "evaluate both on the same examples"
            )
    if "likelihood" in incompatible(curve, baseline):
        ours, theirs = (listed(known_values(c, "likelihood")) for c in (curve, baseline))
        raise UsageError(
            f"cannot compare {curve.label!r} with {baseline.label!r}: the likelihoods are {ours} and {theirs}, "
            "whose distortions are on different scales"
        )
    return differences(curve, baseline)


def _front(curve: Curve) -> tuple[FloatArray, FloatArray]:
    """Return rates, increasing, and distortions, decreasing, of the points that no other dominates."""
    kept: list[tuple[float, float]] = []
    for rate, distortion in sorted(zip(curve.rates, curve.distortions, strict=True)):
        if rate >= _COLLAPSED and (not kept or (rate > kept[-1][0] and distortion < kept[-1][1])):
            kept.append((float(rate), float(distortion)))
    if len(kept) < _FEWEST_POINTS:
        raise UsageError(
            f"{curve.label!r} has {len(kept)} usable of {len(curve)} points (rate above {_COLLAPSED:g} nats, "
            f"not dominated by another); at least {_FEWEST_POINTS} are needed"
        )
    rates, distortions = np.array(kept, dtype=np.float64).T
    return rates, distortions


def _overlap(ours: FloatArray, theirs: FloatArray, name: str) -> tuple[float, float]:
    """Return the interval of a measure, in nats, that both curves reach."""
    low, high = float(max(ours.min(), theirs.min())), float(min(ours.max(), theirs.max()))
    if low >= high:
        ranges = " and ".join(f"{values.min():.4g} to {values.max():.4g}" for values in (ours, theirs))
        raise UsageError(f"the curves have no {name} in common: {ranges} nats")
    return low, high


def _mean_difference(ours: tuple[FloatArray, FloatArray], theirs: tuple[FloatArray, FloatArray]) -> float:
    """Return the mean of ours minus theirs, both by PCHIP, over the common interval of their first coordinate."""
    low, high = float(max(ours[0].min(), theirs[0].min())), float(min(ours[0].max(), theirs[0].max()))
    integrals = [float(pchip(x, y).integrate(low, high)) for x, y in (ours, theirs)]
    return (integrals[0] - integrals[1]) / (high - low)


def _overlap_notes(curve: Curve, baseline: Curve) -> list[str]:
    ours, theirs = _front(curve)[1], _front(baseline)[1]
    low, high = _overlap(ours, theirs, "distortion")
    share = (high - low) / float(max(ours.max(), theirs.max()) - min(ours.min(), theirs.min()))
    if share >= _GOOD_OVERLAP:
        return []
    return [
        f"BD numbers cover {share:.0%} of the range of distortion, {low:.4g} to {high:.4g} nats: all that is shared"
    ]
