"""Representations whose disentanglement is known, for the tests of its measures."""

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from multirate.data import TensorSource
from multirate.terms import GaussianPosterior

SIZES = (3, 4, 5)


class Sprites(TensorSource):
    """Examples whose values are their factors, scaled to [0, 1]."""

    factor_names = ("colour", "shape", "scale", "turn")

    def __init__(self, factors: Tensor) -> None:
        super().__init__(factors.float() / 10, name="sprites", likelihood="gaussian")
        self.factors = factors


def grid(sizes: Sequence[int] = SIZES, repeats: int = 1) -> Tensor:
    """Every combination of factors so many times, the last factor running first, ``[N, F]``."""
    return torch.tensor(list(product(*map(range, sizes)))).repeat_interleave(repeats, 0)


def one_latent_each(factors: Tensor) -> Tensor:
    """Posterior means of a perfect representation, float64."""
    return factors.to(torch.float64) - 1


def noise(examples: int, latents: int, seed: int = 0) -> Tensor:
    """Latents that know nothing."""
    return torch.randn(examples, latents, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def narrow(means: Tensor, deviation: float = 1e-3) -> GaussianPosterior:
    """Posteriors of one small width, and a sample of each."""
    log_variance = torch.full_like(means, 2 * math.log(deviation))
    return GaussianPosterior(means, log_variance, means + deviation * noise(*means.shape, seed=1))
