"""The fully connected VAE."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from multirate.errors import UsageError
from multirate.models.gaussian import GaussianVAE, check_options, positive_integers
from multirate.models.initial import he_normal


def mlp(
    shape: Sequence[int] = (1, 28, 28),
    latents: int = 32,
    hidden: Sequence[int] = (512, 256),
    likelihood: str = "bernoulli",
) -> GaussianVAE:
    """Build a fully connected VAE with ReLUs; the decoder mirrors the encoder.

    Hidden layers start as :func:`multirate.models.initial.he_normal`, heads and output layer as in PyTorch: call
    ``torch.manual_seed`` before for a reproducible model.

    Args:
        shape: of one example, any.
        latents: number of latents.
        hidden: widths of the encoder's hidden layers, first to last.
        likelihood: ``"bernoulli"`` or ``"gaussian"`` (unit variance).

    Returns:
        The model.

    Raises:
        UsageError: if an option cannot be right.
    """
    check_options(shape, latents, likelihood)
    if not positive_integers(hidden):
        raise UsageError(f"hidden must be positive integers such as (512, 256); got {hidden!r}")
    size = math.prod(shape)
    encoder = nn.Sequential(nn.Flatten(), *_layers((size, *hidden)))
    decoder = nn.Sequential(*_layers((latents, *reversed(hidden))))
    he_normal(encoder, decoder)
    return GaussianVAE(
        encoder=encoder,
        mean=nn.Linear(hidden[-1], latents),
        log_variance=nn.Linear(hidden[-1], latents),
        decoder=decoder,
        output=nn.Linear(hidden[0], size),
        shape=shape,
        latents=latents,
        likelihood=likelihood,
        name="mlp",
        options={"shape": list(shape), "latents": latents, "hidden": list(hidden), "likelihood": likelihood},
    )


def _layers(widths: Sequence[int]) -> list[nn.Module]:
    return [layer for inputs, outputs in pairwise(widths) for layer in (nn.Linear(inputs, outputs), nn.ReLU())]
