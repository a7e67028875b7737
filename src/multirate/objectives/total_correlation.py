r"""The rate split in three, and the objective that weighs its middle part (beta-TCVAE, Chen et al. 2018).

.. math::
    E_x\,\mathrm{KL}(q(z|x) \,\|\, p(z)) = I_q(x; z)
    + \mathrm{KL}\Bigl(q(z) \,\Big\|\, \prod_j q(z_j)\Bigr) + \sum_j \mathrm{KL}(q(z_j) \,\|\, p(z_j))
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from multirate.errors import UsageError
from multirate.objectives.aggregate import aggregate_log_densities
from multirate.objectives.base import batch_posterior
from multirate.terms import GaussianPosterior, Terms, diagonal_gaussian

Estimator = Literal["stratified", "weighted"]
ESTIMATORS = ("stratified", "weighted")


class Decomposition(NamedTuple):
    r"""The three parts of the rate, in nats; they sum to :math:`\log q(z|x) - \log p(z)` at the sample."""

    mutual_information: Tensor
    """Between examples and their latents, ``[B]``: what the latents tell about which example it was."""
    total_correlation: Tensor
    """Among the latents, ``[B]``: how far the aggregate posterior is from independent latents."""
    dimension_wise_kl: Tensor
    """From the prior, latent by latent, summed, ``[B]``."""


def log_weights(estimator: Estimator, examples: int, dataset_size: int) -> tuple[float, float]:
    r"""Return the log weights that estimate the aggregate posterior of N examples from a batch of M.

    ``"stratified"``: the example that a sample came from stands for itself, with weight :math:`1/N`; the M - 1 others,
    drawn without replacement from the N - 1 that are left, stand for those, with weight
    :math:`\frac{N-1}{N (M-1)}` each. The weights sum to 1, the density is unbiased for each example, and exact where
    the batch is the whole data set. Chen et al. (2018, appendix C.2) give M - 2 of the others :math:`1/(M-1)` and one
    :math:`\frac{N-M+1}{N (M-1)}`; the mean of theirs over which one that is are these weights, which vary less and do
    not depend on the order of the batch.

    ``"weighted"``: :math:`\frac{1}{NM}` each (their Eq. 3), which sum to :math:`1/N`. It is not unbiased: with q* the
    density under the sample's own posterior, the mean over batches is
    :math:`\frac{1}{NM}\bigl(q^* + (M-1) \frac{N q - q^*}{N-1}\bigr)`, about N times too small. Taking N out of it
    shifts mutual information by :math:`\log N`, total correlation by :math:`(Z-1) \log N` and dimension-wise KL by
    :math:`-Z \log N`, and leaves gradients as they are; they count the sample's own posterior N/M times too often.

    Args:
        estimator: one of :data:`ESTIMATORS`.
        examples: in the batch, M.
        dataset_size: N.

    Returns:
        The log weight of a sample's own posterior, and of each other one in the batch.

    Raises:
        UsageError: if the estimator is unknown, or the batch has fewer than two examples or more than the data set.
    """
    if not 2 <= examples <= dataset_size:
        raise UsageError(
            f"the aggregate posterior of {dataset_size} examples is estimated from at least 2 and at most all of them; "
            f"got a batch of {examples}: set dataset_size to the number of training examples"
        )
    if estimator == "stratified":
        return -math.log(dataset_size), math.log((dataset_size - 1) / (dataset_size * (examples - 1)))
    if estimator == "weighted":
        return -math.log(dataset_size * examples), -math.log(dataset_size * examples)
    raise UsageError(f"estimator must be one of {', '.join(ESTIMATORS)}; got {estimator!r}")


def decompose(posterior: GaussianPosterior, dataset_size: int, estimator: Estimator = "stratified") -> Decomposition:
    r"""Estimate the three parts of the rate of each example from a batch.

    .. math::
        \log q(z|x) - \log \hat q(z), \qquad \log \hat q(z) - \sum_j \log \hat q(z_j), \qquad
        \sum_j \log \hat q(z_j) - \log p(z)

    with :math:`\hat q` as :func:`log_weights` describes. Logarithms of unbiased densities are not themselves unbiased:
    total correlation and mutual information come out the higher, the smaller the batch is beside the data set.

    Args:
        posterior: of a batch, all at one beta, ``[M, Z]``.
        dataset_size: number of training examples, N.
        estimator: one of :data:`ESTIMATORS`.

    Returns:
        Three tensors ``[M]``.

    Raises:
        UsageError: if the estimator is unknown, or the batch has fewer than two examples or more than the data set.
    """
    own, other = log_weights(estimator, posterior.sample.shape[0], dataset_size)
    return parts(posterior, own, other)


def parts(posterior: GaussianPosterior, own: float, other: float) -> Decomposition:
    """Return the three parts of the rate for a given mixture, whose weights :func:`decompose` derives from a batch.

    Args:
        posterior: ``[B, Z]``.
        own: log weight of a sample's own posterior in the aggregate one.
        other: log weight of each other.
    """
    joint, marginals = aggregate_log_densities(posterior, own, other)
    product = marginals.sum(-1)
    zeros = torch.zeros_like(posterior.mean)
    conditional = diagonal_gaussian(posterior.mean, posterior.log_variance).log_prob(posterior.sample)
    prior = diagonal_gaussian(zeros, zeros).log_prob(posterior.sample)
    return Decomposition(conditional - joint, joint - product, product - prior)


@dataclass(frozen=True)
class BetaTCVAE:
    r"""Objective of the beta-TCVAE (Chen et al. 2018, Eq. 4 with alpha = gamma = 1): beta weighs total correlation.

    .. math:: L = D + I_q(x; z) + \beta\, TC + \sum_j \mathrm{KL}(q(z_j) \,\|\, p(z_j)) = D + R + (\beta - 1)\, TC

    Below 1, beta rewards total correlation, as in the paper.

    Args:
        dataset_size: number of training examples.
        estimator: of the aggregate posterior from a batch, ``"stratified"`` or ``"weighted"``; see :func:`log_weights`.
        analytic_rate: take the rate in closed form, so that beta 1 is the ELBO itself and the samples' noise enters
            through the total correlation alone; False: take all three parts at the samples, as the paper writes them.
            Both have the same mean over samples.

    Raises:
        UsageError: if an argument cannot be right; when called, if the model gives no posterior or the batch is larger
            than the data set or of one example.
        BetaError: when called, if the batch has more than one beta.
    """

    couples_examples: ClassVar[bool] = True

    dataset_size: int
    estimator: Estimator = "stratified"
    analytic_rate: bool = True

    def __post_init__(self) -> None:
        log_weights(self.estimator, 2, self.dataset_size)

    def __call__(self, terms: Terms, beta: float | Tensor) -> Tensor:
        """Return the loss of each example in nats, ``[B]``."""
        posterior = batch_posterior(terms, beta, "beta-TCVAE")
        split = decompose(posterior, self.dataset_size, self.estimator)
        rate = terms.rate if self.analytic_rate else sum(split, start=torch.zeros_like(terms.rate))
        return terms.with_extra(terms.distortion + rate + (beta - 1) * split.total_correlation)
