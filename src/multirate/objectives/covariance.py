"""The objective that drives the latents' covariance to the identity (DIP-VAE, Kumar et al. 2018)."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from multirate.errors import UsageError
from multirate.objectives.base import batch_posterior
from multirate.terms import GaussianPosterior, Terms

KINDS = ("i", "ii")
# Weight of the diagonal beside that of the rest, as in the paper's experiments.
_RATIOS = {"i": 10.0, "ii": 1.0}


@dataclass(frozen=True)
class DIPVAE:
    r"""Objective of DIP-VAE-I and DIP-VAE-II (Kumar, Sattigeri and Balakrishnan 2018): beta weighs a penalty.

    .. math:: L = D + R + \beta \Bigl(\sum_{i \ne j} C_{ij}^2 + \rho \sum_i (C_{ii} - 1)^2\Bigr)

    The rate has weight 1 throughout; beta is the paper's :math:`\lambda_{od}` and :math:`\rho\beta` its
    :math:`\lambda_d`. C is a covariance over the batch, divided by its size B:

    - kind ``"i"``: of the posterior means;
    - kind ``"ii"``: of the aggregate posterior, which adds the mean of the posterior variances to the diagonal.

    The penalty is one number for the batch, and part of each example's loss.

    Args:
        kind: ``"i"`` or ``"ii"``.
        ratio: weight of the diagonal, :math:`\rho`; None: that of the paper's experiments, 10 for I and 1 for II.

    Raises:
        UsageError: if an argument cannot be right; when called, if the model gives no posterior or the batch is of one
            example.
        BetaError: when called, if the batch has more than one beta.
    """

    couples_examples: ClassVar[bool] = True

    kind: Literal["i", "ii"] = "ii"
    ratio: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"kind of a DIP-VAE must be one of {', '.join(KINDS)}; got {self.kind!r}")
        if self.ratio is not None and not (math.isfinite(self.ratio) and self.ratio >= 0):
            raise UsageError(f"ratio must be finite and not negative; got {self.ratio:g}")

    def __call__(self, terms: Terms, beta: float | Tensor) -> Tensor:
        """Return the loss of each example in nats, ``[B]``."""
        posterior = batch_posterior(terms, beta, f"DIP-VAE-{self.kind.upper()}")
        return terms.with_extra(terms.distortion + terms.rate + beta * self.penalty(posterior))

    def penalty(self, posterior: GaussianPosterior) -> Tensor:
        """Return what beta weighs, ``[]``; 0 for whitened latents.

        Args:
            posterior: of the batch, ``[B, Z]``.
        """
        covariance = _covariance(posterior.mean)
        if self.kind == "ii":
            covariance = covariance + posterior.log_variance.exp().mean(0).diag()
        diagonal = covariance.diagonal()
        rest = covariance.square().sum() - diagonal.square().sum()
        ratio = _RATIOS[self.kind] if self.ratio is None else self.ratio
        return rest + ratio * (diagonal - 1).square().sum()


def _covariance(means: Tensor) -> Tensor:
    """Return the covariance over examples, divided by their number, ``[Z, Z]``; mixed precision would lose it."""
    centred = means - means.mean(0)
    with torch.autocast(means.device.type, enabled=False):
        return centred.T @ centred / means.shape[0]
