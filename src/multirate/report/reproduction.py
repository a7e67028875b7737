"""The paper's figures in their form: panels of rate-distortion curves, bars of what they cost, tables as figures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from multirate.curve import Curve
from multirate.errors import UsageError
from multirate.report.figures import smoothed
from multirate.report.labels import label_betas
from multirate.report.style import (
    BASELINE_COLORS,
    BASELINE_MARKERS,
    INK,
    MULTI_RATE_COLORS,
    MUTED,
    RULE,
    new_figure,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NATS = "nats per example"


@dataclass(frozen=True)
class Series:
    """One arm of a panel.

    Args:
        label: in the legend.
        curves: one a seed; the first is drawn, the others lighter.
        kind: a line with a point a measured beta, markers alone, or one star.
    """

    label: str
    curves: tuple[Curve, ...]
    kind: Literal["multi-rate", "dedicated", "point"] = "multi-rate"


@dataclass(frozen=True)
class Panel:
    """One pair of axes: rate to the right, distortion upward.

    Args:
        title: data and model.
        series: at least one.
        reference: a bound or an exact optimum, drawn as a dashed line beneath.
        units: of the distortion.
        rate_units: of the rate.
    """

    title: str
    series: tuple[Series, ...]
    reference: Curve | None = None
    units: str = _NATS
    rate_units: str = _NATS


@dataclass(frozen=True)
class Bars:
    """One group of bars: what each arm costs.

    Args:
        title: with the unit.
        labels: of the bars, upper first.
        values: their lengths.
        texts: written at their ends.
    """

    title: str
    labels: tuple[str, ...]
    values: tuple[float, ...]
    texts: tuple[str, ...]


def rate_distortion_panels(panels: Sequence[Panel], *, columns: int = 2, title: str | None = None) -> "Figure":
    """Draw one rate-distortion panel each, as in Fig. 4 and 5 of Bae et al. 2023.

    Args:
        panels: at least one.
        columns: of the grid.
        title: of the figure.

    Returns:
        The figure.

    Raises:
        UsageError: if there is no panel, or one without series.
    """
    _check(panels)
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    with style():
        # One panel alone is larger.
        figure = new_figure(6.6, 4.9) if len(panels) == 1 else new_figure(0.4 + 4.4 * columns, 0.5 + 3.5 * rows)
        grid = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
        for axes, panel in zip(grid, panels, strict=False):
            _draw(axes, panel)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        _finish(figure, grid, panels, title)
    return figure


def cost_and_curves(bars: Sequence[Bars], panels: Sequence[Panel], *, title: str | None = None) -> "Figure":
    """Draw bars of what training costs beside a rate-distortion panel, as Fig. 1 of Bae et al. 2023, others below.

    Args:
        bars: one below the other; none leaves the panels alone.
        panels: at least one.
        title: of the figure.

    Returns:
        The figure.

    Raises:
        UsageError: if there is no panel, or one without series.
    """
    _check(panels)
    if not bars:
        return rate_distortion_panels(panels, title=title)
    rows = math.ceil((1 + len(panels)) / 2)
    with style():
        figure = new_figure(9.2, 0.5 + 3.5 * rows)
        grid = figure.add_gridspec(rows, 2)
        left = grid[0, 0].subgridspec(len(bars), 1)
        for row, group in enumerate(bars):
            _draw_bars(figure.add_subplot(left[row, 0]), group)
        axes = [figure.add_subplot(grid[divmod(1 + number, 2)]) for number in range(len(panels))]
        for one, panel in zip(axes, panels, strict=True):
            _draw(one, panel)
        _finish(figure, axes, panels, title)
    return figure


def table_figure(rows: Sequence[Sequence[str]], *, title: str | None = None, strong: Sequence[int] = ()) -> "Figure":
    """Draw rows of text as a figure: a table of the paper.

    Args:
        rows: the header first; all of one length. The first column is set to the left, all others to the right.
        title: above it.
        strong: numbers of rows, from 1 below the header, in bold.

    Returns:
        The figure.

    Raises:
        UsageError: if there is no row below the header, or their lengths differ.
    """
    if len(rows) < 2 or len({len(row) for row in rows}) != 1:
        raise UsageError("a table needs a header and rows of its length")
    # About what a letter takes, in inches, at this size of type.
    widths = [0.078 * max(len(row[column]) for row in rows) + 0.28 for column in range(len(rows[0]))]
    height = 0.27
    with style():
        figure = new_figure(sum(widths) + 0.2, height * len(rows) + (0.55 if title else 0.2))
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.set_xlim(0, sum(widths))
        axes.set_ylim(len(rows), 0)
        for number, row in enumerate(rows):
            weight = "bold" if number == 0 or number in strong else "normal"
            for column, text in enumerate(row):
                left = sum(widths[:column])
                place = left + 0.08 if column == 0 else left + widths[column] - 0.08
                side = "left" if column == 0 else "right"
                axes.text(place, number + 0.5, text, ha=side, va="center", fontsize=9, fontweight=weight, color=INK)
            axes.axhline(number + 1, color=INK if number == 0 else RULE, lw=0.8)
        if title:
            axes.set_title(title)
    return figure


def _check(panels: Sequence[Panel]) -> None:
    if not panels:
        raise UsageError("there is no panel to draw; give at least one")
    for panel in panels:
        if not panel.series:
            raise UsageError(f"panel {panel.title!r} has no series; give at least one")


def _looks(panels: Sequence[Panel]) -> dict[str, tuple[str, str]]:
    """Return colour and marker of each label, the same in all panels; those of multi-rate models are blue and green."""
    looks: dict[str, tuple[str, str]] = {}
    used = {"lines": 0, "markers": 0}
    for series in (series for panel in panels for series in panel.series):
        if series.label in looks:
            continue
        group = "lines" if series.kind == "multi-rate" else "markers"
        number, colors = used[group], MULTI_RATE_COLORS if group == "lines" else BASELINE_COLORS
        if series.kind == "point":
            looks[series.label] = (INK, "*")
            continue
        used[group] += 1
        marker = BASELINE_MARKERS[number % len(BASELINE_MARKERS)]
        looks[series.label] = (colors[number % len(colors)], "o" if group == "lines" else marker)
    return looks


def _draw(axes: "Axes", panel: Panel) -> None:
    axes.set_title(panel.title)
    axes.set_xlabel(f"rate ({panel.rate_units})")
    axes.set_ylabel(f"distortion ({panel.units})")
    axes.margins(x=0.08, y=0.1)


def _draw_series(axes: "Axes", panel: Panel, looks: dict[str, tuple[str, str]]) -> None:
    if panel.reference is not None:
        line = smoothed(panel.reference)
        axes.plot(line["rate"], line["distortion"], color=INK, lw=1.1, ls=(0, (4, 2)), label=panel.reference.label)
    for series in panel.series:
        color, marker = looks[series.label]
        for number, curve in enumerate(series.curves):
            fade: dict[str, Any] = {"alpha": 1.0 if number == 0 else 0.35, "color": color}
            label = series.label if number == 0 else "_"
            if series.kind == "multi-rate":
                line = smoothed(curve)
                axes.plot(line["rate"], line["distortion"], lw=1.9, **fade)
                axes.plot(curve.rates, curve.distortions, "o", ms=4, **fade)
                axes.plot([], [], "o-", lw=1.9, ms=4, label=label, **fade)
                continue
            size = 13 if series.kind == "point" else 6.5
            axes.plot(
                curve.rates,
                curve.distortions,
                marker,
                ls="",
                ms=size,
                mec="white",
                mew=0.9,
                zorder=4,
                label=label,
                **fade,
            )


def _finish(figure: "Figure", axes: Sequence["Axes"], panels: Sequence[Panel], title: str | None) -> None:
    """Draw the series with one look a label, one legend for all, and betas beside points."""
    looks = _looks(panels)
    columns = 2 if len(panels) == 1 else 4
    entries: dict[str, Any] = {}
    for one, panel in zip(axes, panels, strict=False):
        _draw_series(one, panel, looks)
        handles, labels = one.get_legend_handles_labels()
        entries |= {label: handle for label, handle in zip(labels, handles, strict=True) if label not in entries}
    figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=min(columns, len(entries)))
    if title:
        figure.suptitle(title, fontweight="bold", fontsize=11, x=0.01, ha="left")
    for one, panel in zip(axes, panels, strict=False):
        dedicated = [series for series in panel.series if series.kind == "dedicated"]
        label_betas(one, (dedicated or list(panel.series))[0].curves[0])


def _draw_bars(axes: "Axes", bars: Bars) -> None:
    places = range(len(bars.values))
    colors = [MULTI_RATE_COLORS[0], *[BASELINE_COLORS[0]] * (len(bars.values) - 1)]
    axes.barh(places, bars.values, color=colors, height=0.62)
    for place, value, text in zip(places, bars.values, bars.texts, strict=True):
        axes.annotate(
            text, (value, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8.5, color=MUTED
        )
    axes.set_yticks(list(places), list(bars.labels))
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_xticks([])
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.set_xlim(0, max(bars.values) * 1.45)
    axes.set_title(bars.title)
