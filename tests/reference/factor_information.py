"""Mutual information of a latent and a factor, in plain Python: by sums over all pairs, and by integrals."""

import math
from collections.abc import Sequence


def normal(z: float, mean: float, variance: float) -> float:
    """Density of a normal distribution."""
    return math.exp(-0.5 * (z - mean) ** 2 / variance) / math.sqrt(2 * math.pi * variance)


def information_at_samples(
    samples: Sequence[float], means: Sequence[float], variances: Sequence[float], values: Sequence[int]
) -> float:
    """Mean over examples of log q(z|v) - log q(z), with both mixtures summed pair by pair."""
    total = 0.0
    for sample, value in zip(samples, values, strict=True):
        densities = [normal(sample, mean, variance) for mean, variance in zip(means, variances, strict=True)]
        alike = [density for density, other in zip(densities, values, strict=True) if other == value]
        total += math.log(sum(alike) / len(alike)) - math.log(sum(densities) / len(densities))
    return total / len(samples)


def information_of_table(counts: Sequence[Sequence[int]]) -> float:
    """Mutual information of the row and the column of a table of counts."""
    total = sum(map(sum, counts))
    columns = [sum(column) for column in zip(*counts, strict=True)]
    return sum(
        count / total * math.log(count * total / (sum(row) * column))
        for row in counts
        for count, column in zip(row, columns, strict=True)
        if count
    )


def information_of_normals(centers: Sequence[float], deviation: float, cells: int = 20_000) -> float:
    """Information of z about v, where v is uniform and z given v is normal about a centre: a sum over a fine grid."""
    low, high = min(centers) - 10 * deviation, max(centers) + 10 * deviation
    step, information = (high - low) / cells, 0.0
    for cell in range(cells):
        densities = [normal(low + (cell + 0.5) * step, center, deviation**2) for center in centers]
        mean = sum(densities) / len(densities)
        information += sum(p * math.log(p / mean) for p in densities if p) / len(densities) * step
    return information
