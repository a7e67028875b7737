"""The variance that a sigma-VAE has learnt, over all training data."""

import torch
from torch import nn

from multirate.data.source import Source
from multirate.errors import UsageError
from multirate.seeding import seeded
from multirate.terms import Terms
from multirate.wrapper import evaluating


def optimal_variance(model: nn.Module, source: Source, *, seed: int = 0, batch_size: int = 256) -> float:
    r"""Return the mean squared error of a plain VAE's reconstructions, a dimension of the data.

    .. math:: \sigma_*^2 = \tfrac{1}{N d} \sum_n \|x_n - \mu(z_n)\|^2, \qquad z_n \sim q(z | x_n)

    It is the variance at which a Gaussian around the reconstructions makes the data likeliest (Rybkin et al. 2021,
    Eq. 4). Measured in evaluation mode, in float64 sums.

    Args:
        model: whose terms have a reconstruction; left as it was.
        source: data, such as those of the training.
        seed: of the posterior samples.
        batch_size: examples at a time; it decides which noise an example gets.

    Raises:
        UsageError: if the model gives no reconstruction.
    """
    like = next(p for p in model.parameters() if p.is_floating_point())
    total, dimensions = 0.0, 1
    with evaluating(model), torch.no_grad():
        for index, first in enumerate(range(0, len(source), batch_size)):
            x = source.batch(torch.arange(first, min(first + batch_size, len(source)))).to(like.device, like.dtype)
            with seeded(seed, "variance", index):
                terms: Terms = model.terms(x)  # type: ignore[operator]  # a method, where torch's stubs see a module
            if terms.reconstruction is None:
                raise UsageError(f"{type(model).__name__}.terms(x) gives no reconstruction; let it fill that of Terms")
            dimensions = terms.reconstruction.dimensions
            total += float(terms.reconstruction.squared_error().double().sum())
    return total / (len(source) * dimensions)
