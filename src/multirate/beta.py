"""The range of beta that one model serves: checking, sampling, standardizing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from multirate.errors import BetaError

BetaLike: TypeAlias = float | Sequence[float] | Tensor
Weight = TypeVar("Weight", float, Tensor)

# float32(0.01) is a little below 0.01: a beta this close to an end, relatively, counts as inside.
_EDGE = 1e-6
_SKEW = 1.7
_SKEWED_NATS = 12.0
_NAMES = {"rate": "beta", "distortion": "lambda"}


@dataclass(frozen=True)
class BetaRange:
    r"""The interval of beta that one multi-rate model serves, and the distribution that training draws from.

    Training draws :math:`\log\beta = \log a + u^s (\log(m b) - \log a)` with :math:`u \sim U[0, 1]`: the skew
    :math:`s > 1` favours the low end, which learns slowest, and the margin :math:`m \ge 1` goes a little beyond the
    upper end, which has neighbours on one side only (docs/closing-the-gap.md). With ``skew=1, margin=1``, which
    :meth:`log_uniform` gives, :math:`\log\beta \sim U[\log a, \log b]` (Bae et al. 2023, Eq. 11). By default the
    upper end gets the same share of the draws per nat of log beta whatever the lower end: :math:`s` is 12 over the
    width in nats, kept between 1 and 1.7.

    The hypernetwork sees :math:`(\log\beta - \mu) / \sigma` with :math:`\mu = (\log a + \log b) / 2` and
    :math:`\sigma = (\log b - \log a) / \sqrt{12}`, which has mean 0 and standard deviation 1 when log-uniform.

    With ``weighs="distortion"`` the numbers are the :math:`\lambda = 1 / \beta` of an objective :math:`R + \lambda D`,
    as learned compression has it: ``low`` and ``high``, samples, the grid, what is checked and what a model of this
    range is called with (``model(x, beta=0.01)`` is then at lambda 0.01). Everything inside stays in beta: thresholds,
    gates, the skew towards small beta, which is large lambda, and the margin, which goes below the smallest lambda.

    Args:
        low: smallest beta, :math:`a > 0`, or smallest lambda.
        high: largest beta, :math:`b > a`, or largest lambda.
        skew: exponent of the uniform variable, positive; None for the default.
        margin: factor beyond the largest beta up to which training draws, at least 1; the model then answers up to
            there.
        weighs: what the numbers weigh: ``"rate"``, they are beta; ``"distortion"``, they are lambda.

    Raises:
        BetaError: unless ``0 < low < high``, ``skew > 0`` and ``margin >= 1``, all finite, and ``weighs`` is known.
    """

    low: float = 0.01
    high: float = 10.0
    skew: float | None = None
    margin: float = 1.35
    weighs: Literal["rate", "distortion"] = "rate"

    def __post_init__(self) -> None:
        if self.weighs not in _NAMES:
            raise BetaError(f"weighs must be 'rate' (beta) or 'distortion' (lambda); got {self.weighs!r}")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and 0 < self.low < self.high):
            raise BetaError(
                f"a {self.name} range needs 0 < low < high, both finite; got low={self.low}, high={self.high}"
            )
        if self.skew is not None and not (math.isfinite(self.skew) and self.skew > 0):
            raise BetaError(f"skew must be positive and finite, 1 for log-uniform; got {self.skew}")
        if not (math.isfinite(self.margin) and self.margin >= 1 and 0 < self.reach < math.inf):
            raise BetaError(
                f"margin must be finite and at least 1, a factor beyond the largest beta; got {self.margin}"
            )

    @classmethod
    def log_uniform(
        cls, low: float = 0.01, high: float = 10.0, *, weighs: Literal["rate", "distortion"] = "rate"
    ) -> "BetaRange":
        """Return the range that is sampled log-uniformly between its ends, as in the paper."""
        return cls(low, high, skew=1.0, margin=1.0, weighs=weighs)

    @property
    def name(self) -> str:
        """What the range's numbers are: ``"beta"``, which weighs the rate, or ``"lambda"``, the distortion."""
        return _NAMES[self.weighs]

    @property
    def log_low(self) -> float:
        """Logarithm of the smallest beta."""
        return math.log(self.low) if self.weighs == "rate" else -math.log(self.high)

    @property
    def log_high(self) -> float:
        """Logarithm of the largest beta."""
        return math.log(self.high) if self.weighs == "rate" else -math.log(self.low)

    @property
    def log_mean(self) -> float:
        """Middle of the range of log beta: its mean when log-uniform."""
        return (self.log_low + self.log_high) / 2

    @property
    def log_std(self) -> float:
        """Standard deviation of log beta when log-uniform."""
        return (self.log_high - self.log_low) / math.sqrt(12)

    @property
    def exponent(self) -> float:
        """The skew that training uses: as given, or the default for the width of the range."""
        width = self._log_reach - self.log_low
        return min(_SKEW, max(1.0, _SKEWED_NATS / width)) if self.skew is None else self.skew

    @property
    def reach(self) -> float:
        """Largest beta, or smallest lambda, that training draws, and that the model answers to."""
        return self.high * self.margin if self.weighs == "rate" else self.low / self.margin

    @property
    def _log_reach(self) -> float:
        return math.log(self.reach) if self.weighs == "rate" else -math.log(self.reach)

    @property
    def _ends(self) -> tuple[float, float]:
        """The smallest and the largest number that the range answers to."""
        return (self.low, self.reach) if self.weighs == "rate" else (self.reach, self.high)

    def __contains__(self, beta: object) -> bool:
        if not isinstance(beta, int | float | np.integer | np.floating):
            return False
        least, most = self._ends
        return bool(least * (1 - _EDGE) <= beta <= most * (1 + _EDGE))

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}]" + (" of lambda" if self.weighs == "distortion" else "")

    def beta_of(self, weight: Weight) -> Weight:
        """Return the beta of a number of this range: itself, or one over lambda.

        Args:
            weight: a number or a tensor of any shape; not checked against the range.
        """
        return weight if self.weighs == "rate" else 1 / weight

    def weight_of(self, beta: Weight) -> Weight:
        """Return the number of this range at which a model has ``beta``: the inverse of :meth:`beta_of`.

        Args:
            beta: a number, such as ``curve.beta_for(rate=20.0)``, or a tensor of any shape.
        """
        return beta if self.weighs == "rate" else 1 / beta

    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        *,
        stratified: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        r"""Draw ``n`` betas for training.

        Stratified sampling cuts the unit interval of :math:`u` into ``n`` equal ones, draws one beta in each and
        shuffles them: every batch then covers the whole range, while each single beta keeps its distribution.

        Args:
            n: number of betas, at least 1.
            generator: source of randomness, on the CPU; the global one if it is None.
            stratified: one draw in each of ``n`` equal intervals, shuffled, rather than ``n`` independent draws.
            dtype: floating type of the result.

        Returns:
            Betas in ``[low, reach]``, or lambdas in ``[reach, high]``, ``[n]``, on the CPU.

        Raises:
            BetaError: if ``n`` is below 1.
        """
        if n < 1:
            raise BetaError(f"cannot sample {n} betas; ask for at least 1")
        unit = torch.rand(n, generator=generator, dtype=torch.float64)
        if stratified:
            unit = (torch.randperm(n, generator=generator).to(torch.float64) + unit) / n
        log_low, log_reach = self.log_low, self._log_reach
        log_beta = log_low + unit.pow(self.exponent) * (log_reach - log_low)
        return self._exp(log_beta).clamp(*self._ends).to(dtype)

    def grid(self, n: int, *, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return ``n`` log-spaced betas or lambdas, both ends included, in increasing order.

        Args:
            n: number of betas, at least 2.
            dtype: floating type of the result.

        Returns:
            Betas, ``[n]``.

        Raises:
            BetaError: if ``n`` is below 2.
        """
        if n < 2:
            raise BetaError(f"a grid that includes both ends needs at least 2 betas; got {n}")
        betas = torch.logspace(math.log10(self.low), math.log10(self.high), n, dtype=torch.float64)
        betas[0], betas[-1] = self.low, self.high
        return betas.to(dtype)

    def check(self, beta: BetaLike | None) -> None:
        """Raise unless ``beta`` is one number, or one number an example, inside the range.

        Args:
            beta: a float, a sequence of floats or a tensor of shape ``[]`` or ``[B]``; lambda where that is what the
                range is of.

        Raises:
            BetaError: if it is missing, not positive, not finite, of more than one axis, empty or out of range.
        """
        name = self.name
        if beta is None:
            raise BetaError(
                f"{name} is missing: call model(x, beta=...) or use `with model.at(beta):`; the range is {self}"
            )
        try:
            values = torch.as_tensor(beta)
        except (TypeError, ValueError, RuntimeError) as error:
            raise BetaError(f"{name} must be a number, or numbers; got {beta!r}") from error
        if values.is_complex() or values.dtype == torch.bool:
            raise BetaError(f"{name} must be a real number; got {values.dtype}")
        if values.ndim > 1 or values.numel() == 0:
            raise BetaError(f"{name} must be one number or one an example, [] or [B]; got shape {list(values.shape)}")
        low, high = (float(v) for v in torch.aminmax(values.detach()))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise BetaError(f"{name} must be finite; got {low if not math.isfinite(low) else high}")
        if low <= 0:
            raise BetaError(f"{name} must be positive; got {low:g}")
        for value in (low, high):
            if value not in self:
                raise BetaError(
                    f"{name} {value:g} is outside the range {self} that this model was made for; "
                    "choose one inside, or train with a wider range"
                )

    def standardize(self, beta: BetaLike) -> Tensor:
        r"""Return the standardized log beta, :math:`(\log\beta - \mu) / \sigma`: the hypernetwork's input.

        Args:
            beta: a float, a sequence or a tensor of any shape; not checked against the range.

        Returns:
            Within about 1.73 of 0 inside the range, of beta's shape.
        """
        log_weight = torch.as_tensor(beta, dtype=None if isinstance(beta, Tensor) else torch.float64).log()
        log_beta = log_weight if self.weighs == "rate" else -log_weight
        return (log_beta - self.log_mean) / self.log_std

    def unstandardize(self, standardized_log_beta: Tensor) -> Tensor:
        """Invert :meth:`standardize`.

        Args:
            standardized_log_beta: any shape.

        Returns:
            Beta, or lambda, of the same shape.
        """
        return self._exp(standardized_log_beta * self.log_std + self.log_mean)

    def _exp(self, log_beta: Tensor) -> Tensor:
        return log_beta.exp() if self.weighs == "rate" else (-log_beta).exp()
