"""The pictures of docs/concepts.md and docs/choosing-beta.md, from closed forms alone: python docs/drawing.py.

The linear VAE is that of scikit-learn's digits, 64 binary pixels, 12 latents.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

import multirate as mr
from multirate.report.style import INK, MUTED, log_beta_axis, new_figure, save, style
from multirate.response import latent_gate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = Path(__file__).resolve().parent / "pictures"
LOW, HIGH, LATENTS = 0.01, 10.0, 12
BLUE, GREEN, ORANGE = "#0072B2", "#009E73", "#D55E00"


def digits_vae() -> mr.theory.LinearVAE:
    """Return the optimal linear VAE of the digits."""
    train = mr.data.load("digits", "train")
    x = train.batch(torch.arange(len(train))).flatten(1).double()
    return mr.theory.LinearVAE(torch.cov(x.T, correction=0), LATENTS, x.mean(0))


def curve_of(vae: mr.theory.LinearVAE, betas: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rates and distortions at the optimum, ``[N]`` each."""
    values = torch.from_numpy(betas)
    return vae.rate(values).numpy(), vae.distortion(values).numpy()


def tangents() -> "Figure":
    """Draw a rate-distortion curve and the tangents at three betas."""
    vae = digits_vae()
    rates, distortions = curve_of(vae, np.geomspace(LOW, HIGH, 400))
    figure = new_figure(6.4, 4.0)
    axes = figure.subplots()
    axes.plot(rates, distortions, color=BLUE, lw=2.2, label="the least distortion at each rate")
    for beta, color in ((0.05, GREEN), (0.25, ORANGE), (0.5, MUTED)):
        (rate,), (distortion,) = curve_of(vae, np.array([beta]))
        height = distortion + beta * rate
        axes.plot(
            [0, min(rate + 5, height / beta)], [height, height - beta * min(rate + 5, height / beta)], "--", color=color
        )
        axes.plot(rate, distortion, "o", color=color, ms=7)
        axes.annotate(f"β = {beta:g}", (rate, distortion), xytext=(7, 7), textcoords="offset points", color=color)
        axes.plot(0, height, "<", color=color, ms=7, clip_on=False, zorder=5)
    axes.text(0.36, 0.05, "◀ where a tangent meets the axis: D + βR", transform=axes.transAxes, color=MUTED)
    axes.set_xlim(0, rates.max())
    axes.set_ylim(distortions.min() - 0.55, distortions.max() + 0.2)
    axes.set_xlabel("rate R (nats per example)")
    axes.set_ylabel("distortion D (nats per example)")
    axes.legend(loc="upper right")
    return figure


def thresholds() -> "Figure":
    """Draw the gates and the rates of the latents of a linear VAE against beta."""
    vae = digits_vae()
    betas = np.geomspace(LOW, HIGH, 500)
    figure = new_figure(8.6, 3.5)
    left, right = figure.subplots(1, 2)
    spectrum = vae.eigenvalues[:LATENTS].numpy()
    for index, eigenvalue in enumerate(spectrum):
        color = (*np.array([0.0, 0.45, 0.70]) * (1 - 0.055 * index) + 0.055 * index * np.array([0.6, 0.85, 0.95]),)
        left.plot(betas, np.sqrt(np.clip(1 - betas / eigenvalue, 0, None)), color=color, lw=1.4)
        right.plot(betas, 0.5 * np.clip(np.log(eigenvalue / betas), 0, None), color=color, lw=1.4)
    excess = torch.from_numpy(np.log(spectrum[0]) - np.log(betas))
    left.plot(
        betas, latent_gate(excess)[1].numpy(), "--", color=ORANGE, lw=1.4, label="the first, as the default gates it"
    )
    left.set_title("gate of each latent")
    left.legend(loc="upper right")
    right.set_title("rate of each latent (nats)")
    for axes in (left, right):
        log_beta_axis(axes)
        axes.set_ylim(bottom=0)
    return figure


def hull() -> "Figure":
    """Draw achievable points, those that some beta finds, and one that none does."""
    rates = np.array([0.0, 1.0, 2.2, 3.8, 6.0, 9.0])
    distortions = np.array([9.0, 6.3, 5.35, 2.7, 1.5, 0.9])
    found = [0, 1, 3, 4, 5]
    figure = new_figure(5.6, 3.6)
    axes = figure.subplots()
    cloud = np.random.default_rng(3)
    r = cloud.uniform(0.3, 9.3, 160)
    d = np.interp(r, rates[found], distortions[found]) + 0.35 + cloud.exponential(2.0, 160)
    axes.scatter(r[d < 9], d[d < 9], s=8, color="#cbd2d9", label="other models")
    axes.plot(rates[found], distortions[found], "-o", color=BLUE, lw=2, ms=7, label="found by some β: the hull")
    axes.plot(rates[2], distortions[2], "D", color=ORANGE, ms=7, label="no better model of its rate, found by no β")
    slope = (distortions[3] - distortions[1]) / (rates[3] - rates[1])
    ends = np.array([0.0, 5.6])
    axes.plot(ends, distortions[1] + slope * (ends - rates[1]), "--", color=MUTED, lw=1.2)
    axes.text(4.55, 1.0, f"slope \N{MINUS SIGN}β, β = {-slope:.2f}", ha="right", color=MUTED)
    axes.set_xlim(-0.2, 9.6)
    axes.set_ylim(0, 12)
    axes.set_xlabel("rate")
    axes.set_ylabel("distortion")
    axes.legend(loc="upper right")
    return figure


def draws() -> "Figure":
    """Draw how densely training draws each beta."""
    figure = new_figure(6.4, 3.0)
    axes = figure.subplots()
    for beta_range, color, label in (
        (mr.BetaRange(LOW, HIGH), BLUE, "default"),
        (mr.BetaRange.log_uniform(LOW, HIGH), ORANGE, "log-uniform"),
    ):
        log_low, log_reach = math.log(beta_range.low), math.log(beta_range.reach)
        u = np.linspace(1e-3, 1, 400)
        s = beta_range.exponent
        log_betas = log_low + u**s * (log_reach - log_low)
        density = 1 / (s * u ** (s - 1) * (log_reach - log_low))
        axes.plot([*np.exp(log_betas), beta_range.reach], [*density, 0], color=color, lw=2, label=label)
    axes.axvspan(LOW, HIGH, color="#f5f7fa", zorder=0)
    axes.text(HIGH * 0.93, 0.02, "range", ha="right", color=INK)
    axes.set_ylim(0, 0.4)
    log_beta_axis(axes)
    axes.set_ylabel("share of the draws\nper nat of log β")
    axes.legend(loc="upper right")
    return figure


FIGURES: dict[str, Callable[[], "Figure"]] = {
    "tangents": tangents,
    "thresholds": thresholds,
    "hull": hull,
    "draws": draws,
}


def main(folder: Path = PICTURES) -> list[Path]:
    """Draw every picture.

    Args:
        folder: for the PNG files.

    Returns:
        Their paths.
    """
    paths = []
    for name, draw in FIGURES.items():
        with style():
            paths.append(save(draw(), folder / f"{name}.png"))
    return paths


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PICTURES)
    main(parser.parse_args().out)
