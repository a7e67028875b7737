"""What the rate of a model at a beta is made of: mutual information, total correlation and dimension-wise KL."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from multirate.errors import DataError, UsageError
from multirate.metrics.base import Batch, Measure
from multirate.objectives.total_correlation import parts
from multirate.terms import GaussianPosterior

LIMIT = 10_000


class AggregatePosterior:
    """Posteriors of a stream of batches at one beta, kept in float64 on the CPU.

    Args:
        limit: how many examples are kept, the first ones; time grows with its square.

    Raises:
        UsageError: if the limit is below 1.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        if limit < 1:
            raise UsageError(f"limit must be at least 1 example; got {limit}")
        self.limit = limit
        self.count = 0
        self._batches: list[Tensor] = []

    def update(self, posterior: GaussianPosterior) -> None:
        """Add the posteriors of a batch, or of as many of its examples as the limit leaves room for.

        Args:
            posterior: ``[B, Z]``, with the same Z at each call, on any device.

        Raises:
            DataError: if it is of another shape or holds a value that is not finite.
        """
        batch = torch.stack(
            [v.detach().to("cpu", torch.float64) for v in (posterior.mean, posterior.log_variance, posterior.sample)]
        )
        if batch.ndim != 3 or (self._batches and batch.shape[2] != self._batches[0].shape[2]):
            expected = f"[B, {self._batches[0].shape[2]}]" if self._batches else "[B, Z]"
            raise DataError(f"expected posteriors of shape {expected}; got {list(batch.shape[1:])}")
        if not bool(batch.isfinite().all()):
            raise DataError("a posterior holds a value that is not finite; check the model's outputs")
        batch = batch[:, : self.limit - self.count]
        if batch.shape[1]:
            self._batches.append(batch)
            self.count += batch.shape[1]

    @property
    def posterior(self) -> GaussianPosterior:
        """The posteriors kept so far, ``[N, Z]``, float64.

        Raises:
            DataError: if there are none.
        """
        if not self._batches:
            raise DataError("no aggregate posterior of 0 examples; update with a batch first")
        return GaussianPosterior(*torch.cat(self._batches, dim=1))


def decomposition(posterior: GaussianPosterior | AggregatePosterior) -> dict[str, float]:
    r"""Split the rate of N examples in three, against their exact aggregate posterior (Chen et al. 2018, Eq. 2).

    .. math::
        \frac1N \sum_n \mathrm{KL}(q(z|x_n) \,\|\, p(z)) = I_q(x; z)
        + \mathrm{KL}\Bigl(q(z) \,\Big\|\, \prod_j q(z_j)\Bigr) + \sum_j \mathrm{KL}(q(z_j) \,\|\, p(z_j)), \qquad
        q(z) = \frac1N \sum_n q(z|x_n)

    The densities are exact: every sample is compared with all N posteriors, in bounded memory. The means over z are
    taken at one sample an example; their noise falls with the root of N. The parts sum to the rate, in its sampled
    form; where all posteriors are equal the first two are 0. Mutual information is that between a latent vector and
    which of the N examples it belongs to, hence at most :math:`\log N` (9.2 nats for 10,000), and at most the rate but
    for noise.

    Args:
        posterior: of all examples at one beta, ``[N, Z]``, or their :class:`AggregatePosterior`.

    Returns:
        ``mutual_information``, ``total_correlation`` and ``dimension_wise_kl``, and ``marginal_kl``, which is
        :math:`\mathrm{KL}(q(z) \,\|\, p(z))`, the sum of the last two; in nats an example.

    Raises:
        DataError: if there are no examples, or a posterior is not of shape ``[N, Z]`` or not finite.
    """
    if isinstance(posterior, GaussianPosterior):
        kept = AggregatePosterior(limit=max(1, posterior.mean.shape[0]))
        kept.update(posterior)
    else:
        kept = posterior
    whole = kept.posterior
    log_weight = -math.log(kept.count)
    split = {name: float(value.mean()) for name, value in parts(whole, log_weight, log_weight)._asdict().items()}
    return split | {"marginal_kl": split["total_correlation"] + split["dimension_wise_kl"]}


class Decomposition(Measure):
    """:func:`decomposition` of an evaluation, on its first examples."""

    def __init__(self) -> None:
        self._aggregate = AggregatePosterior()

    def update(self, batch: Batch) -> None:
        """Add a batch's posteriors.

        Raises:
            UsageError: if the model's terms have none.
        """
        if batch.terms.posterior is None:
            raise UsageError(
                "decomposition needs the posterior of one Gaussian latent vector: let terms(x) fill "
                "Terms.posterior, or leave the measure out"
            )
        self._aggregate.update(batch.terms.posterior)

    def result(self, model: nn.Module, beta: float) -> dict[str, float]:
        """Return the four numbers."""
        return decomposition(self._aggregate)

    def settings(self) -> dict[str, Any]:
        """Return how many examples the aggregate posterior is of."""
        return {"examples": self._aggregate.count}
