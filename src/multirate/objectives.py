"""What training minimises: a loss for each example from its terms and its beta."""

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from multirate.errors import BetaError
from multirate.terms import Terms

Objective: TypeAlias = Callable[[Terms, float | Tensor], Tensor]


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
    if isinstance(beta, Tensor) and beta.ndim and beta.shape != terms.rate.shape:
        raise BetaError(
            f"{list(beta.shape)} betas for {terms.rate.shape[0]} examples; pass one number, or one an example, [B]"
        )
    return terms.objective(beta)
