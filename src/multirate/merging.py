"""Joining curves of one family, such as beta-VAEs trained at one beta each, into one."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from multirate.curve import SAME_BETA, Curve, Point
from multirate.errors import UsageError
from multirate.invariants import checked, kept_findings


def merge(curves: Sequence[Curve], label: str | None = None) -> Curve:
    """Join curves of one family, for instance beta-VAEs trained at one beta each, into one.

    Entries of ``details`` that agree are kept; those that differ become lists, one value a curve, in order of beta.
    What has a row a point, such as ``group_rates`` and ``latent_rates``, is joined in the order of the points, if every
    curve has it. The joined curve is checked as a whole, beside the warnings that its parts have.

    Args:
        curves: at least one; they agree in model, data, split, examples, seed, samples and units.
        label: of the result; by default the first curve's.

    Returns:
        One curve with all points, in increasing beta.

    Raises:
        UsageError: if there is none, they measure different things, or two have a point at the same beta.
    """
    if not curves:
        raise UsageError("there are no curves to merge; give at least one")
    ordered = sorted(curves, key=lambda curve: curve.points[0]["beta"])
    first = ordered[0]
    for name in ("model", "data", "split", "examples", "seed", "samples", "units"):
        found = list(dict.fromkeys(getattr(curve, name) for curve in ordered))
        if len(found) > 1:
            raise UsageError(f"cannot merge curves that differ in {name}: {', '.join(map(repr, found))}")
    points = sorted((p for curve in ordered for p in curve.points), key=lambda p: p["beta"])
    for before, after in pairwise(points):
        if math.isclose(before["beta"], after["beta"], rel_tol=SAME_BETA):
            raise UsageError(f"two of the curves to merge have a point at beta {after['beta']:g}; give each beta once")
    merged = Curve(
        label=curves[0].label if label is None else label,
        model=first.model,
        data=first.data,
        split=first.split,
        examples=first.examples,
        points=tuple(points),
        seed=first.seed,
        samples=first.samples,
        units=first.units,
        details=_details(ordered, points),
    )
    return checked(merged, seen=[finding for curve in ordered for finding in kept_findings(curve)])


def _details(ordered: Sequence[Curve], points: Sequence[Point]) -> dict[str, Any]:
    details: dict[str, Any] = {}
    for key in dict.fromkeys(key for curve in ordered for key in curve.details if key != "warnings"):
        entries = [curve.details.get(key) for curve in ordered]
        if any(_is_by_point(curve, key) for curve in ordered):
            if all(_is_by_point(curve, key) for curve in ordered):
                pairs = [zip(curve.points, curve.details[key], strict=True) for curve in ordered]
                rows = {p["beta"]: row for pair in pairs for p, row in pair}
                details[key] = [rows[p["beta"]] for p in points]
        else:
            details[key] = entries[0] if all(entry == entries[0] for entry in entries) else entries
    return details


def _is_by_point(curve: Curve, key: str) -> bool:
    """Return whether an entry of the details has a row of numbers for each point."""
    entry = curve.details.get(key)
    return isinstance(entry, list) and len(entry) == len(curve) and all(isinstance(row, list) for row in entry)
