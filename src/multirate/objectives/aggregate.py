r"""Log densities of the aggregate posterior, a mixture of the posteriors of all examples, in bounded memory.

The density of sample i under the mixture, and that of each of its latents, are log-sum-exps over components j of

.. math:: a_{ijd} = \log N(z_{id}; \mu_{jd}, \sigma_{jd}^2)

Of the ``[B, B, Z]`` values only a few rows exist at a time: the gradient is written out, and computes them again.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from multirate.terms import GaussianPosterior

# Values of a_ijd that exist at a time, per buffer.
CHUNK = 2**18

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def aggregate_log_densities(
    posterior: GaussianPosterior, own: float, other: float, chunk: int = CHUNK
) -> tuple[Tensor, Tensor]:
    r"""Return the log density of each sample, and of each of its latents, under a mixture of all posteriors.

    .. math::
        \log \hat q(z_i) = \log \sum_j w_{ij} \exp \sum_d a_{ijd}, \qquad
        \log \hat q(z_{id}) = \log \sum_j w_{ij} \exp a_{ijd}

    Args:
        posterior: B posteriors and a sample of each, ``[B, Z]``.
        own: log weight of the posterior that a sample came from, :math:`\log w_{ii}`.
        other: log weight of each other posterior.
        chunk: values that exist at a time; it decides memory and speed, not the result.

    Returns:
        Of the vectors, ``[B]``, and of the latents, ``[B, Z]``, in nats; differentiable once.
    """
    joint, marginals = _densities(posterior.sample, posterior.mean, posterior.log_variance, own, other, chunk)
    return joint, marginals


# An operator of its own: compiled, the loop over chunks would be unrolled.
@torch.library.custom_op("multirate::mixture_log_densities", mutates_args=())
def _densities(
    sample: Tensor, mean: Tensor, log_variance: Tensor, own: float, other: float, chunk: int
) -> tuple[Tensor, Tensor]:
    # Latents first: rows over the mixture's components are then contiguous, several times faster.
    sample, mean, log_variance = (values.T.contiguous() for values in (sample, mean, log_variance))
    joint, marginals = sample.new_empty(sample.shape[1]), torch.empty_like(sample)
    for rows in _chunks(sample, chunk):
        log_densities, _ = _log_densities(sample, mean, log_variance, rows)
        log_weights = _log_weights(sample, rows, own, other)
        joint[rows] = (log_densities.sum(0) + log_weights).logsumexp(-1)
        marginals[:, rows] = log_densities.add_(log_weights).logsumexp(-1)
    return joint, marginals.T.contiguous()


@_densities.register_fake
def _(sample: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return sample.new_empty(sample.shape[0]), sample.new_empty(sample.shape)


@torch.library.custom_op("multirate::mixture_log_densities_gradient", mutates_args=())
def _gradients(
    of_joint: Tensor,
    of_marginals: Tensor,
    joint: Tensor,
    marginals: Tensor,
    sample: Tensor,
    mean: Tensor,
    log_variance: Tensor,
    own: float,
    other: float,
    chunk: int,
) -> tuple[Tensor, Tensor, Tensor]:
    transposed = (values.T.contiguous() for values in (of_marginals, marginals, sample, mean, log_variance))
    of_marginals, marginals, sample, mean, log_variance = transposed
    inverse_scale = (-0.5 * log_variance).exp()
    of_sample, of_mean, of_log_variance = (torch.zeros_like(sample) for _ in range(3))
    for rows in _chunks(sample, chunk):
        log_densities, distance = _log_densities(sample, mean, log_variance, rows)
        log_weights = _log_weights(sample, rows, own, other)
        of_total = (log_densities.sum(0) + log_weights).sub_(joint[rows, None]).exp_().mul_(of_joint[rows, None])
        # From here on this buffer holds the gradient with respect to a_ijd.
        gradient = log_densities.add_(log_weights).sub_(marginals[:, rows, None]).exp_()
        gradient.mul_(of_marginals[:, rows, None]).add_(of_total)
        of_log_variance -= 0.5 * gradient.sum(1)
        gradient.mul_(distance)
        of_log_variance += 0.5 * distance.mul_(gradient).sum(1)
        gradient.mul_(inverse_scale[:, None, :])
        of_mean += gradient.sum(1)
        of_sample[:, rows] = -gradient.sum(2)
    return of_sample.T.contiguous(), of_mean.T.contiguous(), of_log_variance.T.contiguous()


@_gradients.register_fake
def _(of_joint: Tensor, of_marginals: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    one, two, three = (of_marginals.new_empty(of_marginals.shape) for _ in range(3))
    return one, two, three


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*output, *inputs[:3])
    ctx.options = inputs[3:]


def _backward(ctx: Any, of_joint: Tensor, of_marginals: Tensor) -> tuple[Tensor | None, ...]:
    return *_gradients(of_joint, of_marginals, *ctx.saved_tensors, *ctx.options), None, None, None


_densities.register_autograd(_backward, setup_context=_keep)


def _chunks(sample: Tensor, chunk: int) -> Iterator[slice]:
    """Yield slices of rows whose ``Z x rows x B`` values are about ``chunk``, at least one row each."""
    examples = sample.shape[1]
    step = max(1, chunk // max(1, sample.numel()))
    for first in range(0, examples, step):
        yield slice(first, min(first + step, examples))


def _log_densities(sample: Tensor, mean: Tensor, log_variance: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
    """Return a_ijd of some samples i, and their distances in standard deviations, ``[Z, rows, B]``, from ``[Z, B]``."""
    half = 0.5 * log_variance
    distance = sample[:, rows, None] - mean[:, None, :]
    distance.mul_((-half).exp()[:, None, :])
    log_densities = distance.square().mul_(-0.5).sub_((half + _HALF_LOG_TWO_PI)[:, None, :])
    return log_densities, distance


def _log_weights(sample: Tensor, rows: slice, own: float, other: float) -> Tensor:
    """Return log w_ij of some samples i, ``[rows, B]``."""
    log_weights = sample.new_full((rows.stop - rows.start, sample.shape[1]), other)
    log_weights.diagonal(rows.start).fill_(own)
    return log_weights
