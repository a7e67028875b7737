"""Where the labels of a rate-distortion figure go: beside the points, on no line, no point and no other label."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from multirate.curve import Curve
from multirate.report.style import MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box = tuple[float, float, float, float]

MOST_LABELS = 6

# Distances from a point, in points of 1/72 inch, and turns from the normal, in degrees: the first free place is taken.
_DISTANCES = (7.0, 11.0, 16.0, 22.0)
_TURNS = (0, 20, -20, 40, -40, 60, -60, 80, -80, 180, 160, -160, 140, -140, 120, -120, 100, -100)
_CLEARANCE = 2.0


def label_betas(axes: "Axes", curve: Curve) -> None:
    """Write beta beside up to six points of a curve, once everything else is drawn in the axes.

    A label goes along the normal of the curve to its lower left, the side that a convex falling curve leaves free, or
    else to the nearest free place.

    Args:
        axes: with its lines, points, limits and legend.
        curve: whose points are labelled.
    """
    from matplotlib.patheffects import withStroke

    figure: Any = axes.figure
    figure.draw_without_rendering()
    places = axes.transData.transform(np.column_stack([curve.rates, curve.distortions]))
    unit = figure.dpi / 72
    drawn, legend = _drawn(axes), axes.get_legend()
    frame, taken = _box(axes.get_window_extent()), [] if legend is None else [_box(legend.get_window_extent())]
    for index in np.unique(np.linspace(0, len(curve) - 1, min(len(curve), MOST_LABELS)).round().astype(int)):
        label = axes.annotate(
            f"β = {curve.points[index]['beta']:.2g}",
            (curve.points[index]["rate"], curve.points[index]["distortion"]),
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8.5,
            color=MUTED,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            zorder=5,
        )
        size = _box(label.get_window_extent())
        half = (size[2] - size[0]) / 2, (size[3] - size[1]) / 2
        x, y, box = _place(places, int(index), half, unit, drawn, frame, taken)
        label.set_position((x / unit, y / unit))
        taken.append(box)


def _place(
    places: NDArray[np.float64],
    index: int,
    half: tuple[float, float],
    unit: float,
    drawn: NDArray[np.float64],
    frame: Box,
    taken: list[Box],
) -> tuple[float, float, Box]:
    """Return the offset of a label's centre from its point, and its box, all in pixels."""
    normal = _normal(places, index)
    best: tuple[float, float, float, Box] | None = None
    for distance in _DISTANCES:
        for turn in _TURNS:
            angle = normal + math.radians(turn)
            across, up = math.cos(angle), math.sin(angle)
            # From the point to the centre of the box, so that its edge is at the distance.
            reach = distance * unit + min(half[0] / max(abs(across), 1e-9), half[1] / max(abs(up), 1e-9))
            x, y = reach * across, reach * up
            centre = places[index][0] + x, places[index][1] + y
            box = centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1]
            cost = _cost(box, drawn, frame, taken, _CLEARANCE * unit)
            if best is None or cost < best[0]:
                best = cost, x, y, box
            if cost == 0:
                return x, y, box
    assert best is not None
    return best[1:]


def _normal(places: NDArray[np.float64], index: int) -> float:
    """Return the angle of the normal to the lower left, by the neighbours of a point."""
    before, after = places[max(index - 1, 0)], places[min(index + 1, len(places) - 1)]
    right, up = np.abs(after - before)
    return math.atan2(-right, -up) if right or up else math.radians(-135)


def _cost(box: Box, drawn: NDArray[np.float64], frame: Box, taken: list[Box], clearance: float) -> float:
    """Count what a box would cover: nothing outside the frame, no other label, as little ink as can be."""
    left, bottom, right, top = (
        box[0] - clearance,
        box[1] - clearance,
        box[2] + clearance,
        box[3] + clearance,
    )
    covered = (drawn[:, 0] > left) & (drawn[:, 0] < right) & (drawn[:, 1] > bottom) & (drawn[:, 1] < top)
    cost = float(covered.sum())
    if left < frame[0] or bottom < frame[1] or right > frame[2] or top > frame[3]:
        cost += 1e4
    return cost + 1e5 * sum(left < o[2] and right > o[0] and bottom < o[3] and top > o[1] for o in taken)


def _drawn(axes: "Axes") -> NDArray[np.float64]:
    """Return points, in pixels, along every line and around every marker of the axes."""
    pieces = [np.zeros((0, 2))]
    for line in axes.get_lines():
        data = np.asarray(line.get_xydata(), dtype=np.float64)
        if not len(data):
            continue
        points = axes.transData.transform(data)
        if line.get_linestyle() not in ("None", "", " ") and len(points) > 1:
            steps = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
            along = np.linspace(0, steps[-1], max(2, int(steps[-1] / 2)))
            pieces.append(np.column_stack([np.interp(along, steps, points[:, i]) for i in (0, 1)]))
        radius = line.get_markersize() / 2 * axes.figure.dpi / 72
        pieces += [points + radius * np.array([math.cos(a), math.sin(a)]) for a in np.arange(8) * math.pi / 4]
    return np.concatenate(pieces)


def _box(extent: Any) -> Box:
    return float(extent.x0), float(extent.y0), float(extent.x1), float(extent.y1)
