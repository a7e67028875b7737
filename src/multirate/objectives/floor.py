"""The objective in which some nats of each latent are free (free bits, Kingma et al. 2016)."""

import math
from dataclasses import dataclass

from torch import Tensor

from multirate.errors import UsageError
from multirate.objectives.base import check_betas, check_one_beta
from multirate.terms import Terms


@dataclass(frozen=True)
class FreeBits:
    r"""Objective with free bits (Kingma et al. 2016): beta weighs the rate above a floor.

    .. math:: L = D + \beta \sum_j \max(\lambda, \mathrm{KL}_j)

    j runs over the groups of a hierarchical model's latents, or over single latents, and :math:`\mathrm{KL}_j` is the
    mean over the batch, as in the paper: a latent at or below the floor has no gradient from the rate. An example's
    value has its own rate of each latent that is above the floor on the mean, so that values average to the above.

    Args:
        nats: the floor of a latent or group, :math:`\lambda`, in nats.
        per_example: compare each example's own rates with the floor, in place of their mean over the batch; then each
            example may have its own beta.

    Raises:
        UsageError: if the floor cannot be right; when called, if the model gives no rates of groups or latents.
        BetaError: when called, if the batch has more than one beta, unless ``per_example``.
    """

    nats: float
    per_example: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.nats) and self.nats >= 0):
            raise UsageError(f"free bits must be finite and not negative; got {self.nats:g} nats")

    @property
    def couples_examples(self) -> bool:
        """Whether a batch must share one beta: unless ``per_example``."""
        return not self.per_example

    def __call__(self, terms: Terms, beta: float | Tensor) -> Tensor:
        """Return the loss of each example in nats, ``[B]``."""
        if self.per_example:
            check_betas(terms, beta)
        else:
            check_one_beta(terms, beta, "free bits")
        rates = terms.latent_rate if terms.group_rate is None else terms.group_rate
        if rates is None:
            raise UsageError(
                "free bits need the rate of each latent and the model gives none: have terms(x) fill latent_rate, "
                "[B, Z], or group_rate, [B, G]"
            )
        compared = rates if self.per_example else rates.mean(0)
        return terms.with_extra(terms.distortion + beta * rates.where(compared > self.nats, self.nats).sum(-1))
