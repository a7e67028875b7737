"""From measured arms to what the figures draw."""

import dataclasses
import math
from collections.abc import Sequence

from multirate.curve import Curve, point
from multirate.experiments.reproduce.recipe import Results
from multirate.report.reproduction import Panel, Series

SQUARED = "squared error"
BITS = "bits/dim"


def series_of(results: Results, panel: str, labels: Sequence[str] | None = None) -> tuple[Series, ...]:
    """Return the series of a panel, in order.

    Args:
        results: of a recipe.
        panel: its name.
        labels: only these arms; None for all.
    """
    arms = results.of_panel(panel)
    return tuple(
        Series(label, measured.curves, measured.arm.kind)
        for label, measured in arms.items()
        if labels is None or label in labels
    )


def panels_of(results: Results) -> list[Panel]:
    """Return the rate-distortion panels of a recipe, one for each panel of its arms, in the units of its data.

    Args:
        results: of a recipe.
    """
    panels = []
    for name in results.panels:
        series, first = series_of(results, name), next(iter(results.of_panel(name).values())).curve
        likelihood = first.details.get("likelihood")
        if likelihood == "squared_error":
            panels.append(Panel(name, series, units=SQUARED))
        elif likelihood == "discretized_logistic":
            panels.append(Panel(name, tuple(map(_in_bits, series)), units=BITS, rate_units=BITS))
        else:
            panels.append(Panel(name, series))
    return panels


def bits_per_dimension(curve: Curve) -> Curve:
    """Return a curve of images of a named data set in bits per dimension, nats over d log 2.

    Args:
        curve: in nats per example.
    """
    from multirate.data.catalog import DATA_SETS

    factor = 1 / (math.prod(DATA_SETS[curve.data].shape) * math.log(2))
    points = tuple(point(p["beta"], factor * p["rate"], factor * p["distortion"]) for p in curve.points)
    return dataclasses.replace(curve, points=points, units=BITS)


def _in_bits(series: Series) -> Series:
    return dataclasses.replace(series, curves=tuple(map(bits_per_dimension, series.curves)))
