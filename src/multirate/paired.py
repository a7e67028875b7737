"""What makes differences between the points of one evaluation precise: the same examples, the same noise."""

import torch
from torch import Tensor

from multirate.curve import FloatArray
from multirate.terms import Terms

# Examples are dealt out to so many groups; the spread of their means tells the noise to 2%.
GROUPS = 1000
# Fewer tell nothing.
FEWEST = 8
# Examples and numbers whose draws are compared.
_EXAMPLES = 16
_AGREES = 1e-3


class GroupSums:
    """Sums of rate and distortion over groups of examples at one beta: example ``i`` is of group ``i % GROUPS``.

    The groups are the same at every beta, so that their deviations give the noise of differences between betas; and
    they take the same memory however many examples there are.
    """

    def __init__(self) -> None:
        self._sums = torch.zeros(2, GROUPS, dtype=torch.float64)

    def add(self, rate: Tensor, distortion: Tensor, first: int) -> None:
        """Add a batch.

        Args:
            rate: of each example, ``[B]``.
            distortion: likewise.
            first: place of the first example in the data; the others follow it.
        """
        groups = torch.arange(first, first + len(rate)) % GROUPS
        self._sums.index_add_(1, groups, torch.stack([rate.double(), distortion.double()]).cpu())

    def deviations(self, examples: int, samples: int) -> FloatArray:
        r"""Return deviations of the groups from the mean, ``[2, K]``, of rate and of distortion.

        Their inner products are covariances of the means: with :math:`n_k` examples in group :math:`k`, of :math:`N`,
        and :math:`S_k` the sum over them,

        .. math:: \frac{S_k - n_k \bar S}{\sqrt{n_k (K - 1) N}}.

        Args:
            examples: that were added.
            samples: how often each was.
        """
        count = min(GROUPS, examples)
        sizes = torch.arange(examples - 1, examples - 1 - count, -1).div(GROUPS, rounding_mode="floor").double() + 1
        sums = self._sums[:, :count] / samples
        mean = sums.sum(1, keepdim=True) / examples
        scaled: FloatArray = ((sums - sizes * mean) / (sizes * max(count - 1, 1) * examples).sqrt()).numpy()
        return scaled


class Draws:
    """The noise of a Gaussian posterior in the first batch at one beta: ``sample = mean + deviation * noise``.

    Args:
        terms: of the first batch.
    """

    def __init__(self, terms: Terms) -> None:
        self._parts: tuple[Tensor, Tensor, Tensor] | None = None
        if terms.posterior is not None:
            posterior = terms.posterior
            self._eps = torch.finfo(posterior.sample.dtype).eps
            first = (part.detach()[:_EXAMPLES] for part in (posterior.mean, posterior.log_variance, posterior.sample))
            mean, log_variance, sample = (part.double().cpu() for part in first)
            self._parts = mean, (log_variance / 2).exp().clamp(min=torch.finfo(torch.float64).tiny), sample

    def differ(self, other: "Draws") -> bool:
        """Return whether the same noise cannot have given both samples; False where there is no Gaussian posterior.

        Args:
            other: of the same examples at another beta.
        """
        if self._parts is None or other._parts is None or self._parts[0].shape != other._parts[0].shape:
            return False
        noises, rooms = [], []
        for mean, deviation, sample in (self._parts, other._parts):
            noises.append((sample - mean) / deviation)
            rooms.append(8 * self._eps * (1 + (mean.abs() + sample.abs()) / deviation))
        apart = (noises[0] - noises[1]).abs() > _AGREES + rooms[0] + rooms[1]
        return bool(apart.double().mean() > 0.5)
