"""Sums over the examples of an evaluation, at one beta."""

import math
from collections.abc import Collection
from typing import Any

from torch import Tensor, nn

from multirate.curve import Point, point
from multirate.errors import TrainingError, UsageError
from multirate.inference import at, base_of
from multirate.metrics.active_units import MeanVariance, active_units
from multirate.metrics.decomposition import AggregatePosterior, decomposition
from multirate.terms import Terms

MEASURES = ("active_units", "decomposition")
USUAL_MEASURES = ("active_units",)


class Totals:
    """Sums over the examples at one beta, in float64.

    Args:
        measures: names of :data:`MEASURES` to keep.
    """

    def __init__(self, measures: Collection[str]) -> None:
        self.rate = 0.0
        self.distortion = 0.0
        self.dimensions: float | None = 0.0
        self.group_rate: Tensor | None = None
        self.means = MeanVariance() if "active_units" in measures else None
        self.aggregate = AggregatePosterior() if "decomposition" in measures else None

    def add(self, terms: Terms, where: str, *, first: bool = True) -> None:
        """Add a batch's terms.

        Args:
            terms: of the batch.
            where: beta and batch, for the error.
            first: whether these are the batch's first samples, the only ones that the decomposition looks at.

        Raises:
            TrainingError: if a sum is not finite.
            UsageError: if a measure needs what the terms lack.
        """
        rate, distortion = float(terms.rate.double().sum()), float(terms.distortion.double().sum())
        for name, value in (("rate", rate), ("distortion", distortion)):
            if not math.isfinite(value):
                raise TrainingError(
                    f"the {name} is {value} at {where}: the model has diverged, or the data are far from "
                    "its training data; train with a smaller learning rate or with clip_norm"
                )
        self.rate += rate
        self.distortion += distortion
        if terms.dimensions is None or self.dimensions is None:
            self.dimensions = None
        else:
            self.dimensions += float(terms.dimensions.double().sum())
        if self.aggregate is not None:
            if terms.posterior is None:
                raise UsageError(
                    "decomposition needs the posterior of one Gaussian latent vector: let terms(x) fill "
                    "Terms.posterior, or leave the measure out"
                )
            if first:
                self.aggregate.update(terms.posterior)
        if terms.group_rate is not None:
            sums = terms.group_rate.double().sum(0).cpu()
            self.group_rate = sums if self.group_rate is None else self.group_rate + sums

    def add_means(self, model: nn.Module, x: Tensor, beta: float) -> None:
        """Add a batch's posterior means, if the model has one latent vector with a mean.

        Args:
            model: plain or multi-rate.
            x: the batch, ``[B, ...]``.
            beta: at which to encode.
        """
        if self.means is None:
            return
        encode = getattr(base_of(model), "encode", None)
        with at(model, beta):
            posterior = encode(x) if callable(encode) else None
        mean = getattr(posterior, "mean", None)
        if isinstance(mean, Tensor):
            self.means.update(mean.flatten(1))
        else:
            self.means = None

    def point(self, beta: float, draws: int, likelihood: str | None) -> Point:
        r"""Return the point of a curve.

        A text gets the perplexity :math:`\exp((D + R) / T)`, a bound of it in truth, with T the mean number of words
        and ends; pixels of a discretised likelihood, and binary ones of a model with groups of latents,
        get rate and distortion in bits per dimension, :math:`R / (d \log 2)` and :math:`D / (d \log 2)`.

        Args:
            beta: of the point.
            draws: examples times samples.
            likelihood: of the model, as far as it says.
        """
        rate, distortion = self.rate / draws, self.distortion / draws
        measures: dict[str, float] = {} if self.means is None else {"active_units": active_units(self.means)}
        if self.aggregate is not None:
            measures |= decomposition(self.aggregate)
        if self.dimensions:
            per_example = self.dimensions / draws
            if likelihood == "categorical":
                measures["nll"] = rate + distortion
                # Beyond e^700 a double has no number.
                measures["perplexity"] = math.exp(min(700.0, (rate + distortion) / per_example))
            elif likelihood in DISCRETE or (likelihood == "bernoulli" and self.group_rate is not None):
                bits = 1 / (per_example * math.log(2))
                measures |= {"rate_bits_per_dim": rate * bits, "distortion_bits_per_dim": distortion * bits}
        return point(beta, rate, distortion, **measures)

    def group_rates(self, draws: int) -> list[float] | None:
        """Return the rate of each group of latents, nats per example, for a model that has groups."""
        return None if self.group_rate is None else (self.group_rate / draws).tolist()


# Likelihoods of discrete pixel values, for which bits per dimension mean something.
DISCRETE = ("discretized_logistic",)


def grouped(totals: list[Totals], draws: int) -> dict[str, Any]:
    """Return the entry of a curve's details that holds the rates of groups of latents, one list a point, if there are.

    Args:
        totals: in the order of the points.
        draws: examples times samples.
    """
    rates = [total.group_rates(draws) for total in totals]
    return {"group_rates": rates} if all(rate is not None for rate in rates) else {}
