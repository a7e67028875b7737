"""Figures of single latents along a curve: their rates, and their importance in the implicit isometric space."""

from typing import TYPE_CHECKING

import numpy as np

from multirate.collapse import THRESHOLD, of_latents
from multirate.curve import Curve, FloatArray
from multirate.errors import UsageError
from multirate.report.style import INK, log_beta_axis, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of a latent whose rate is below the threshold.
DEAD = "#e4e7eb"
# Of the range of importance, what is drawn below its largest value.
_DECADES = 1e5


def latent_rates(curve: Curve, threshold: float = THRESHOLD) -> "Figure":
    """Draw the rate of each latent against log beta as a map, a row a latent, the one of most rate on top.

    Args:
        curve: whose details have ``latent_rates``, a list for each point.
        threshold: latents of a lower rate, in nats, are drawn grey: they are dead.

    Returns:
        The figure.

    Raises:
        UsageError: if the curve has no rates of latents.
        DataError: if they are not a row a point.
    """
    rates = _rows(curve, "latent_rates", "its model's rate does not split into latents")
    largest = max(float(rates.max()), 2 * threshold)
    alive = (rates > threshold).sum(1)
    title = f"rate of each of {rates.shape[1]} latents (grey: below {threshold:g} nats)"
    figure = _map(curve, rates, (threshold, largest), "rate (nats per example)", title)
    with style():
        axes = figure.axes[0]
        axes.step(*_steps(curve.betas, alive), where="post", color=INK, lw=1.2, label="latents alive")
        axes.legend(loc="lower right", facecolor="white", framealpha=0.85, frameon=True, edgecolor="none")
    return figure


def isometric_importance(curve: Curve) -> "Figure":
    """Draw the importance of each latent in the implicit isometric space against log beta, as a map.

    Args:
        curve: whose details have ``isometric_importance``, a list for each point.

    Returns:
        The figure; as of the eigenvalues of a PCA, the most important latent is on top.

    Raises:
        UsageError: if the curve has no importance of latents.
        DataError: if it is not a row a point.
    """
    values = _rows(curve, "isometric_importance", "evaluate with --measures isometric_importance")
    largest = max(float(values.max()), 1e-30)
    lowest = min(max(float(values[values > 0].min(initial=largest)), largest / _DECADES), largest / 2)
    title = f"importance of each of {values.shape[1]} latents"
    return _map(curve, values, (lowest, largest), "variance in the isometric space", title)


def _rows(curve: Curve, name: str, reason: str) -> FloatArray:
    found = of_latents(curve, name)
    if found is None or found.shape[1] == 0:
        raise UsageError(f"curve {curve.label!r} has no {name.replace('_', ' ')}: {reason}")
    return found


def _map(curve: Curve, values: FloatArray, limits: tuple[float, float], unit: str, title: str) -> "Figure":
    """Draw ``[N, Z]`` values on a logarithmic scale of colours, latents sorted by their sum over the betas."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import MaxNLocator

    order = np.argsort(-values.sum(0), kind="stable")
    latents = values.shape[1]
    with style():
        figure = new_figure(6.6, float(np.clip(1.5 + 0.06 * latents, 2.6, 6.5)))
        axes = figure.add_subplot()
        colors = colormaps["viridis"].with_extremes(under=DEAD, bad=DEAD)
        mesh = axes.pcolormesh(
            _edges(curve.betas),
            np.arange(latents + 1),
            values[:, order].T,
            cmap=colors,
            norm=LogNorm(*limits),
            rasterized=True,
        )
        log_beta_axis(axes)
        axes.grid(visible=False)
        axes.set_ylim(latents, 0)
        axes.yaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_ylabel("latents, in order")
        axes.set_title(title)
        bar = figure.colorbar(mesh, ax=axes, extend="min" if values.min() < limits[0] else "neither", pad=0.02)
        bar.set_label(unit)
        bar.outline.set_visible(False)
    return figure


def _edges(betas: FloatArray) -> FloatArray:
    """Return the borders of the columns of N betas, ``[N + 1]``: halfway in log beta."""
    if len(betas) == 1:
        return np.asarray(betas[0] * np.array([0.9, 1.1]))
    log_betas = np.log(betas)
    middle = (log_betas[1:] + log_betas[:-1]) / 2
    ends = [2 * log_betas[0] - middle[0]], [2 * log_betas[-1] - middle[-1]]
    return np.asarray(np.exp(np.concatenate([ends[0], middle, ends[1]])))


def _steps(betas: FloatArray, alive: FloatArray) -> tuple[FloatArray, FloatArray]:
    return _edges(betas), np.append(alive, alive[-1])
