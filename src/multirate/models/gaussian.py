"""A VAE with one Gaussian latent vector, built from its parts; the base of the built-in models with one latent."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution

from multirate.errors import UsageError
from multirate.terms import (
    GaussianPosterior,
    Reconstruction,
    Terms,
    at_least_float32,
    bernoulli,
    diagonal_gaussian,
    distortion,
    gaussian,
    gaussian_kl,
    squared_error,
)

LIKELIHOODS = ("bernoulli", "gaussian", "squared_error", "gaussian_learned")


class LearnedVariance(nn.Module):
    r"""The log-variance of a Gaussian likelihood, one number for all values, as a layer of the decoder.

    It is the output of a layer fed with a one, so that a conversion gates it like any layer of the decoder: the
    variance of a multi-rate model then follows beta, and folds. It starts at 1 and stays in :math:`[e^{-12}, e^{12}]`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Linear(1, 1)
        nn.init.zeros_(self.decoder.weight)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, like: Tensor) -> Tensor:
        """Return the variance, one an example and as many axes as ``like``, ``[B, 1, ...]``."""
        log_variance = self.decoder(like.new_ones(like.shape[0], 1)).clamp(-12.0, 12.0)
        return at_least_float32(log_variance).exp().reshape(-1, *[1] * (like.ndim - 1))


