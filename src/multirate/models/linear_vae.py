"""The two-layer linear VAE, whose optimum is known in closed form at every beta (Lucas et al. 2019)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from multirate.models.gaussian import GaussianVAE, check_options


class LinearEncoder(nn.Module):
    r"""Posterior of a linear VAE: a mean linear in x, and a variance that all x share.

    The log-variance is the output of a layer of its own, fed with a one, so that it can be gated like any other. At the
    optimum it is :math:`\min(0, \log\beta - \log\lambda_i)`.

    Args:
        size: number of data values, d.
        latents: number of latents, k.
    """

    def __init__(self, size: int, latents: int) -> None:
        super().__init__()
        square = nn.Linear(latents, latents)
        self.mean = nn.Sequential(nn.Linear(size, latents), square)
        self.log_variance = nn.Linear(1, latents)
        nn.init.orthogonal_(square.weight)
        nn.init.constant_(self.log_variance.weight, -1.0)
        nn.init.zeros_(self.log_variance.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the posterior's mean and log variance, ``[B, k]`` each, for data ``[B, ...]``."""
        return self.mean(x.flatten(1)), self.log_variance(x.new_ones(x.shape[0], 1))


class LinearVAE(GaussianVAE):
    """A VAE without nonlinearity; all its layers are inside ``encoder`` and ``decoder``.

    Args:
        shape: of one example.
        latents: number of latents.
        likelihood: ``"gaussian"`` (unit variance), for which the theory holds, or ``"bernoulli"``.
    """

    encoder: LinearEncoder

    def __init__(self, shape: Sequence[int], latents: int, likelihood: str) -> None:
        check_options(shape, latents, likelihood)
        size = math.prod(shape)
        square = nn.Linear(latents, latents)
        nn.init.orthogonal_(square.weight)
        super().__init__(
            encoder=LinearEncoder(size, latents),
            mean=None,
            log_variance=None,
            decoder=nn.Sequential(square, nn.Linear(latents, size)),
            output=None,
            shape=shape,
            latents=latents,
            likelihood=likelihood,
            name="linear",
            options={"shape": list(shape), "latents": latents, "likelihood": likelihood},
        )

    def posterior_parameters(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the posterior's mean and log variance, ``[B, k]`` each."""
        mean, log_variance = self.encoder(x)
        return mean, log_variance

    @torch.no_grad()
    def effective_parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the two maps and the variance that the layers multiply to, to hold against the theory.

        They are found by feeding unit vectors, so they hold for a folded model too.

        Returns:
            Decoder matrix ``[d, k]``, encoder matrix ``[k, d]``, posterior variance ``[k]``.
        """
        weight = next(self.parameters())
        units = torch.eye(math.prod(self.shape), dtype=weight.dtype, device=weight.device)
        mean, log_variance = self.encoder(units)
        offset, _ = self.encoder(torch.zeros_like(units[:1]))
        latent_units = torch.eye(self.latents, dtype=weight.dtype, device=weight.device)
        columns = self.decoder(latent_units) - self.decoder(torch.zeros_like(latent_units[:1]))
        return columns.T, (mean - offset).T, log_variance[0].exp()


def linear(shape: Sequence[int] = (1, 28, 28), latents: int = 32, likelihood: str = "gaussian") -> LinearVAE:
    """Build the two-layer linear VAE, with unit-variance Gaussian likelihood unless asked otherwise.

    Initialisation is PyTorch's own, but -1 for the posterior log-variance and orthogonal for the two square layers,
    whose products with the others would otherwise start nearly singular, next to a saddle where a latent is unused.
    Call ``torch.manual_seed`` before for a reproducible one.

    Args:
        shape: of one example, any.
        latents: number of latents.
        likelihood: ``"gaussian"`` (unit variance) or ``"bernoulli"``.

    Returns:
        The model.

    Raises:
        UsageError: if an option cannot be right.
    """
    return LinearVAE(shape, latents, likelihood)
