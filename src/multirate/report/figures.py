"""Figures of curves and of pictures. Each returns a matplotlib Figure; :func:`multirate.report.style.save` keeps it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from multirate.comparison import Comparison, signed
from multirate.curve import Curve, FloatArray, pchip
from multirate.errors import DataError, UsageError
from multirate.report.labels import label_betas
from multirate.report.style import (
    BASELINE_COLORS,
    BASELINE_MARKERS,
    INK,
    MULTI_RATE_COLORS,
    MUTED,
    log_beta_axis,
    new_figure,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curves = Curve | Sequence[Curve]

_UNITS = "nats per example"
# Points of the labels beside rows of pictures.
_ROW_LABEL = 9


def rate_distortion(
    curves: Curves, baselines: Curves = (), *, reference: Curve | None = None, title: str | None = None
) -> "Figure":
    """Draw rate-distortion curves: rate to the right, distortion upward, dedicated models as labelled points.

    Args:
        curves: one curve or several, drawn as lines; their points are joined by PCHIP in log beta.
        baselines: dedicated models, one family or several, drawn as points with their beta.
        reference: a bound or an exact optimum, drawn as a dashed line beneath.
        title: by default data, split and number of examples.

    Returns:
        The figure.

    Raises:
        UsageError: if there is no curve.
    """
    curves, baselines = _lines(curves), _listed(baselines)
    with style():
        figure = new_figure(6.6, 4.5)
        axes = figure.add_subplot()
        if reference is not None:
            smooth = smoothed(reference)
            axes.plot(smooth["rate"], smooth["distortion"], color=INK, lw=1.2, ls=(0, (4, 2)), label=reference.label)
        for curve, color in zip(curves, _cycle(MULTI_RATE_COLORS, len(curves)), strict=True):
            smooth = smoothed(curve)
            axes.plot(smooth["rate"], smooth["distortion"], color=color, lw=2.2)
            axes.plot(curve.rates, curve.distortions, "o", color=color, ms=4)
            axes.plot([], [], "o-", color=color, lw=2.2, ms=4, label=curve.label)
        _baseline_points(axes, baselines, "rate", "distortion")
        axes.set_xlabel(f"rate ({_UNITS})")
        axes.set_ylabel(f"distortion ({_UNITS})")
        axes.set_title(title if title is not None else _describe(curves[0]))
        axes.margins(x=0.1, y=0.12)
        axes.legend(loc="upper right")
        label_betas(axes, (baselines or curves)[0])
    return figure


def against_beta(
    curves: Curves, baselines: Curves = (), *, reference: Curve | None = None, title: str | None = None
) -> "Figure":
    """Draw rate, distortion and objective, D + beta R, each against log beta in a panel of its own.

    Args:
        curves: as in :func:`rate_distortion`.
        baselines: as there.
        reference: as there.
        title: of the figure; none by default.

    Returns:
        The figure.

    Raises:
        UsageError: if there is no curve.
    """
    curves, baselines = _lines(curves), _listed(baselines)
    with style():
        figure = new_figure(9.6, 3.3)
        panels = figure.subplots(1, 3)
        for axes, name in zip(panels, ("rate", "distortion", "objective"), strict=True):
            if reference is not None:
                smooth = smoothed(reference)
                axes.plot(smooth["beta"], smooth[name], color=INK, lw=1.2, ls=(0, (4, 2)), label=reference.label)
            for curve, color in zip(curves, _cycle(MULTI_RATE_COLORS, len(curves)), strict=True):
                smooth = smoothed(curve)
                axes.plot(smooth["beta"], smooth[name], color=color, lw=2)
                axes.plot(curve.betas, curve.values(name), "o", color=color, ms=3)
                axes.plot([], [], "o-", color=color, lw=2, ms=3, label=curve.label)
            _baseline_points(axes, baselines, "beta", name)
            log_beta_axis(axes)
            axes.set_title("objective  D + βR" if name == "objective" else name)
            axes.margins(y=0.08)
        panels[0].set_ylabel(_UNITS)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        if title:
            figure.suptitle(title, fontweight="bold", fontsize=10.5, x=0.01, ha="left")
    return figure


def gaps(comparison: Comparison) -> "Figure":
    """Draw the gap in D + beta R at each baseline beta, worse to the right.

    Args:
        comparison: of a multi-rate curve with baselines.

    Returns:
        The figure.

    Raises:
        UsageError: if it has no gaps.
    """
    if not comparison.gaps:
        raise UsageError(
            f"the comparison with {comparison.baseline!r} has no gaps to draw; compare curves that share betas"
        )
    betas = [f"β = {gap.beta:.3g}" for gap in comparison.gaps]
    values = np.array([gap.gap for gap in comparison.gaps])
    rows = np.arange(len(values))
    with style():
        figure = new_figure(6.6, 1.15 + 0.34 * len(values))
        axes = figure.add_subplot()
        colors = [BASELINE_COLORS[0] if value > 0 else MULTI_RATE_COLORS[0] for value in values]
        axes.hlines(rows, 0, values, color=colors, lw=2.4)
        axes.scatter(values, rows, s=46, color=colors, zorder=3)
        axes.axvline(0, color=INK, lw=1)
        for row, value in zip(rows, values, strict=True):
            side = 1 if value >= 0 else -1
            axes.annotate(
                signed(float(value)),
                (value, row),
                xytext=(side * 8, 0),
                textcoords="offset points",
                va="center",
                ha="left" if side > 0 else "right",
            )
        axes.set_yticks(rows, betas)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
        span = max(high - low, 1e-9)
        axes.set_xlim(low - (0.16 if low < 0 else 0.03) * span, high + (0.16 if high > 0 else 0.03) * span)
        axes.margins(y=0.18)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_xlabel(f"gap in D + βR ({_UNITS}); above 0 the multi-rate model is worse")
        axes.set_title(f"{comparison.label} against {comparison.baseline}")
    return figure


def training(history: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw rate, distortion and loss of a training run against its step.

    Args:
        history: lines of ``metrics.jsonl``.

    Returns:
        The figure.

    Raises:
        DataError: if no line has step, loss, rate and distortion.
    """
    names = ("loss", "distortion", "rate")
    lines = [line for line in history if all(isinstance(line.get(n), int | float) for n in ("step", *names))]
    if not lines:
        raise DataError("metrics.jsonl has no line with step, loss, rate and distortion; train for longer")
    with style():
        figure = new_figure(6.6, 3.0)
        axes = figure.add_subplot()
        steps = [line["step"] for line in lines]
        for name, color, dash in zip(
            names, (INK, BASELINE_COLORS[0], MULTI_RATE_COLORS[0]), ("-", "--", ":"), strict=True
        ):
            values = [line[name] for line in lines]
            axes.plot(steps, values, color=color, lw=1.6, ls=dash, label=name, marker="o" if len(lines) == 1 else None)
        axes.set_ylim(bottom=0 if min(line[n] for line in lines for n in names) >= 0 else None)
        axes.set_xlabel("step")
        axes.set_ylabel(_UNITS)
        axes.set_title("training")
        axes.legend(loc="upper right", ncols=3)
    return figure


