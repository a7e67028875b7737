r"""What a VAE is, for training and curves: a rate and a distortion for each example, in nats.

Likelihoods keep all their constants, so that ELBOs of different models of the same data can be compared.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, Normal

from multirate.errors import UsageError


@dataclass(frozen=True)
class GaussianPosterior:
    r"""A diagonal Gaussian posterior of each example, and the sample at which its distortion was measured.

    Args:
        mean: ``[B, Z]``.
        log_variance: :math:`\log\sigma^2`, ``[B, Z]``.
        sample: :math:`z \sim q(z|x)`, ``[B, Z]``.
    """

    mean: Tensor
    log_variance: Tensor
    sample: Tensor


@dataclass(frozen=True)
class Reconstruction:
    r"""What a model says that the data are, beside the data: held by reference, computed from when it is asked for.

    Args:
        likelihood: :math:`p(x|z)` at the posterior sample, with batch shape ``[B]``.
        x: data, ``[B, ...]``.
    """

    likelihood: Distribution
    x: Tensor

    @property
    def dimensions(self) -> int:
        """Values of one example."""
        return math.prod(self.x.shape[1:])

    def squared_error(self) -> Tensor:
        r"""Return :math:`\|x - \mu\|^2` with the likelihood's mean, summed over all but the batch, ``[B]``."""
        return (self.x - self.likelihood.mean).flatten(1).square().sum(-1)


@dataclass(frozen=True)
class Terms:
    r"""Rate and distortion of each example of a batch, in nats.

    Args:
        rate: :math:`\mathrm{KL}(q(z|x) \,\|\, p(z))`, ``[B]``.
        distortion: :math:`-\log p(x|z)` at one posterior sample, constants kept, ``[B]``.
        latent_rate: the rate of each latent where it splits into a sum, ``[B, Z]``; it sums to ``rate``.
        group_rate: the rate of each group of latents of a hierarchical model, ``[B, G]``; it sums to ``rate``.
        posterior: of a model with one Gaussian latent vector; objectives that look beyond rate and distortion need it.
        dimensions: how many values of the data the distortion sums over, ``[B]``: pixels times channels, or the words
            of a text with its end. Bits per dimension and perplexity divide by it.
        reconstruction: likelihood and data, for objectives and measures that look at the error itself; of a model whose
            likelihood has a mean like the data.
        extra: what training adds to each example's objective as it is, whatever weighs rate and distortion, ``[B]``: a
            perceptual or adversarial loss, the auxiliary loss of an entropy model. It is no part of rate, distortion,
            ELBO or curve. A loss of the whole batch is given as ``loss.expand(len(x))``.

    Raises:
        UsageError: if ``rate``, ``distortion`` and, if given, ``extra`` are not all of shape ``[B]``.
    """

    rate: Tensor
    distortion: Tensor
    latent_rate: Tensor | None = None
    group_rate: Tensor | None = None
    posterior: GaussianPosterior | None = None
    dimensions: Tensor | None = None
    reconstruction: Reconstruction | None = None
    extra: Tensor | None = None

    def __post_init__(self) -> None:
        if self.rate.ndim != 1 or self.rate.shape != self.distortion.shape:
            raise UsageError(
                "rate and distortion must both be one number an example, [B]; got "
                f"{list(self.rate.shape)} and {list(self.distortion.shape)}: "
                "sum over pixels and latents, not over the batch"
            )
        if self.extra is not None and self.extra.shape != self.rate.shape:
            raise UsageError(
                f"extra must be one number an example, {list(self.rate.shape)}; got {list(self.extra.shape)}: "
                "give a loss of the whole batch as loss.expand(len(x))"
            )

    @property
    def elbo(self) -> Tensor:
        r"""Evidence lower bound, :math:`-(D + R)`, ``[B]``."""
        return -(self.distortion + self.rate)

    def objective(self, beta: float | Tensor) -> Tensor:
        r"""Return :math:`L_\beta = D + \beta R` (Bae et al. 2023, Eq. 3), ``[B]``, and ``extra`` if there is any.

        Args:
            beta: one number, or one an example, ``[B]``.
        """
        return self.with_extra(self.distortion + beta * self.rate)

    def with_extra(self, loss: Tensor) -> Tensor:
        """Return a loss of each example, ``[B]``, to which ``extra`` is added; without any, the loss as it is."""
        return loss if self.extra is None else loss + self.extra


