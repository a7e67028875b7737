r"""How much of the data each latent carries, as the eigenvalues of a PCA would say it (Nakagawa et al. 2021)."""

from typing import Any

import torch
from torch import Tensor, nn

from multirate.errors import BetaError, DataError, UsageError
from multirate.inference import base_of, beta_of
from multirate.metrics.base import Batch, Measure

# Of the distortion that the papers write, the squared error itself, and of one that is half of it.
SQUARED_ERROR_FACTOR = 0.5
NEGATIVE_LOG_FACTOR = 1.0


def isometric_importance(log_variance: Tensor, beta: float, factor: float = NEGATIVE_LOG_FACTOR) -> Tensor:
    r"""Return the variance of each latent in the implicit isometric space (Kato et al. 2020; Nakagawa et al. 2021).

    .. math::
        \mathrm{Var}(y_j) \simeq c \, \beta \, E_x\!\left[\sigma_j^{-2}(x)\right]

    At an optimum of :math:`D + \beta R`, the latent space becomes isometric to the data when latent j is scaled by
    :math:`dy_j / d\mu_j = \sqrt{c \beta} / \sigma_j(x)`; with a prior of unit variance, y then has the variance above,
    which compares latents as eigenvalues compare the components of a PCA.

    The factor c follows from what D measures. The papers have :math:`D = \|x - \hat x\|^2` and hence
    :math:`c = 1/2`. A Gaussian likelihood of unit variance has half of that as its distortion, and :math:`c = 1`: the
    linear VAE's optimum has :math:`\sigma_j^2 = \min(1, \beta / \lambda_j)`, so that the importance is
    :math:`\max(\lambda_j, \beta)`, the eigenvalue itself while the latent is active. An unused latent, whose posterior
    is the prior, has :math:`c \beta`, not 0. For another likelihood D is locally a quadratic form of the change of its
    parameters, and importance is in that metric.

    Args:
        log_variance: :math:`\log \sigma_j^2` of the examples, ``[N, Z]``.
        beta: that the model was trained for, or is at.
        factor: c.

    Returns:
        ``[Z]``, float64, in the units of the data squared for c as above.

    Raises:
        BetaError: if beta is not positive.
        DataError: if the log-variances are not of shape ``[N, Z]`` with N at least 1, or not finite.
    """
    inverse = _MeanInverse()
    inverse.update(log_variance)
    return inverse.importance(beta, factor)


class _MeanInverse:
    """Mean over examples of 1 / variance, ``[Z]``, in float64."""

    def __init__(self) -> None:
        self._count = 0
        self._sum = torch.zeros(0, dtype=torch.float64)

    def update(self, log_variance: Tensor) -> None:
        values = log_variance.detach().to("cpu", torch.float64)
        if values.ndim != 2 or (self._count and values.shape[1] != self._sum.numel()):
            expected = f"[B, {self._sum.numel()}]" if self._count else "[B, Z]"
            raise DataError(f"expected log-variances of shape {expected}; got {list(values.shape)}")
        inverse = (-values).exp()
        if not bool((values.isfinite() & inverse.isfinite()).all()):
            raise DataError("a posterior variance is 0 or not finite; check the model's outputs")
        if len(inverse):
            self._sum = inverse.sum(0) + (self._sum if self._count else 0.0)
            self._count += len(inverse)

    def importance(self, beta: float, factor: float) -> Tensor:
        if not beta > 0:
            raise BetaError(f"beta must be positive; got {beta:g}")
        if not self._count:
            raise DataError("no importance from 0 examples; update with a batch first")
        return factor * beta * self._sum / self._count


class IsometricImportance(Measure):
    """:func:`isometric_importance` of an evaluation: a number a latent, in the curve's details.

    The factor is 1/2 for the likelihood ``squared_error``, whose distortion is the papers', and 1 for any other.
    """

    def __init__(self) -> None:
        self._inverse = _MeanInverse()
        self._factor = NEGATIVE_LOG_FACTOR
        self._importance: list[float] = []

    def update(self, batch: Batch) -> None:
        """Add a batch's posterior variances.

        Raises:
            UsageError: if the model has no vector of latents with a posterior variance, or several groups of them.
        """
        self._inverse.update(_log_variance(batch))
        if getattr(base_of(batch.model), "likelihood", None) == "squared_error":
            self._factor = SQUARED_ERROR_FACTOR

    def result(self, model: nn.Module, beta: float) -> dict[str, float]:
        """Return nothing: the numbers are of latents."""
        self._importance = self._inverse.importance(beta_of(model, beta), self._factor).tolist()
        return {}

    def latents(self) -> dict[str, list[float]]:
        """Return ``isometric_importance``, ``[Z]``."""
        return {"isometric_importance": self._importance}

    def settings(self) -> dict[str, Any]:
        """Return the factor c, and the distortion that it belongs to."""
        papers = self._factor == SQUARED_ERROR_FACTOR
        return {"factor": self._factor, "distortion": "squared error" if papers else "negative log-likelihood"}


def _log_variance(batch: Batch) -> Tensor:
    if batch.terms.posterior is not None:
        return batch.terms.posterior.log_variance
    variance = None if batch.terms.group_rate is not None else getattr(batch.posterior, "variance", None)
    if not isinstance(variance, Tensor) or variance.ndim != 2:
        raise UsageError(
            "isometric_importance needs the posterior variance of one vector of latents: let terms(x) fill "
            "Terms.posterior, or leave the measure out"
        )
    return variance.log()
