r"""pythae: its ``VAE`` and ``BetaVAE``, with the user's own encoder and decoder, as one multi-rate model.

Rate and distortion are pythae's own two losses, example by example, not averaged over the batch: the KL divergence
of the encoder's diagonal Gaussian from the standard one, and the configured ``reconstruction_loss``:

- ``bce``: :math:`-\sum_i x_i \log r_i + (1 - x_i) \log(1 - r_i)` with logarithms of at least -100, as torch has it; for
  binary data the negative log-likelihood in nats;
- ``mse``: :math:`\tfrac12 \|x - r\|^2`, the negative log-likelihood of a Gaussian of variance 1 without its constant
  :math:`\tfrac d2 \log 2\pi` (which pythae's ``get_nll`` adds).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, Normal

from multirate.beta import BetaRange
from multirate.convert import convert as convert_module
from multirate.errors import BetaError, ConversionError
from multirate.fold import fold as fold_module
from multirate.integrations.extras import require
from multirate.terms import GaussianPosterior, Terms, diagonal_gaussian, distortion, gaussian_kl
from multirate.wrapper import MultiRate

__all__ = ["PythaeVAE", "adapt", "convert", "fold"]

EXTRA = "pythae"


class PythaeVAE(nn.Module):
    """A pythae model with the methods that multirate asks for; the model itself is :attr:`vae`, as it was given.

    Args:
        vae: a ``pythae.models.VAE`` or ``BetaVAE``, or a subclass that keeps their forward and loss; not copied.

    Raises:
        ConversionError: if it is anything else, whose rate or distortion would be another one.
        UsageError: if pythae is not installed.
    """

    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        _check(vae)
        self.vae = vae
        self.name = str(vae.model_name)
        self.latents = int(vae.latent_dim)  # type: ignore[arg-type]  # pythae has no types
        self.likelihood = "bernoulli" if self._configured == "bce" else "half_squared_error"
        self.training = vae.training

    @property
    def _configured(self) -> str:
        config: Any = self.vae.model_config
        return str(config.reconstruction_loss)

    def forward(self, x: Tensor) -> Tensor:
        """Return reconstructions from the posterior's means, as ``vae.predict`` does, ``[B, ...]``."""
        mean, _ = self._moments(x)
        return self._reconstruction(mean).reshape(x.shape)

    def terms(self, x: Tensor) -> Terms:
        """Return rate and distortion of each example.

        Args:
            x: data, ``[B, ...]``.

        Returns:
            Nats per example, ``[B]``; their means are pythae's ``reg_loss`` and ``recon_loss`` for the same noise.
        """
        mean, log_variance = self._moments(x)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        latent_rate = gaussian_kl(mean, log_variance)
        return Terms(
            latent_rate.sum(-1),
            distortion(self._likelihood(self._reconstruction(z).reshape(x.shape)), x),
            latent_rate=latent_rate,
            posterior=GaussianPosterior(mean, log_variance, z),
        )

    def encode(self, x: Tensor) -> Distribution:
        """Return the posterior of data ``[B, ...]``, a distribution over ``[Z]``."""
        return diagonal_gaussian(*self._moments(x))

    def decode(self, z: Tensor) -> Distribution:
        """Return the likelihood of latents ``[B, Z]``; its log density is minus pythae's reconstruction loss."""
        return self._likelihood(self._reconstruction(z))

    def prior(self) -> Distribution:
        """Return the standard Gaussian over ``[Z]``."""
        zeros = next(self.vae.parameters()).new_zeros(self.latents)
        return diagonal_gaussian(zeros, zeros)

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        encoder: Any = self.vae.encoder
        output = encoder(x)
        return output.embedding, output.log_covariance

    def _reconstruction(self, z: Tensor) -> Tensor:
        decoder: Any = self.vae.decoder
        reconstruction: Tensor = decoder(z)["reconstruction"]
        shape: Any = self.vae.input_dim  # None where encoder and decoder are the user's and nobody said
        return reconstruction if shape is None else reconstruction.reshape(-1, *shape)

    def _likelihood(self, reconstruction: Tensor) -> Distribution:
        kind = _CrossEntropy if self._configured == "bce" else _HalfSquaredError
        return Independent(kind(reconstruction), reconstruction.ndim - 1, validate_args=False)


