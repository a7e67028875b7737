"""Sums over the examples of an evaluation, at one beta."""

import math
from typing import Any

from torch import Tensor

from multirate.curve import Point, point
from multirate.errors import DivergenceError
from multirate.paired import GroupSums
from multirate.terms import Terms


class Totals:
    """Sums over the examples at one beta, in float64."""

    def __init__(self) -> None:
        self.rate = 0.0
        self.distortion = 0.0
        self.extra: float | None = None
        self.dimensions: float | None = 0.0
        self.groups = GroupSums()
        self._sums: dict[str, Tensor | None] = {}

    def add(self, terms: Terms, where: str, first: int) -> None:
        """Add a batch's terms.

        Args:
            terms: of the batch.
            where: beta and batch, for the error.
            first: place of the batch's first example in the data.

        Raises:
            DivergenceError: if a sum is not finite.
        """
        rate, distortion = float(terms.rate.double().sum()), float(terms.distortion.double().sum())
        for name, value in (("rate", rate), ("distortion", distortion)):
            if not math.isfinite(value):
                raise DivergenceError(
                    f"the {name} is {value} at {where}: the model has diverged, or the data are far from "
                    "its training data; train with a smaller learning rate or with clip_norm"
                )
        self.rate += rate
        self.distortion += distortion
        self.groups.add(terms.rate, terms.with_extra(terms.distortion), first)
        if terms.extra is not None:
            self.extra = (self.extra or 0.0) + float(terms.extra.double().sum())
        if terms.dimensions is None or self.dimensions is None:
            self.dimensions = None
        else:
            self.dimensions += float(terms.dimensions.double().sum())
        for name, part in (("group_rates", terms.group_rate), ("latent_rates", terms.latent_rate)):
            self._add_rates(name, part)

    def _add_rates(self, name: str, rates: Tensor | None) -> None:
        """Add the rates of groups or latents, ``[B, G]``; once a batch has none there are none."""
        if rates is None:
            self._sums[name] = None
            return
        sums, before = rates.double().sum(0).cpu(), self._sums.get(name, rates.new_zeros(()).double().cpu())
        self._sums[name] = None if before is None else before + sums

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
        measures: dict[str, float] = {}
        if self.dimensions:
            per_example = self.dimensions / draws
            if likelihood == "categorical":
                measures["nll"] = rate + distortion
                # Beyond e^700 a double has no number.
                measures["perplexity"] = math.exp(min(700.0, (rate + distortion) / per_example))
            elif likelihood in DISCRETE or (likelihood == "bernoulli" and self.rates_of("group_rates", draws)):
                bits = 1 / (per_example * math.log(2))
                measures |= {"rate_bits_per_dim": rate * bits, "distortion_bits_per_dim": distortion * bits}
        return point(beta, rate, distortion, **measures)

    def rates_of(self, name: str, draws: int) -> list[float] | None:
        """Return mean rates, nats per example, or None where the terms had none.

        Args:
            name: ``group_rates`` or ``latent_rates``.
            draws: examples times samples.
        """
        sums = self._sums.get(name)
        return None if sums is None else (sums / draws).tolist()


# Likelihoods of discrete pixel values, for which bits per dimension mean something.
DISCRETE = ("discretized_logistic",)


def split_rates(totals: list[Totals], draws: int) -> dict[str, Any]:
    """Return the entries of a curve's details that split the rate: over groups of latents, over latents.

    Args:
        totals: in the order of the points.
        draws: examples times samples.

    Returns:
        ``group_rates`` and ``latent_rates``, each a list for each point, of what the model's terms have.
    """
    found = {name: [total.rates_of(name, draws) for total in totals] for name in ("group_rates", "latent_rates")}
    return {name: rates for name, rates in found.items() if all(rate is not None for rate in rates)}
