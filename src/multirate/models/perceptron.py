"""The fully connected VAE."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from multirate.errors import UsageError
from multirate.models.gaussian import GaussianVAE, check_options, positive_integers
from multirate.models.initial import he_normal

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


def mlp(
    shape: Sequence[int] = (1, 28, 28),
    latents: int = 32,
    hidden: Sequence[int] = (512, 256),
    likelihood: str = "bernoulli",
    decoder_activation: str = "relu",
) -> GaussianVAE:
    """Build a fully connected VAE; the decoder mirrors the encoder.

    Hidden layers before ReLUs start as :func:`multirate.models.initial.he_normal`, those before tanh with Xavier's
    weights, heads and output layer as in PyTorch: call ``torch.manual_seed`` before for a reproducible model. With
    ``hidden=(1200, 1200), latents=10, decoder_activation="tanh"`` it is the dSprites network of Bae et al. 2023, after
    that of Chen et al. 2018, whose decoder has a third hidden layer.

    Args:
        shape: of one example, any.
        latents: number of latents.
        hidden: widths of the encoder's hidden layers, first to last.
        likelihood: one of :data:`multirate.models.gaussian.LIKELIHOODS`.
        decoder_activation: nonlinearity of the decoder's hidden layers, ``"relu"`` or ``"tanh"``.

    Returns:
        The model.

    Raises:
        UsageError: if an option cannot be right.
    """
    check_options(shape, latents, likelihood)
    if not positive_integers(hidden):
        raise UsageError(f"hidden must be positive integers such as (512, 256); got {hidden!r}")
    if not isinstance(decoder_activation, str) or decoder_activation not in _ACTIVATIONS:
        raise UsageError(f"decoder_activation must be one of {', '.join(_ACTIVATIONS)}; got {decoder_activation!r}")
    size = math.prod(shape)
    encoder = nn.Sequential(nn.Flatten(), *_layers((size, *hidden), "relu"))
    decoder = nn.Sequential(*_layers((latents, *reversed(hidden)), decoder_activation))
    he_normal(encoder)
    if decoder_activation == "relu":
        he_normal(decoder)
    else:
        _xavier_normal(decoder)
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
        options={
            "shape": list(shape),
            "latents": latents,
            "hidden": list(hidden),
            "likelihood": likelihood,
            **({} if decoder_activation == "relu" else {"decoder_activation": decoder_activation}),
        },
    )


def _layers(widths: Sequence[int], activation: str) -> list[nn.Module]:
    make = _ACTIVATIONS[activation]
    return [layer for inputs, outputs in pairwise(widths) for layer in (nn.Linear(inputs, outputs), make())]


def _xavier_normal(part: nn.Module) -> None:
    for layer in part.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_normal_(layer.weight, gain=nn.init.calculate_gain("tanh"))
            nn.init.zeros_(layer.bias)