def image_grid(
    images: NDArray[Any],
    betas: Sequence[float | str],
    *,
    inputs: NDArray[Any] | None = None,
    title: str | None = None,
) -> "Figure":
    """Draw pictures in a grid: a row a beta, a column an input or a prior draw.

    Args:
        images: in [0, 1] (clipped), ``[n_beta, n, H, W]``, ``[n_beta, n, 1, H, W]`` or ``[n_beta, n, 3, H, W]``.
        betas: labels of the rows, ``[n_beta]``: numbers are betas, words stand as they are.
        inputs: what was reconstructed, drawn as a first row, ``[n, ...]`` in the same form.
        title: of the figure.

    Returns:
        The figure.

    Raises:
        UsageError: if the arrays are no pictures, or do not go together.
    """
    images = np.asarray(images)
    rows = [_pictures(row) for row in images] if images.ndim >= 4 else []
    if not rows or len(rows) != len(betas):
        raise UsageError(f"image_grid needs [n_beta, n, C, H, W] and {len(betas)} rows; got shape {list(images.shape)}")
    labels = [beta if isinstance(beta, str) else f"β = {beta:.2g}" for beta in betas]
    if inputs is not None:
        rows, labels = [_pictures(np.asarray(inputs)), *rows], ["input", *labels]
    if len({row.shape for row in rows}) != 1:
        raise UsageError(f"the inputs, {list(rows[0].shape)}, do not match the images, {list(rows[-1].shape)}")
    strips = [_strip(row) for row in rows]
    width = min(0.72 * len(rows[0]), 6.6)
    height = width * strips[0].shape[0] / strips[0].shape[1]
    with style():
        left, top = max(0.95, max(_inches(label) for label in labels) + 0.2), 0.42 if title else 0.05
        size = left + width + 0.05, top + (height + 0.03) * len(rows) + 0.02
        figure = new_figure(*size)
        figure.set_layout_engine("none")
        panels = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
        for index, (axes, strip, label) in enumerate(zip(panels, strips, labels, strict=True)):
            above = top + (height + 0.03) * index
            axes.set_position((left / size[0], 1 - (above + height) / size[1], width / size[0], height / size[1]))
            axes.imshow(strip, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set_axis_off()
            axes.text(
                -0.012,
                0.5,
                label,
                transform=axes.transAxes,
                ha="right",
                va="center",
                fontsize=_ROW_LABEL,
                color=MUTED if label == "input" else INK,
                fontstyle="italic" if label == "input" else "normal",
            )
        if title:
            panels[0].set_title(title, pad=7)
    return figure


def _inches(label: str) -> float:
    """Return how wide a row's label is."""
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), label, size=_ROW_LABEL).get_extents().width) / 72


