"""The range of beta that one model serves: checking, sampling, standardizing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from multirate.errors import BetaError

BetaLike: TypeAlias = float | Sequence[float] | Tensor

# float32(0.01) is a little below 0.01: a beta this close to an end, relatively, counts as inside.
_EDGE = 1e-6
_SKEW = 1.7
_SKEWED_NATS = 12.0


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

    Args:
        low: smallest beta, :math:`a > 0`.
        high: largest beta, :math:`b > a`.
        skew: exponent of the uniform variable, positive; None for the default.
        margin: factor beyond ``high`` up to which training draws, at least 1; the model then answers up to there.

    Raises:
        BetaError: unless ``0 < low < high``, ``skew > 0`` and ``margin >= 1``, all finite.
    """

    low: float = 0.01
    high: float = 10.0
    skew: float | None = None
    margin: float = 1.35

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and 0 < self.low < self.high):
            raise BetaError(f"a beta range needs 0 < low < high, both finite; got low={self.low}, high={self.high}")
        if self.skew is not None and not (math.isfinite(self.skew) and self.skew > 0):
            raise BetaError(f"skew must be positive and finite, 1 for log-uniform; got {self.skew}")
        if not (math.isfinite(self.margin) and self.margin >= 1 and math.isfinite(self.high * self.margin)):
            raise BetaError(f"margin must be finite and at least 1, a factor beyond the upper end; got {self.margin}")

    @classmethod
    def log_uniform(cls, low: float = 0.01, high: float = 10.0) -> "BetaRange":
        """Return the range that is sampled log-uniformly between its ends, as in the paper."""
        return cls(low, high, skew=1.0, margin=1.0)

    @property
    def log_mean(self) -> float:
        """Middle of the range of log beta: its mean when log-uniform."""
        return (math.log(self.low) + math.log(self.high)) / 2

    @property
    def log_std(self) -> float:
        """Standard deviation of log beta when log-uniform."""
        return (math.log(self.high) - math.log(self.low)) / math.sqrt(12)

    @property
    def exponent(self) -> float:
        """The skew that training uses: as given, or the default for the width of the range."""
        width = math.log(self.reach) - math.log(self.low)
        return min(_SKEW, max(1.0, _SKEWED_NATS / width)) if self.skew is None else self.skew

    @property
    def reach(self) -> float:
        """Largest beta that training draws, and that the model answers to."""
        return self.high * self.margin

    def __contains__(self, beta: object) -> bool:
        if not isinstance(beta, int | float | np.integer | np.floating):
            return False
        return bool(self.low * (1 - _EDGE) <= beta <= self.reach * (1 + _EDGE))

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}]"

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
            Betas in ``[low, reach]``, ``[n]``, on the CPU.

        Raises:
            BetaError: if ``n`` is below 1.
        """
        if n < 1:
            raise BetaError(f"cannot sample {n} betas; ask for at least 1")
        unit = torch.rand(n, generator=generator, dtype=torch.float64)
        if stratified:
            unit = (torch.randperm(n, generator=generator).to(torch.float64) + unit) / n
        log_low, log_reach = math.log(self.low), math.log(self.reach)
        log_beta = log_low + unit.pow(self.exponent) * (log_reach - log_low)
        return log_beta.exp().clamp(self.low, self.reach).to(dtype)

    def grid(self, n: int, *, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return ``n`` log-spaced betas, both ends included, in increasing order.

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
            beta: a float, a sequence of floats or a tensor of shape ``[]`` or ``[B]``.

        Raises:
            BetaError: if it is missing, not positive, not finite, of more than one axis, empty or out of range.
        """
        if beta is None:
            raise BetaError(
                f"beta is missing: call model(x, beta=...) or use `with model.at(beta):`; the range is {self}"
            )
        try:
            values = torch.as_tensor(beta)
        except (TypeError, ValueError, RuntimeError) as error:
            raise BetaError(f"beta must be a number, or numbers; got {beta!r}") from error
        if values.is_complex() or values.dtype == torch.bool:
            raise BetaError(f"beta must be a real number; got {values.dtype}")
        if values.ndim > 1 or values.numel() == 0:
            raise BetaError(f"beta must be one number or one an example, [] or [B]; got shape {list(values.shape)}")
        low, high = (float(v) for v in torch.aminmax(values.detach()))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise BetaError(f"beta must be finite; got {low if not math.isfinite(low) else high}")
        if low <= 0:
            raise BetaError(f"beta must be positive; got {low:g}")
        for value in (low, high):
            if value not in self:
                raise BetaError(
                    f"beta {value:g} is outside the range {self} that this model was made for; "
                    "choose one inside, or train with a wider range"
                )

    def standardize(self, beta: BetaLike) -> Tensor:
        r"""Return the standardized log beta, :math:`(\log\beta - \mu) / \sigma`: the hypernetwork's input.

        Args:
            beta: a float, a sequence or a tensor of any shape; not checked against the range.

        Returns:
            Within about 1.73 of 0 inside the range, of beta's shape.
        """
        return (
            torch.as_tensor(beta, dtype=None if isinstance(beta, Tensor) else torch.float64).log() - self.log_mean
        ) / (self.log_std)

    def unstandardize(self, standardized_log_beta: Tensor) -> Tensor:
        """Invert :meth:`standardize`.

        Args:
            standardized_log_beta: any shape.

        Returns:
            Beta, of the same shape.
        """
        return (standardized_log_beta * self.log_std + self.log_mean).exp()
