"""Rate and distortion with one weight between them: the objective of the beta-VAE."""

from torch import Tensor

from multirate.objectives.base import check_betas
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
