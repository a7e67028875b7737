"""Rate and distortion with one weight between them: the objective of the beta-VAE, and that of learned compression."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from multirate.errors import UsageError
from multirate.objectives.base import Objective, check_betas, couples_examples
from multirate.terms import Terms


def beta_vae(terms: Terms, beta: float | Tensor) -> Tensor:
    r"""Return :math:`L_\beta = D + \beta R` of each example (Bae et al. 2023, Eq. 3; Higgins et al. 2017).

    Args:
        terms: rate and distortion, ``[B]``.
        beta: one number, or one an example, ``[B]``.

    Returns:
        Nats, ``[B]``.

    Raises:
        BetaError: if beta is neither one number nor one an example.
    """
    check_betas(terms, beta)
    return terms.objective(beta)


def weighted(terms: Terms, weight: float | Tensor, weighs: Literal["rate", "distortion"] = "rate") -> Tensor:
    r"""Return what a training step minimises, for a loop of one's own over a range of either kind.

    :math:`D + \beta R` where the weight is beta, :math:`(R + \lambda D) / \lambda` where it is lambda, with the terms'
    extra loss added. Of a model it is ``weighted(terms, weight, model.beta_range.weighs)``.

    Args:
        terms: rate and distortion, ``[B]``.
        weight: of the range, one number, or one an example, ``[B]``.
        weighs: what it weighs: that of the range, :class:`multirate.BetaRange`.

    Returns:
        Nats, ``[B]``.

    Raises:
        BetaError: if the weight is neither one number nor one an example.
        UsageError: if ``weighs`` is neither ``"rate"`` nor ``"distortion"``.
    """
    if weighs == "rate":
        return beta_vae(terms, weight)
    if weighs != "distortion":
        raise UsageError(f"weighs must be 'rate' or 'distortion'; got {weighs!r}")
    return DistortionWeighted()(terms, weight)


@dataclass(frozen=True)
class DistortionWeighted:
    r"""An objective of beta as one of :math:`\lambda = 1 / \beta`, which weighs the distortion.

    .. math:: \lambda^p L_{1 / \lambda}

    For :math:`L_\beta = D + \beta R` and p = 1 this is :math:`R + \lambda D`, and :math:`D + R / \lambda` for p = 0. At
    every lambda the optimum is the same whatever p; over a range p decides how much each lambda counts in the average
    that training minimises. The default is what measured better (docs/two-terms.md). The terms' extra loss is added
    after it.

    Args:
        objective: of terms and beta.
        power: :math:`p`.

    Raises:
        UsageError: if the power is not finite.
    """

    objective: Objective = beta_vae
    power: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.power):
            raise UsageError(f"power must be finite; got {self.power}")

    @property
    def couples_examples(self) -> bool:
        """Whether a batch must share one lambda: as with the objective itself."""
        return couples_examples(self.objective)

    def __call__(self, terms: Terms, weight: float | Tensor) -> Tensor:
        """Return the loss of each example in nats, ``[B]``."""
        check_betas(terms, weight)
        bare = dataclasses.replace(terms, extra=None)
        return terms.with_extra(weight**self.power * self.objective(bare, 1 / weight))
