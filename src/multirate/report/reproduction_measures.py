"""The paper's figures of further measures against beta, of many rate-distortion curves in one panel, and of samples."""

import itertools
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multirate.errors import UsageError
from multirate.report.figures import smoothed
from multirate.report.labels import label_betas
from multirate.report.reproduction import Panel, Series
from multirate.report.style import (
    BASELINE_COLORS,
    BASELINE_MARKERS,
    INK,
    MULTI_RATE_COLORS,
    log_beta_axis,
    new_figure,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of lines: first those of multi-rate models; beside dedicated ones the colours of these stay free as long as they can.
_COLORS = (*MULTI_RATE_COLORS, *reversed(BASELINE_COLORS))
_LINE_MARKERS = ("o", "v", "P", "X", "<", ">")


@dataclass(frozen=True)
class MeasurePanel:
    """One pair of axes: log beta to the right, a measure upward.

    Args:
        title: data and model.
        measure: of every curve, such as ``active_units``.
        label: of the vertical axis.
        series: at least one.
    """

    title: str
    measure: str
    label: str
    series: tuple[Series, ...]


@dataclass(frozen=True)
class SampleGrid:
    """Pictures of one model: a row a beta, a column a prior draw.

    Args:
        title: data and model.
        betas: of the rows.
        images: in [0, 1] (clipped), ``[n_beta, n, 1, H, W]`` or ``[n_beta, n, 3, H, W]``.
    """

    title: str
    betas: tuple[float, ...]
    images: NDArray[Any]


# Letters of a line of a title that fit over a panel.
_TITLE_WIDTH = 38

AnyPanel: TypeAlias = Panel | MeasurePanel


def mixed_panels(panels: Sequence[AnyPanel], *, columns: int = 3) -> "Figure":
    """Draw panels of rate-distortion curves and of measures against beta, each with its own legend.

    That is the form of Fig. 6, 8 and 9 of Bae et al. 2023. Up to six lines of a panel differ in colour and marker;
    dedicated models are markers without a line.

    Args:
        panels: at least one.
        columns: of the grid.

    Returns:
        The figure.

    Raises:
        UsageError: if there is no panel, one without series, or a curve without the panel's measure.
    """
    if not panels:
        raise UsageError("there is no panel to draw; give at least one")
    for panel in panels:
        if not panel.series:
            raise UsageError(f"panel {panel.title!r} has no series; give at least one")
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    with style():
        figure = new_figure(0.4 + 4.1 * columns, 0.3 + 3.5 * rows)
        grid = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
        for axes, panel in zip(grid, panels, strict=False):
            axes.set_title(textwrap.fill(panel.title, _TITLE_WIDTH))
            if isinstance(panel, MeasurePanel):
                _draw_measure(axes, panel)
            else:
                _draw_curves(axes, panel)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
    return figure


def sample_grids(grids: Sequence[SampleGrid]) -> "Figure":
    """Draw grids of samples side by side, rows beta and columns z, as Fig. 7 of Bae et al. 2023.

    Args:
        grids: at least one.

    Returns:
        The figure.

    Raises:
        UsageError: if there is no grid, or one whose images are no pictures or not one row a beta.
    """
    if not grids:
        raise UsageError("there is no grid of samples to draw; give at least one")
    boards = [_board(grid) for grid in grids]
    cell = 0.62
    widths = [cell * grid.images.shape[1] + 0.75 for grid in grids]
    with style():
        figure = new_figure(sum(widths) + 0.1, cell * max(len(grid.betas) for grid in grids) + 0.5)
        for axes, grid, board in zip(
            figure.subplots(1, len(grids), squeeze=False, gridspec_kw={"width_ratios": widths})[0],
            grids,
            boards,
            strict=True,
        ):
            axes.imshow(board, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            height = board.shape[0] / len(grid.betas)
            places = [height * (row + 0.5) for row in range(len(grid.betas))]
            axes.set_yticks(places, [f"β = {beta:.2g}" for beta in grid.betas])
            axes.set_xticks([])
            axes.tick_params(axis="y", length=0, labelcolor=INK)
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
            axes.set_title(grid.title)
            axes.set_xlabel("z: the same prior draw in each column")
    return figure


def _looks(series: Sequence[Series]) -> list[tuple[str, str]]:
    """Return colour and marker of each line and each family of dedicated models."""
    lines, markers = itertools.count(), itertools.count()
    looks = []
    for one in series:
        if one.kind == "multi-rate":
            number = next(lines)
            looks.append((_COLORS[number % len(_COLORS)], _LINE_MARKERS[number % len(_LINE_MARKERS)]))
        else:
            number = next(markers)
            marker = "*" if one.kind == "point" else BASELINE_MARKERS[number % len(BASELINE_MARKERS)]
            looks.append((BASELINE_COLORS[number % len(BASELINE_COLORS)], marker))
    return looks


def _draw_curves(axes: "Axes", panel: Panel) -> None:
    if panel.reference is not None:
        line = smoothed(panel.reference)
        axes.plot(line["rate"], line["distortion"], color=INK, lw=1.1, ls=(0, (4, 2)), label=panel.reference.label)
    for series, (color, marker) in zip(panel.series, _looks(panel.series), strict=True):
        for number, curve in enumerate(series.curves):
            fade = 1.0 if number == 0 else 0.35
            if series.kind == "multi-rate":
                line = smoothed(curve)
                axes.plot(line["rate"], line["distortion"], color=color, lw=1.6, alpha=fade)
            _points(axes, curve.rates, curve.distortions, series, color, marker, number)
            if series.kind == "multi-rate" and number == 0:
                axes.plot([], [], color=color, marker=marker, lw=1.6, ms=4.5, label=series.label)
    axes.set_xlabel(f"rate ({panel.units})")
    axes.set_ylabel(f"distortion ({panel.units})")
    axes.margins(x=0.08, y=0.1)
    axes.legend(loc="upper right")
    # The longest curve: its ends are those of the figure.
    label_betas(axes, max((series.curves[0] for series in panel.series), key=len))


def _draw_measure(axes: "Axes", panel: MeasurePanel) -> None:
    for series, (color, marker) in zip(panel.series, _looks(panel.series), strict=True):
        for number, curve in enumerate(series.curves):
            values = curve.values(panel.measure)
            if series.kind == "multi-rate":
                axes.plot(curve.betas, values, color=color, lw=1.6, alpha=1.0 if number == 0 else 0.35)
            _points(axes, curve.betas, values, series, color, marker, number)
            if series.kind == "multi-rate" and number == 0:
                axes.plot([], [], color=color, marker=marker, lw=1.6, ms=4.5, label=series.label)
    log_beta_axis(axes)
    axes.set_ylabel(panel.label)
    axes.margins(x=0.06, y=0.1)
    drawn = np.concatenate([curve.values(panel.measure) for series in panel.series for curve in series.curves])
    if drawn.min() >= 0:
        axes.set_ylim(0, None if drawn.max() > 0 else 1)
    axes.legend(loc="best")


def _points(
    axes: "Axes",
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    series: Series,
    color: str,
    marker: str,
    number: int,
) -> None:
    """Draw measured points; those of the first seed of dedicated models are the legend's."""
    line = series.kind == "multi-rate"
    axes.plot(
        x,
        y,
        marker,
        ls="",
        color=color,
        ms=4.5 if line else 13 if series.kind == "point" else 6.5,
        mec=color if line else "white",
        mew=0.4 if line else 0.9,
        alpha=1.0 if number == 0 else 0.35,
        zorder=3 if line else 4,
        label="_" if line or number else series.label,
    )


def _board(grid: SampleGrid) -> NDArray[np.float32]:
    """Return all pictures of a grid as one, ``[n_beta (H + gap), n (W + gap)]`` or with 3 channels at the end."""
    images = np.asarray(grid.images)
    if images.ndim != 5 or images.shape[2] not in (1, 3) or len(images) != len(grid.betas):
        raise UsageError(
            f"samples of {grid.title!r} need shape [{len(grid.betas)}, n, 1 or 3, H, W]; got {list(images.shape)}"
        )
    rows, columns, channels, height, width = images.shape
    gap = max(1, width // 16)
    pictures = np.clip(images, 0, 1).transpose(0, 1, 3, 4, 2)
    padded = np.pad(pictures, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), constant_values=1.0)
    board = padded.transpose(0, 2, 1, 3, 4).reshape(rows * (height + gap), columns * (width + gap), channels)
    return np.asarray(board[..., 0] if channels == 1 else board, dtype=np.float32)