def at_least_float32(values: Tensor) -> Tensor:
    """Undo autocast's low precision, in which exponentials overflow and sums over pixels lose the nats.

    Args:
        values: floating, of any shape; returned as they are unless they are float16 or bfloat16.
    """
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""KL divergence of a diagonal Gaussian from the standard one, latent by latent.

    .. math:: \mathrm{KL}_j = \tfrac12 (\mu_j^2 + \sigma_j^2 - 1 - \log\sigma_j^2)

    Computed with ``expm1``, so that it stays accurate and non-negative near the prior.

    Args:
        mean: ``[..., Z]``.
        log_variance: :math:`\log\sigma^2`, ``[..., Z]``.

    Returns:
        Nats, ``[..., Z]``; float32 where the arguments have less.
    """
    mean, log_variance = at_least_float32(mean), at_least_float32(log_variance)
    return 0.5 * (mean.square() + (torch.expm1(log_variance) - log_variance))


def diagonal_gaussian(mean: Tensor, log_variance: Tensor) -> Distribution:
    """Posterior or prior with independent latents.

    Args:
        mean: ``[B, Z]``.
        log_variance: ``[B, Z]``.

    Returns:
        A distribution with batch shape ``[B]`` and event shape ``[Z]``; arguments are not validated.
    """
    return Independent(Normal(mean, (0.5 * log_variance).exp(), validate_args=False), 1, validate_args=False)


def bernoulli(logits: Tensor) -> Distribution:
    r"""Likelihood of binary data, :math:`-\log p = \mathrm{softplus}(l) - x l` summed over the event.

    Args:
        logits: ``[B, ...]``.

    Returns:
        A distribution with batch shape ``[B]``.
    """
    logits = at_least_float32(logits)
    return Independent(Bernoulli(logits=logits, validate_args=False), logits.ndim - 1, validate_args=False)


def gaussian(mean: Tensor, variance: float | Tensor = 1.0) -> Distribution:
    r"""Gaussian likelihood, :math:`-\log p = \tfrac12 (x - \mu)^2 / v + \tfrac12 \log(2 \pi v)` summed over the event.

    Args:
        mean: ``[B, ...]``.
        variance: one number (1 by default), or a tensor that broadcasts with ``mean``.

    Returns:
        A distribution with batch shape ``[B]``.

    Raises:
        UsageError: if the variance is a number that is not positive and finite.
    """
    mean = at_least_float32(mean)
    if isinstance(variance, Tensor):
        scale = at_least_float32(variance).sqrt().expand_as(mean)
    elif math.isfinite(variance) and variance > 0:
        scale = torch.full_like(mean, math.sqrt(variance))
    else:
        raise UsageError(f"a Gaussian likelihood needs a variance above 0; got {variance}")
    return Independent(Normal(mean, scale, validate_args=False), mean.ndim - 1, validate_args=False)


def squared_error(mean: Tensor) -> Distribution:
    r"""Summed squared error in the place of a likelihood, :math:`\|x - \mu\|^2`.

    It is a Gaussian of variance 1/2 without its constant :math:`\tfrac d2 \log\pi`: distortions of this kind compare
    with each other only, and beta weighs twice as little as beside unit variance (Bae et al. 2023 use it for colour).

    Args:
        mean: ``[B, ...]``.

    Returns:
        A distribution with batch shape ``[B]``, whose ``log_prob`` lacks that constant.
    """
    return Independent(_SquaredError(at_least_float32(mean)), mean.ndim - 1, validate_args=False)


class _SquaredError(Normal):
    """A Gaussian of variance 1/2 whose log density is minus the squared error, without constant."""

    def __init__(self, mean: Tensor) -> None:
        super().__init__(mean, torch.full_like(mean, math.sqrt(0.5)), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return minus the squared error, of the shape of ``value``."""
        return -(value - self.loc).square()


def categorical(logits: Tensor) -> Distribution:
    r"""Likelihood of data with K values, :math:`-\log p = \mathrm{logsumexp}(l) - l_x` summed over the event.

    Args:
        logits: unnormalised, values along the last axis, ``[B, ..., K]``.

    Returns:
        A distribution with batch shape ``[B]`` over integers of shape ``[B, ...]``.
    """
    logits = at_least_float32(logits)
    return Independent(Categorical(logits=logits, validate_args=False), logits.ndim - 2, validate_args=False)


def distortion(likelihood: Distribution, x: Tensor) -> Tensor:
    r"""Return :math:`-\log p(x|z)` of each example.

    Args:
        likelihood: ``p(x|z)`` with batch shape ``[B]``.
        x: data, ``[B, ...]``.

    Returns:
        Nats, ``[B]``.

    Raises:
        UsageError: if the likelihood does not give one number an example.
    """
    negative: Tensor = -likelihood.log_prob(x)
    if negative.shape != x.shape[:1]:
        raise UsageError(
            f"the likelihood gives shape {list(negative.shape)} for a batch of {x.shape[0]}; "
            "wrap it in torch.distributions.Independent so that it gives one number an example"
        )
    return negative
