"""Kernel distance (KID) between two sets of features: unbiased, hence fair to small sets."""

import warnings

import torch
from torch import Tensor

from multirate.errors import UsageError
from multirate.metrics.features import AsTheyAre, checked_features, package
from multirate.seeding import seeded

SUBSETS = 10
SUBSET_SIZE = 1000


def kernel_distance(
    real: Tensor, generated: Tensor, *, subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE, seed: int = 0
) -> float:
    r"""Return the squared maximum mean discrepancy under a cubic kernel, the KID of Binkowski et al. (2018).

    .. math::
        \frac{1}{m (m - 1)} \sum_{i \ne j} k(x_i, x_j) + \frac{1}{m (m - 1)} \sum_{i \ne j} k(y_i, y_j)
        - \frac{2}{m^2} \sum_{i, j} k(x_i, y_j), \qquad k(x, y) = \Bigl(\frac{x^\top y}{F} + 1\Bigr)^3,

    averaged over subsets of m images of either set, by torchmetrics in float64. Its mean does not depend on the number
    of images, and is 0 where the distributions are equal; a single value may be below 0. Where a subset holds all
    images of both sets, one is enough. The draws of subsets have a seed of their own; the global generator is left as
    it was.

    Args:
        real: features ``[N, F]``.
        generated: features ``[M, F]``.
        subsets: how many.
        subset_size: m; at most N and M are taken.
        seed: of the subsets.

    Returns:
        The distance, without unit.

    Raises:
        UsageError: if torchmetrics is missing, or ``subsets`` or ``subset_size`` is too small.
        DataError: if features are not ``[N, F]`` with N at least 2, or not finite.
    """
    if subsets < 1 or subset_size < 2:
        raise UsageError(f"need at least 1 subset of 2 images; got {subsets} of {subset_size}")
    x, y = checked_features(real), checked_features(generated, like=real)
    size, count = plan_subsets(len(x), len(y), subsets, subset_size)
    kid = package("torchmetrics.image.kid", "kernel_distance", "frechet")
    with warnings.catch_warnings():
        # That it keeps the features is known.
        warnings.simplefilter("ignore", UserWarning)
        metric = kid.KernelInceptionDistance(AsTheyAre(x.shape[1]), subsets=count, subset_size=size)
    metric.update(x, real=True)
    metric.update(y, real=False)
    with seeded(seed, "kernel_distance"), torch.no_grad():
        return float(metric.compute()[0])


def plan_subsets(real: int, generated: int, subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE) -> tuple[int, int]:
    """Return how large subsets are and how many are drawn, for so many images of either set."""
    size = min(subset_size, real, generated)
    return size, 1 if size == real == generated else subsets
