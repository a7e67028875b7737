"""Figures of what a curve holds beside rate and distortion: further measures, and the rates of groups of latents."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from multirate.curve import Curve
from multirate.errors import UsageError
from multirate.report.style import INK, MULTI_RATE_COLORS, log_beta_axis, new_figure, style
from multirate.text import spoken

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What each point of a curve has anyway, or says in other words.
_SHOWN_ELSEWHERE = ("beta", "rate", "distortion", "elbo", "objective", "nll")
_COLUMNS = 3
_TITLES = {
    "active_units": "active units",
    "perplexity": "perplexity (from D + R)",
    "rate_bits_per_dim": "rate, bits/dim",
    "distortion_bits_per_dim": "distortion, bits/dim",
    "mutual_information": "mutual information (nats)",
    "total_correlation": "total correlation (nats)",
    "dimension_wise_kl": "dimension-wise KL (nats)",
    "marginal_kl": "marginal KL (nats)",
    "log_likelihood": "log-likelihood (importance-weighted)",
    "dci_disentanglement": "DCI disentanglement",
    "dci_completeness": "DCI completeness",
    "dci_informativeness": "DCI informativeness",
    "factor_vae_score": "FactorVAE score",
    "frechet_distance[efficientnet_lite0]": "Fréchet distance, samples\n(EfficientNet-Lite0)",
    "reconstruction_frechet_distance[efficientnet_lite0]": "Fréchet distance,\nreconstructions (EfficientNet-Lite0)",
    "kernel_distance[efficientnet_lite0]": "kernel distance, samples\n(EfficientNet-Lite0)",
    "reconstruction_kernel_distance[efficientnet_lite0]": "kernel distance,\nreconstructions (EfficientNet-Lite0)",
    "fid": "FID, samples",
    "reconstruction_fid": "FID, reconstructions",
    "kid": "KID, samples",
    "reconstruction_kid": "KID, reconstructions",
}
# A measure that spans more than this factor is drawn on a logarithmic axis.
_WIDE = 30.0


def further_measures(curve: Curve) -> list[str]:
    """Return the measures that a curve's points have beside rate, distortion and what follows from them."""
    return [name for name in curve.measures if name not in _SHOWN_ELSEWHERE]


def measures(curve: Curve) -> "Figure":
    """Draw each further measure of a curve against log beta, in a panel of its own.

    Args:
        curve: with at least one measure beside rate and distortion.

    Returns:
        The figure.

    Raises:
        UsageError: if it has none.
    """
    from matplotlib.ticker import FuncFormatter, NullFormatter

    names = further_measures(curve)
    if not names:
        raise UsageError(f"curve {curve.label!r} has no measure beside rate and distortion; evaluate with measures")
    columns, rows = min(len(names), _COLUMNS), math.ceil(len(names) / _COLUMNS)
    with style():
        figure = new_figure(3.2 * columns + 0.4, 2.9 * rows)
        panels = figure.subplots(rows, columns, squeeze=False).flatten()
        for axes, name in zip(panels, names, strict=False):
            values = curve.values(name)
            axes.plot(curve.betas, values, "o-", color=MULTI_RATE_COLORS[0], lw=2, ms=3.5)
            log_beta_axis(axes)
            axes.set_title(_TITLES.get(name, spoken(name)))
            if values.min() > 0 and values.max() > _WIDE * values.min():
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axes.yaxis.set_minor_formatter(NullFormatter())
            elif values.min() >= 0:
                axes.set_ylim(0, None if values.max() > 0 else 1)
        for axes in panels[len(names) :]:
            axes.set_visible(False)
    return figure


def group_rates(curve: Curve) -> "Figure":
    """Draw how the rate splits among a hierarchical model's groups of latents, stacked, against log beta.

    Args:
        curve: whose details have ``group_rates``, a list of rates for each point, the top group first.

    Returns:
        The figure; its outline is the rate.

    Raises:
        UsageError: if the curve has no group rates, or not one list a point.
    """
    listed: Any = curve.details.get("group_rates")
    rates = np.array(listed if isinstance(listed, list) else [], dtype=np.float64)
    if rates.ndim != 2 or len(rates) != len(curve):
        raise UsageError(f"curve {curve.label!r} has no rates of groups: its model has one vector of latents")
    with style():
        from matplotlib import colormaps

        figure = new_figure(6.6, 3.4)
        axes = figure.add_subplot()
        colors = colormaps["viridis"](np.linspace(0.05, 0.95, rates.shape[1]))
        # A single point has no area: give it a little width.
        betas = curve.betas if len(curve) > 1 else curve.betas[0] * np.array([0.9, 1.1])
        stacked = rates if len(curve) > 1 else np.repeat(rates, 2, axis=0)
        axes.stackplot(betas, stacked.T, colors=colors, edgecolor="white", linewidth=0.4)
        axes.plot(betas, stacked.sum(1), color=INK, lw=1.4)
        log_beta_axis(axes)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("rate (nats per example)")
        axes.set_title(f"rate of each of {rates.shape[1]} groups, the top one (dark) first")
    return figure