class _CrossEntropy(Bernoulli):
    """A Bernoulli whose log density is minus ``binary_cross_entropy``: values in [0, 1], clamped as torch does it."""

    def __init__(self, probabilities: Tensor) -> None:
        super().__init__(probs=probabilities, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return minus the cross-entropy, of the shape of ``value``."""
        return -F.binary_cross_entropy(self.probs, value, reduction="none")


class _HalfSquaredError(Normal):
    """A Gaussian of variance 1 without its constant."""

    def __init__(self, mean: Tensor) -> None:
        super().__init__(mean, torch.ones_like(mean), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return minus half the squared error, of the shape of ``value``."""
        return -0.5 * (value - self.loc).square()


def adapt(vae: nn.Module) -> PythaeVAE:
    """Give a plain pythae model ``terms(x)``, so that :func:`multirate.evaluate` measures it and ``fit`` trains it.

    Args:
        vae: as in :class:`PythaeVAE`; it is used, not copied: training the result trains it.

    Returns:
        The model with the methods that multirate asks for.

    Raises:
        ConversionError: as :class:`PythaeVAE`.
    """
    return PythaeVAE(vae)


def convert(vae: nn.Module, beta_range: BetaRange | None = None, **options: Any) -> MultiRate:
    """Make a multi-rate model of a pythae model; pythae's methods are those of ``model.base.vae``, inside ``model.at``.

    Args:
        vae: as in :class:`PythaeVAE`; it is copied.
        beta_range: the range of beta to serve, ``[0.01, 10]`` by default.
        options: of :func:`multirate.convert`. Paths of layers begin with ``vae.``, as ``print(model.plan)`` shows them.

    Returns:
        The multi-rate model.

    Raises:
        ConversionError: as :class:`PythaeVAE` and :func:`multirate.convert`.
    """
    return convert_module(PythaeVAE(vae), beta_range, **options)


def fold(model: MultiRate, beta: float) -> Any:
    """Take the pythae model of one beta out of a multi-rate one: its own class, keys and methods, no trace of gates.

    Args:
        model: of :func:`convert`; not changed.
        beta: one number of its range. A ``BetaVAE`` takes it as its own weight, in its configuration too.

    Returns:
        A pythae model that its ``save``, ``AutoModel.load_from_folder``, samplers and trainers take.

    Raises:
        ConversionError: if the model is not a multi-rate pythae model.
        BetaError: if beta is not one number of the range.
    """
    if not isinstance(model, MultiRate) or not isinstance(model.base, PythaeVAE):
        of = type(model.base if isinstance(model, MultiRate) else model).__name__
        raise ConversionError(f"this fold takes what multirate.integrations.pythae.convert made; got a {of}")
    if not isinstance(beta, int | float):
        raise BetaError(f"beta must be one number; got {type(beta).__name__}")
    plain = fold_module(model, beta)
    assert isinstance(plain, PythaeVAE)
    vae: Any = plain.vae
    if isinstance(vae, require("pythae.models", extra=EXTRA).BetaVAE):
        vae.beta = vae.model_config.beta = float(model.beta_range.beta_of(beta))
    return vae


def _check(vae: nn.Module) -> None:
    models = require("pythae.models", extra=EXTRA)
    kinds = (models.VAE, models.BetaVAE)
    same = isinstance(vae, models.VAE) and all(
        any(getattr(type(vae), method) is getattr(kind, method) for kind in kinds)
        for method in ("forward", "loss_function")
    )
    if not same:
        raise ConversionError(
            f"{type(vae).__name__} is not a pythae VAE or BetaVAE, or has a forward or a loss of its own; "
            "give it terms(x) that returns multirate.Terms, and use multirate.convert"
        )
