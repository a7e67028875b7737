r"""Mutual information gap (Chen et al. 2018): does one latent, and no other, tell each factor?"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from multirate.errors import DataError, UsageError
from multirate.metrics.base import Batch, Measure
from multirate.metrics.decomposition import AggregatePosterior
from multirate.metrics.factor_table import KnownFactors, checked_means, coded
from multirate.terms import GaussianPosterior

BINS = 20

# Densities that exist at a time: the fastest on a CPU, small beside its caches.
_CHUNK = 2**16


def mutual_information_gap(information: Tensor, entropies: Tensor) -> float:
    r"""Return the mean over factors of the gap between the two latents that tell most of it.

    .. math::
        \frac1F \sum_k \frac{1}{H(v_k)} \bigl(I(z_{j_k}; v_k) - \max_{j \ne j_k} I(z_j; v_k)\bigr),
        \qquad j_k = \arg\max_j I(z_j; v_k)

    It is 1 where each factor is told in full by one latent of which no other latent knows anything, and 0 where a
    second latent knows as much (Chen et al. 2018, Eq. 6).

    Args:
        information: of each latent about each factor, from :func:`posterior_information` or
            :func:`binned_information`, in nats, ``[Z, F]``.
        entropies: of the factors, from :func:`factor_entropies`, in nats, ``[F]``.

    Returns:
        The gap, from 0 to 1 but for the noise of an estimate.

    Raises:
        UsageError: if there are fewer than two latents.
        DataError: if the shapes do not fit, or a factor has no entropy.
    """
    if information.ndim != 2 or entropies.shape != information.shape[1:] or not entropies.numel():
        raise DataError(
            f"expected information [Z, F] and entropies [F]; got {list(information.shape)} and {list(entropies.shape)}"
        )
    if len(information) < 2:
        raise UsageError("mutual_information_gap compares the two best latents: it needs at least 2; got 1")
    if not bool((entropies > 0).all()):
        raise DataError("a factor has entropy 0: it has one value; leave it out")
    best, second = information.to(torch.float64).topk(2, dim=0).values
    return float(((best - second) / entropies).mean())


def factor_entropies(factors: Tensor) -> Tensor:
    r"""Return the entropy of each factor among the examples, :math:`-\sum_v p(v) \log p(v)`.

    Args:
        factors: index of each factor's value, integers, ``[N, F]``.

    Returns:
        In nats, float64, ``[F]``.

    Raises:
        DataError: if the factors are not integers ``[N, F]``, or one has a single value.
    """
    frequencies = [column.bincount().to(torch.float64) / len(column) for column in coded(factors, len(factors)).T]
    return torch.stack([torch.special.entr(frequency).sum() for frequency in frequencies])


def posterior_information(posterior: GaussianPosterior, factors: Tensor) -> Tensor:
    r"""Return the mutual information of each latent and each factor, by the posteriors' own densities.

    .. math::
        I(z_j; v_k) = \frac1N \sum_n \log \frac{q(z_{nj} | v_{nk})}{q(z_{nj})}, \qquad
        q(z_j | v_k) = \frac{1}{N_{v_k}} \sum_{m:\, v_{mk} = v_k} q(z_j | x_m), \qquad
        q(z_j) = \frac1N \sum_m q(z_j | x_m)

    Densities are exact (Chen et al. 2018, Eq. 5 and appendix): every sample is compared with all N posteriors, in
    bounded memory; the mean over z is taken at one sample an example. It is the information in a population of these N
    examples. Of a larger one it is an estimate that is too high, the more so the narrower posteriors are and the fewer
    examples have a value; the gap between two latents of like width loses most of that.

    Args:
        posterior: of all examples at one beta, ``[N, Z]``; computed in float64.
        factors: index of each factor's value, integers, ``[N, F]``.

    Returns:
        In nats, float64, ``[Z, F]``; at most the factor's entropy, and at least 0 but for noise.

    Raises:
        DataError: if the factors are not integers ``[N, F]``, or one has a single value.
    """
    codes = coded(factors, len(posterior.mean))
    # Latents first: rows over the mixture's components are then contiguous.
    latents = torch.stack(
        [v.detach().to("cpu", torch.float64).T for v in (posterior.sample, posterior.mean, posterior.log_variance)]
    ).contiguous()
    of_all = _log_mixture(latents)
    information = []
    for column in codes.T:
        of_value = torch.empty_like(of_all)
        for value in range(int(column.max()) + 1):
            examples = (column == value).nonzero().squeeze(1)
            of_value[:, examples] = _log_mixture(latents[:, :, examples])
        information.append((of_value - of_all).mean(1))
    return torch.stack(information, dim=1)


def binned_information(means: Tensor, factors: Tensor, bins: int = BINS) -> Tensor:
    r"""Return the mutual information of each factor and each latent's posterior mean, by a histogram.

    The mean is cut in bins of equal width over its range, as Locatello et al. (2019) do. It is blind to the width of
    posteriors and to what is finer than a bin, and is too high by about
    :math:`(\mathrm{bins} - 1)(\mathrm{values} - 1) / 2N` nats.

    Args:
        means: posterior means, ``[N, Z]``.
        factors: index of each factor's value, integers, ``[N, F]``.
        bins: how many.

    Returns:
        In nats, float64, ``[Z, F]``.

    Raises:
        UsageError: if there are fewer than two bins.
        DataError: if the means are not finite or not ``[N, Z]``, or the factors are not integers ``[N, F]``, or one has
            a single value.
    """
    if bins < 2:
        raise UsageError(f"a histogram needs at least 2 bins; got {bins}")
    means = checked_means(means)
    codes = coded(factors, len(means))
    low, high = means.aminmax(dim=0)
    width = torch.where(high > low, high - low, 1.0)
    cells = ((means - low) / width * bins).long().clamp(max=bins - 1)
    information = torch.empty(means.shape[1], codes.shape[1], dtype=torch.float64)
    for factor, column in enumerate(codes.T):
        values = int(column.max()) + 1
        for latent, cell in enumerate(cells.T):
            counts = (cell * values + column).bincount(minlength=bins * values).reshape(bins, values)
            joint = counts.to(torch.float64) / len(means)
            product = joint.sum(1, keepdim=True) * joint.sum(0)
            information[latent, factor] = torch.special.xlogy(joint, joint / product.clamp(min=1e-300)).sum()
    return information


def _log_mixture(latents: Tensor) -> Tensor:
    """Return the log density of each sample's latents under the mean of posteriors, less log(2 pi) / 2.

    Args:
        latents: samples, means and log-variances, ``[3, Z, N]``.

    Returns:
        ``[Z, N]``.
    """
    samples, means, log_variances = latents
    count = samples.shape[1]
    rows = max(1, _CHUNK // count)
    scales = (-0.5 * log_variances).exp() * math.sqrt(0.5)
    found = torch.empty_like(samples)
    for latent in range(len(samples)):
        shift = -0.5 * log_variances[latent]
        for first in range(0, count, rows):
            distances = (samples[latent, first : first + rows, None] - means[latent]).mul_(scales[latent])
            found[latent, first : first + rows] = distances.square_().neg_().add_(shift).logsumexp(1)
    return found - math.log(count)


class MutualInformationGap(Measure):
    """:func:`mutual_information_gap` of an evaluation by :func:`posterior_information`, on its first examples."""

    def __init__(self) -> None:
        self._aggregate = AggregatePosterior()
        self._known = KnownFactors("mutual_information_gap")
        self._information = torch.zeros(0, 0)

    def update(self, batch: Batch) -> None:
        """Add a batch's posteriors and factors.

        Raises:
            UsageError: if the data have no factors, or the model's terms no posterior.
        """
        self._known.update(batch.source, batch.indices)
        if batch.terms.posterior is None:
            raise UsageError(
                "mutual_information_gap needs the posterior of one Gaussian latent vector: let terms(x) fill "
                "Terms.posterior, or leave the measure out"
            )
        self._aggregate.update(batch.terms.posterior)

    def result(self, model: nn.Module, beta: float) -> dict[str, float]:
        """Return ``mutual_information_gap``."""
        factors = self._known.values
        self._information = posterior_information(self._aggregate.posterior, factors)
        return {"mutual_information_gap": mutual_information_gap(self._information, factor_entropies(factors))}

    def latents(self) -> dict[str, list[float]]:
        """Return the information of each latent about each factor, nats."""
        columns = zip(self._known.names, self._information.T.tolist(), strict=True)
        return {f"information_about_{name}": column for name, column in columns}

    def settings(self) -> dict[str, Any]:
        """Return the estimator, the number of examples, and the factors."""
        return {"estimator": "posterior densities, one sample an example", **self._known.settings()}
