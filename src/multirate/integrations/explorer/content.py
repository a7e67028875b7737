"""What the page says at each step of its slider: the curve between the measured betas, and the rate of each latent."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from multirate.collapse import THRESHOLD, of_latents
from multirate.curve import Curve, FloatArray, pchip
from multirate.data import Source
from multirate.errors import UsageError
from multirate.inference import at, inference, like_parameters
from multirate.seeding import seeded
from multirate.wrapper import MultiRate

SCHEMA = "multirate.explorer/1"
# Parts that the slider's way is cut into: over three decades of beta, a factor of 1.03 each.
STEPS = 240
# Examples that rates of latents are measured on, where the curve has none, and how many at once.
_MEASURED = 128
_BATCH = 64


def betas_of(model: nn.Module, curve: Curve, count: int) -> FloatArray:
    """Return log-spaced betas that both the model and its curve cover, ends included.

    Args:
        model: multi-rate.
        curve: of that model.
        count: how many.

    Returns:
        Betas, increasing, ``[count]``.

    Raises:
        UsageError: if the model is a plain one or called with lambda, the curve has one point, or their ranges have
            nothing in common.
    """
    if not isinstance(model, MultiRate):
        raise UsageError(
            f"an explorer moves along beta, and a plain {type(model).__name__} has one; train a multi-rate one"
        )
    if model.beta_range.weighs != "rate":
        raise UsageError(f"an explorer moves along beta, and this model is called with lambda, of {model.beta_range}")
    if len(curve) < 2:
        raise UsageError(f"curve {curve.label!r} has one point; evaluate more betas to explore what is between them")
    low = max(model.beta_range.low, float(curve.betas[0]))
    high = min(model.beta_range.high, float(curve.betas[-1]))
    if not low < high:
        raise UsageError(
            f"the curve goes from beta {curve.betas[0]:g} to {curve.betas[-1]:g}, the model over {model.beta_range}; "
            "evaluate the model again"
        )
    betas = np.geomspace(low, high, count)
    betas[0], betas[-1] = low, high
    return betas


def steps(curve: Curve, betas: FloatArray) -> dict[str, list[float]]:
    """Return beta, rate, distortion and ELBO at each step, interpolated as :meth:`multirate.Curve.at` does.

    Args:
        curve: measured.
        betas: of the steps, inside the curve.
    """
    points = [curve.at(beta) for beta in betas.tolist()]
    return {name: [float(p[name]) for p in points] for name in ("beta", "rate", "distortion", "elbo")}


def nearest_step(betas: FloatArray, beta: float) -> int:
    """Return the step nearest to a beta, in log beta."""
    return int(np.abs(np.log(betas) - math.log(beta)).argmin())


def latents(model: nn.Module, source: Source, curve: Curve, betas: FloatArray) -> dict[str, Any] | None:
    """Return the rate of each latent, or of each group of a hierarchical model, at each step.

    They are the curve's own where it has them, else measured on the first examples; between betas they are
    interpolated by PCHIP in log beta, as rate and distortion are.

    Args:
        model: multi-rate.
        source: data to measure on.
        curve: of the model.
        betas: of the steps.

    Returns:
        The page's entry, with ``rates`` of ``[steps, Z]`` in nats; None if the model's rate does not split.
    """
    known, examples = _of_curve(curve), curve.examples
    if known is None:
        examples = min(_MEASURED, len(source))
        known = _measured(model, source.batch(torch.arange(examples)), curve.betas.tolist())
    if known is None:
        return None
    noun, rates = known
    between = np.maximum(pchip(np.log(curve.betas), rates)(np.log(betas)), 0.0)
    return {
        "noun": noun,
        "threshold": THRESHOLD,
        "measured": f"Mean over {examples:,} examples of {curve.data} {curve.split}.",
        "rates": [[float(f"{rate:.4g}") for rate in row] for row in between.tolist()],
    }


def _of_curve(curve: Curve) -> tuple[str, FloatArray] | None:
    for noun in ("latent", "group"):
        rates = of_latents(curve, f"{noun}_rates")
        if rates is not None:
            return noun, rates
    return None


def _measured(model: nn.Module, x: Tensor, betas: Sequence[float]) -> tuple[str, FloatArray] | None:
    rows: list[FloatArray] = []
    noun = "latent"
    batches = like_parameters(x, model).split(_BATCH)
    with inference(model), seeded(0, "explorer"):
        for beta in betas:
            with at(model, beta):
                terms = [model.terms(batch) for batch in batches]  # type: ignore[operator]
            if terms[0].latent_rate is None and terms[0].group_rate is None:
                return None
            noun = "group" if terms[0].latent_rate is None else "latent"
            split = torch.cat([t.group_rate if t.latent_rate is None else t.latent_rate for t in terms])
            rows.append(split.double().mean(0).cpu().numpy())
    return noun, np.stack(rows)
