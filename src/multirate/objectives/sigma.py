"""The objective whose likelihood has the best variance for each batch: the sigma-VAE (Rybkin et al. 2021)."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from multirate.errors import UsageError
from multirate.objectives.base import check_one_beta
from multirate.terms import Terms

# A batch that is reproduced exactly would have a variance of 0 and a likelihood without bound.
_LEAST_VARIANCE = 1e-8


@dataclass(frozen=True)
class SigmaVAE:
    r"""Objective of the sigma-VAE with optimal variance (Rybkin, Daniilidis and Levine 2021, Eq. 5).

    .. math:: L = \tfrac d2 \log(2 \pi e\, \sigma_*^2) + R, \qquad \sigma_*^2 = \tfrac{1}{d} E \|x - \mu(z)\|^2

    :math:`\mu` is the mean of the model's likelihood, whichever that is, and E the mean over the batch. An example's
    value is its Gaussian negative log-likelihood at the batch's variance, and its rate; these average to the above.
    The derivative of L in :math:`\sigma_*^2` is 0, so that the variance is held while the gradient is taken: it is that
    of a beta-VAE at :math:`\beta = \sigma_*^2` beside a Gaussian of unit variance, divided by :math:`\sigma_*^2`.

    It has no beta of its own: the one that it is called with is not used. One network gives one point of a curve, at
    the beta of :func:`optimal_beta`. With several processes each takes the variance of its own share of the batch.

    Raises:
        UsageError: when called, if the model's terms have no reconstruction.
        BetaError: when called, if the batch has more than one beta.
    """

    couples_examples: ClassVar[bool] = True

    def __call__(self, terms: Terms, beta: float | Tensor) -> Tensor:
        """Return the loss of each example in nats, ``[B]``."""
        check_one_beta(terms, beta, "sigma-VAE")
        if terms.reconstruction is None:
            raise UsageError(
                "sigma-VAE needs the mean of the likelihood and the model gives none: have terms(x) fill "
                "reconstruction=Reconstruction(likelihood, x)"
            )
        error = terms.reconstruction.squared_error()
        dimensions = terms.reconstruction.dimensions
        variance = (error.detach().mean() / dimensions).clamp(min=_LEAST_VARIANCE)
        loss = 0.5 * dimensions * (math.log(2 * math.pi) + variance.log()) + 0.5 * error / variance + terms.rate
        return terms.with_extra(loss)


def optimal_beta(likelihood: str | None, variance: float) -> float:
    r"""Return the beta at which :math:`D + \beta R` has the gradient of a sigma-VAE, up to a factor.

    Args:
        likelihood: in which the distortion D is measured. Beside ``"gaussian"`` of unit variance beta is
            :math:`\sigma_*^2`; beside ``"squared_error"``, which is twice as large, :math:`2 \sigma_*^2`. Any other
            distortion is no multiple of the squared error, and no beta makes the two the same: it is 1, the ELBO's.
        variance: :math:`\sigma_*^2`, of the whole training data.
    """
    return {"gaussian": variance, "squared_error": 2 * variance}.get(likelihood or "", 1.0)