class GaussianVAE(nn.Module):
    r"""VAE with :math:`q(z|x) = N(\mu(x), \mathrm{diag}\,\sigma^2(x))` and a standard normal prior.

    The data flow is ``x -> encoder -> mean, log_variance -> z -> stem -> decoder -> output``. Only hidden layers live
    inside ``encoder`` and ``decoder``; the heads ``mean`` and ``log_variance``, the decoder's ``stem`` and the
    ``output`` layer are their siblings, so that a conversion that gates all of ``encoder`` and ``decoder`` leaves those
    four alone.

    Initial weights are those of the parts; builders draw them from the global generator: seed it before.

    Args:
        encoder: ``[B, *shape]`` to features ``[B, F]``.
        mean: features to the posterior mean, ``[B, Z]``.
        log_variance: features to :math:`\log\sigma^2`, ``[B, Z]``.
        decoder: latents (after ``stem``) to what ``output`` takes.
        output: to logits or means, as many an example as data values.
        stem: latents ``[B, Z]`` to what ``decoder`` takes; None if the decoder takes latents.
        shape: of one example.
        latents: number of latents, Z.
        likelihood: what the output means: ``"bernoulli"`` (logits), ``"gaussian"`` (means, unit variance),
            ``"gaussian_learned"`` (means, one learnt variance: :class:`LearnedVariance`) or ``"squared_error"`` (means,
            and :func:`multirate.terms.squared_error` in the place of a likelihood).
        name: of the builder that made the model, for saving.
        options: of that builder, JSON values, for saving.

    Raises:
        UsageError: if shape, latents or likelihood cannot be right.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        mean: nn.Module | None,
        log_variance: nn.Module | None,
        decoder: nn.Module,
        output: nn.Module | None,
        stem: nn.Module | None = None,
        shape: Sequence[int],
        latents: int,
        likelihood: str,
        name: str = "",
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_options(shape, latents, likelihood)
        self.shape = tuple(shape)
        self.latents = latents
        self.likelihood = likelihood
        self.name = name
        self.options = dict(options or {})
        self.encoder = encoder
        self.mean = mean
        self.log_variance = log_variance
        self.stem = stem
        self.decoder = decoder
        self.output = output
        if likelihood == "gaussian_learned":
            self.variance = LearnedVariance()

    def posterior_parameters(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return the posterior's mean and :math:`\log\sigma^2`, ``[B, Z]`` each, for data ``[B, *shape]``."""
        assert self.mean is not None and self.log_variance is not None
        features = self.encoder(x)
        return self.mean(features), self.log_variance(features)

    def encode(self, x: Tensor) -> Distribution:
        """Return the posterior q(z|x).

        Args:
            x: data, ``[B, *shape]``, floating.

        Returns:
            A distribution with batch shape ``[B]`` and event shape ``[Z]``.

        Raises:
            UsageError: if ``x`` has another shape or is not floating.
        """
        return diagonal_gaussian(*self._posterior_parameters(x))

    def decode(self, z: Tensor) -> Distribution:
        """Return the likelihood p(x|z).

        Args:
            z: latents, ``[B, Z]``.

        Returns:
            A distribution with batch shape ``[B]`` and event shape ``shape``.
        """
        z = z.to(next(self.parameters()).dtype)
        hidden = self.decoder(z if self.stem is None else self.stem(z))
        values = hidden if self.output is None else self.output(hidden)
        values = at_least_float32(values.reshape(z.shape[0], *self.shape))
        if self.likelihood == "gaussian_learned":
            return gaussian(values, self.variance(values))
        return _LIKELIHOOD_OF[self.likelihood](values)

    def prior(self) -> Distribution:
        """Return p(z), standard normal, with batch shape ``[]`` and event shape ``[Z]``, on the parameters' device."""
        zeros = next(self.parameters()).new_zeros(self.latents)
        return diagonal_gaussian(zeros, zeros)

    def terms(self, x: Tensor) -> Terms:
        """Return rate and distortion of each example, with one posterior sample drawn from the global generator.

        Args:
            x: data, ``[B, *shape]``, floating.

        Returns:
            Nats; ``latent_rate``, ``posterior``, ``dimensions`` and ``reconstruction`` are filled.

        Raises:
            UsageError: if ``x`` has another shape or is not floating.
        """
        mean, log_variance = self._posterior_parameters(x)
        latent_rate = gaussian_kl(mean, log_variance)
        z = diagonal_gaussian(mean, log_variance).rsample()
        likelihood = self.decode(z)
        return Terms(
            latent_rate.sum(-1),
            distortion(likelihood, x),
            latent_rate,
            posterior=GaussianPosterior(mean, log_variance, z),
            dimensions=mean.new_full((x.shape[0],), math.prod(self.shape)),
            reconstruction=Reconstruction(likelihood, x),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the likelihood's mean at the posterior's mean, ``[B, *shape]``: a reconstruction without noise."""
        reconstruction: Tensor = self.decode(self._posterior_parameters(x)[0]).mean
        return reconstruction

    def _posterior_parameters(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if tuple(x.shape[1:]) != self.shape or not x.is_floating_point():
            raise UsageError(
                f"the {self.name or 'model'} takes floating data of shape [B, {', '.join(map(str, self.shape))}]; "
                f"got {str(x.dtype).removeprefix('torch.')} {list(x.shape)}"
            )
        mean, log_variance = self.posterior_parameters(x)
        return at_least_float32(mean), at_least_float32(log_variance)


def positive_integers(values: object) -> bool:
    """Return whether ``values`` is a tuple or list of at least one integer, all at least 1."""
    if not isinstance(values, Sequence) or len(values) == 0:
        return False
    return all(isinstance(value, int) and not isinstance(value, bool) and value >= 1 for value in values)


def check_options(shape: Sequence[int], latents: int, likelihood: str) -> None:
    """Raise unless the options that all models share can be right.

    Args:
        shape: of one example.
        latents: number of latents.
        likelihood: one of :data:`LIKELIHOODS`.

    Raises:
        UsageError: naming the option and its value.
    """
    if not positive_integers(shape):
        raise UsageError(f"shape must be positive integers such as (1, 28, 28); got {shape!r}")
    if not positive_integers([latents]):
        raise UsageError(f"latents must be an integer of at least 1; got {latents!r}")
    if likelihood not in LIKELIHOODS:
        raise UsageError(f"likelihood must be one of {', '.join(LIKELIHOODS)}; got {likelihood!r}")


def check_image_shape(name: str, shape: Sequence[int]) -> None:
    """Raise unless ``shape`` is an image size that the convolutional models take: 28x28, 32x32 or 64x64.

    Args:
        name: of the model, for the message.
        shape: of one example.

    Raises:
        UsageError: naming the supported shapes.
    """
    if len(shape) != 3 or tuple(shape[1:]) not in {(28, 28), (32, 32), (64, 64)}:
        raise UsageError(
            f"{name} takes shapes (C, 28, 28), (C, 32, 32) and (C, 64, 64); got {tuple(shape)}: resize, or use mlp for "
            "any shape"
        )


_LIKELIHOOD_OF: dict[str, Callable[[Tensor], Distribution]] = {
    "bernoulli": bernoulli,
    "gaussian": gaussian,
    "squared_error": squared_error,
}