def _listed(curves: Curves) -> list[Curve]:
    return [curves] if isinstance(curves, Curve) else list(curves)


def _lines(curves: Curves) -> list[Curve]:
    listed = _listed(curves)
    if not listed:
        raise UsageError("there is no curve to draw; give at least one")
    return listed


def _cycle(values: Sequence[str], n: int) -> list[str]:
    return [values[i % len(values)] for i in range(n)]


def _describe(curve: Curve) -> str:
    return f"{curve.data} {curve.split}, {curve.examples:,} examples"


def smoothed(curve: Curve) -> dict[str, FloatArray]:
    """Read a curve at many betas, as :meth:`Curve.at` does."""
    if len(curve) == 1:
        return {name: curve.values(name) for name in ("beta", "rate", "distortion", "objective")}
    log_betas = np.log(curve.betas)
    fine = np.linspace(log_betas[0], log_betas[-1], 400)
    rate, distortion = (pchip(log_betas, curve.values(name))(fine) for name in ("rate", "distortion"))
    betas = np.exp(fine)
    return {"beta": betas, "rate": rate, "distortion": distortion, "objective": distortion + betas * rate}


def _baseline_points(axes: "Axes", baselines: Sequence[Curve], x: str, y: str) -> None:
    colors, markers = _cycle(BASELINE_COLORS, len(baselines)), _cycle(BASELINE_MARKERS, len(baselines))
    for curve, color, marker in zip(baselines, colors, markers, strict=True):
        axes.plot(
            curve.values(x),
            curve.values(y),
            marker,
            color=color,
            ms=6.5,
            mec="white",
            mew=1,
            label=curve.label,
            zorder=4,
        )


def _pictures(row: NDArray[Any]) -> NDArray[np.float32]:
    """Return pictures as ``[n, H, W]`` or ``[n, H, W, 3]`` in [0, 1]."""
    if row.ndim == 4 and row.shape[1] in (1, 3):
        row = row[:, 0] if row.shape[1] == 1 else row.transpose(0, 2, 3, 1)
    elif row.ndim != 3:
        raise UsageError(f"pictures are [n, H, W], [n, 1, H, W] or [n, 3, H, W]; got {list(row.shape)}")
    return np.asarray(np.clip(row, 0, 1), dtype=np.float32)


def _strip(row: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put pictures side by side with white gaps between."""
    gap = max(1, row.shape[2] // 14)
    white = np.ones((row.shape[1], gap, *row.shape[3:]), np.float32)
    pieces = [piece for picture in row for piece in (white, picture)][1:]
    return np.concatenate(pieces, axis=1)
