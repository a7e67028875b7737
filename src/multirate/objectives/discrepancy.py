"""The objective that compares the aggregate posterior with the prior (InfoVAE with MMD, Zhao et al. 2019)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from multirate.errors import UsageError
from multirate.objectives.base import batch_posterior
from multirate.terms import Terms


def discrepancies(sample: Tensor, bandwidths: tuple[float, ...] = (1.0,)) -> Tensor:
    r"""Estimate the squared maximum mean discrepancy between samples and the standard normal, sample by sample.

    .. math::
        \mathrm{MMD}^2 = E\,k(z, z') - 2\,E\,k(z, \zeta) + E\,k(\zeta, \zeta'), \qquad
        k(a, b) = \exp\Bigl(-\frac{\|a - b\|^2}{2h}\Bigr), \qquad h = cZ

    Its first mean is over pairs of different samples (a U-statistic), so that the mean of the result is unbiased for
    independent samples, and can be negative. The means over the prior are closed forms; no prior samples are drawn:

    .. math::
        E\,k(z, \zeta) = \Bigl(\frac{h}{h+1}\Bigr)^{Z/2} \exp\Bigl(-\frac{\|z\|^2}{2(h+1)}\Bigr), \qquad
        E\,k(\zeta, \zeta') = \Bigl(\frac{h}{h+2}\Bigr)^{Z/2}

    Args:
        sample: ``[B, Z]``, B at least 2.
        bandwidths: c, the squared bandwidth over the number of latents; of several, the mean of the kernels is taken.

    Returns:
        ``[B]``, each between -2 and 2; its mean is the estimate.
    """
    examples, latents = sample.shape
    # Differences, not products: no cancellation for codes far from 0, and no low precision from autocast.
    squares = torch.cdist(sample, sample, compute_mode="donot_use_mm_for_euclid_dist").square()
    norms = sample.square().sum(-1)
    same = torch.eye(examples, dtype=torch.bool, device=sample.device)
    total = torch.zeros_like(norms)
    for ratio in bandwidths:
        h = ratio * latents
        among = (-squares / (2 * h)).exp().masked_fill(same, 0.0).sum(-1) / (examples - 1)
        across = (h / (h + 1)) ** (latents / 2) * (-norms / (2 * (h + 1))).exp()
        total = total + (among - 2 * across + (h / (h + 2)) ** (latents / 2))
    return total / len(bandwidths)


@dataclass(frozen=True)
class InfoVAE:
    r"""Objective of the InfoVAE with maximum mean discrepancy (Zhao, Song and Ermon 2019): beta weighs the MMD.

    .. math:: L = D + (1 - \alpha) R + (\alpha + \beta - 1)\, \mathrm{MMD}^2(q(z), p(z))

    Beta is the paper's :math:`\lambda` for every alpha. With the default alpha of 1, the paper's MMD-VAE, the rate has
    no weight and beta is the weight of the discrepancy; with alpha 0 and beta 1 it is the ELBO. The discrepancy is at
    most 2, so that beta has to be large beside that of a beta-VAE: the paper uses 1000 for images. With alpha below 1,
    a beta below ``1 - alpha`` rewards discrepancy.

    Args:
        alpha: at most 1.
        bandwidths: of the kernel, see :func:`discrepancies`; add larger ones where codes start far from the prior, for
            the gradient vanishes where no prior sample is near.

    Raises:
        UsageError: if an argument cannot be right; when called, if the model gives no posterior or the batch is of one
            example.
        BetaError: when called, if the batch has more than one beta.
    """

    couples_examples: ClassVar[bool] = True

    alpha: float = 1.0
    bandwidths: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.alpha) and self.alpha <= 1):
            raise UsageError(f"alpha must be finite and at most 1; got {self.alpha:g}")
        if not self.bandwidths or not all(math.isfinite(c) and c > 0 for c in self.bandwidths):
            raise UsageError(f"bandwidths must be at least one number above 0; got {self.bandwidths}")

    def __call__(self, terms: Terms, beta: float | Tensor) -> Tensor:
        """Return the loss of each example in nats, ``[B]``."""
        posterior = batch_posterior(terms, beta, "InfoVAE")
        discrepancy = discrepancies(posterior.sample, self.bandwidths)
        loss = terms.distortion + (1 - self.alpha) * terms.rate + (self.alpha + beta - 1) * discrepancy
        return terms.with_extra(loss)
