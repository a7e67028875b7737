"""How many latents a VAE uses: those whose posterior mean moves from example to example."""

from typing import Any

import torch
from torch import Tensor, nn

from multirate.errors import DataError, UsageError
from multirate.metrics.base import Batch, Measure

THRESHOLD = 0.01


class MeanVariance:
    """Mean and variance over examples of a stream of batches, in float64.

    Batches are merged by the update of Chan, Golub and LeVeque (1979), which neither keeps the examples nor subtracts
    large sums of squares from each other; the result does not depend, to rounding, on how examples are cut in batches.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean = torch.zeros(0, dtype=torch.float64)
        self._squares = torch.zeros(0, dtype=torch.float64)

    def update(self, batch: Tensor) -> None:
        """Add a batch.

        Args:
            batch: ``[B, Z]``, with the same Z at each call, on any device.

        Raises:
            DataError: if it is of another shape or holds a value that is not finite.
        """
        batch = batch.detach().to("cpu", torch.float64)
        if batch.ndim != 2 or (self.count and batch.shape[1] != self._mean.numel()):
            expected = f"[B, {self._mean.numel()}]" if self.count else "[B, Z]"
            raise DataError(f"expected a batch of shape {expected}; got {list(batch.shape)}")
        if not bool(batch.isfinite().all()):
            raise DataError("a batch holds a value that is not finite; check the model's outputs")
        added = batch.shape[0]
        if not added:
            return
        mean = batch.mean(0)
        squares = (batch - mean).square().sum(0)
        if not self.count:
            self.count, self._mean, self._squares = added, mean, squares
            return
        total = self.count + added
        shift = mean - self._mean
        self._mean = self._mean + shift * (added / total)
        self._squares = self._squares + squares + shift.square() * (self.count * added / total)
        self.count = total

    @property
    def mean(self) -> Tensor:
        """Mean over the examples so far, ``[Z]``, float64.

        Raises:
            DataError: if there were none.
        """
        self._need_examples()
        return self._mean

    @property
    def variance(self) -> Tensor:
        """Variance over the examples so far (divided by their number), ``[Z]``, float64.

        Raises:
            DataError: if there were none.
        """
        self._need_examples()
        return self._squares / self.count

    def _need_examples(self) -> None:
        if not self.count:
            raise DataError("no mean or variance of 0 examples; update with a batch first")


def active_units(means: Tensor | MeanVariance, threshold: float = THRESHOLD) -> int:
    r"""Count the active latents, :math:`A_j = \mathrm{Var}_x(E_{q(z|x)}[z_j]) > 0.01` (Burda et al. 2016).

    Args:
        means: posterior means of the examples, ``[N, Z]``, or their :class:`MeanVariance`.
        threshold: a latent is active when its variance is above it.

    Returns:
        The number of active latents, between 0 and Z.

    Raises:
        UsageError: if the threshold is negative or not a number.
        DataError: if the means are not of shape ``[N, Z]`` with N at least 1, or not finite.
    """
    if not threshold >= 0:
        raise UsageError(f"the threshold of an active unit is a variance, at least 0; got {threshold}")
    if isinstance(means, Tensor):
        moments = MeanVariance()
        moments.update(means)
    else:
        moments = means
    return int((moments.variance > threshold).sum())


class ActiveUnits(Measure):
    """:func:`active_units` of an evaluation; nothing for a model without one latent vector that has a mean.

    Args:
        threshold: of the variance.
    """

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self.threshold = threshold
        self._moments: MeanVariance | None = MeanVariance()

    def update(self, batch: Batch) -> None:
        """Add a batch's posterior means."""
        means = batch.means
        if means is None or self._moments is None:
            self._moments = None
        else:
            self._moments.update(means)

    def result(self, model: nn.Module, beta: float) -> dict[str, float]:
        """Return ``active_units``."""
        return {} if self._moments is None else {"active_units": active_units(self._moments, self.threshold)}

    def settings(self) -> dict[str, Any]:
        """Return the threshold."""
        return {"threshold": self.threshold}
