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


@dataclass(frozen=True)
class BetaRange:
    r"""The interval of beta that one multi-rate model serves, and the log-uniform distribution on it.

    Training draws :math:`\eta = \log\beta \sim U[\log a, \log b]` (Bae et al. 2023, Eq. 11). The hypernetwork sees
    :math:`(\eta - \mu) / \sigma` with :math:`\mu = (\log a + \log b) / 2` and
    :math:`\sigma = (\log b - \log a) / \sqrt{12}`, which has mean 0 and standard deviation 1.

    Args:
        low: smallest beta, :math:`a > 0`.
        high: largest beta, :math:`b > a`.

    Raises:
        BetaError: unless ``0 < low < high < inf``.
    """

    low: float = 0.01
    high: float = 10.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and 0 < self.low < self.high):
            raise BetaError(f"a beta range needs 0 < low < high, both finite; got low={self.low}, high={self.high}")

    @property
    def log_mean(self) -> float:
        """Mean of log beta under the sampling distribution."""
        return (math.log(self.low) + math.log(self.high)) / 2

    @property
    def log_std(self) -> float:
        """Standard deviation of log beta under the sampling distribution."""
        return (math.log(self.high) - math.log(self.low)) / math.sqrt(12)

    def __contains__(self, beta: object) -> bool:
        if not isinstance(beta, int | float | np.integer | np.floating):
            return False
        return bool(self.low * (1 - _EDGE) <= beta <= self.high * (1 + _EDGE))

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
        r"""Draw ``n`` betas, log-uniform.

        Stratified sampling cuts ``[log low, log high]`` into ``n`` equal intervals, draws one beta in each and shuffles
        them: every batch then covers the whole range, while each single beta is still log-uniform.

        Args:
            n: number of betas, at least 1.
            generator: source of randomness, on the CPU; the global one if it is None.
            stratified: one draw in each of ``n`` equal log-intervals, shuffled, rather than ``n`` independent draws.
            dtype: floating type of the result.

        Returns:
            Betas in ``[low, high]``, ``[n]``, on the CPU.

        Raises:
            BetaError: if ``n`` is below 1.
        """
        if n < 1:
            raise BetaError(f"cannot sample {n} betas; ask for at least 1")
        unit = torch.rand(n, generator=generator, dtype=torch.float64)
        if stratified:
            unit = (torch.randperm(n, generator=generator).to(torch.float64) + unit) / n
        log_low, log_high = math.log(self.low), math.log(self.high)
        return (log_low + unit * (log_high - log_low)).exp().clamp(self.low, self.high).to(dtype)

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
            Mean 0 and standard deviation 1 under :meth:`sample`, of beta's shape.
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
