"""What an objective is, and what it asks of terms and beta."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from multirate.errors import BetaError, UsageError
from multirate.terms import GaussianPosterior, Terms

# Terms of a batch and beta, one number or one an example, to nats, [B]; with the terms' extra loss, if there is any.
Objective: TypeAlias = Callable[[Terms, float | Tensor], Tensor]


def couples_examples(objective: Objective) -> bool:
    """Return whether an example's value depends on the rest of its batch, which then must share one beta.

    Args:
        objective: any; one without an attribute ``couples_examples`` takes its examples one by one.
    """
    return bool(getattr(objective, "couples_examples", False))


def check_betas(terms: Terms, beta: float | Tensor) -> None:
    """Raise unless beta is one number, or one an example.

    Args:
        terms: of the batch.
        beta: of the batch.

    Raises:
        BetaError: naming its shape.
    """
    if isinstance(beta, Tensor) and beta.ndim and beta.shape != terms.rate.shape:
        raise BetaError(
            f"{list(beta.shape)} betas for {terms.rate.shape[0]} examples; pass one number, or one an example, [B]"
        )


def check_one_beta(terms: Terms, beta: float | Tensor, objective: str) -> None:
    """Raise unless the whole batch has one beta; values are not looked at while a model is compiled.

    Args:
        terms: of the batch.
        beta: one number, or the same one for each example, ``[B]``.
        objective: its name, for the message.

    Raises:
        BetaError: naming two betas of the batch that differ.
    """
    check_betas(terms, beta)
    if isinstance(beta, Tensor) and beta.ndim and beta.numel() and not torch.compiler.is_compiling():
        low, high = (float(end) for end in torch.aminmax(beta.detach()))
        if low != high:
            raise BetaError(
                f"{objective} compares the examples of a batch, which must share one beta; "
                f"got {low:g} to {high:g}: draw one beta a batch"
            )


def batch_posterior(terms: Terms, beta: float | Tensor, objective: str) -> GaussianPosterior:
    """Return the posteriors of a batch to an objective that compares them.

    Args:
        terms: of the batch.
        beta: one for the whole batch.
        objective: its name, for messages.

    Raises:
        UsageError: if the model gives no posterior, or the batch has fewer than two examples.
        BetaError: if the batch has more than one beta.
    """
    check_one_beta(terms, beta, objective)
    if terms.posterior is None:
        raise UsageError(
            f"{objective} needs the posterior of one Gaussian latent vector and the model gives none: have terms(x) "
            "fill posterior=GaussianPosterior(mean, log_variance, sample)"
        )
    examples = terms.posterior.mean.shape[0]
    if examples < 2:
        raise UsageError(f"{objective} compares the examples of a batch and got {examples}; give it at least 2")
    return terms.posterior
