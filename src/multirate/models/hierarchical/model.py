"""NVAE: a VAE whose latents come in groups, each depending on those before (Vahdat and Kautz 2020)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution

from multirate.errors import UsageError
from multirate.logistic import discretized_logistic, logistic_channels
from multirate.models.gaussian import check_image_shape, positive_integers
from multirate.models.hierarchical.configurations import Configuration, configuration_named
from multirate.models.hierarchical.parts import HierarchicalDecoder, HierarchicalEncoder, scales_of_groups
from multirate.terms import Terms, bernoulli, diagonal_gaussian, distortion, gaussian, gaussian_kl, squared_error

_BY_VALUE: dict[str, Callable[[Tensor], Distribution]] = {
    "bernoulli": bernoulli,
    "gaussian": gaussian,
    "squared_error": squared_error,
}
NVAE_LIKELIHOODS = (*_BY_VALUE, "discretized_logistic")


class NVAE(nn.Module):
    r"""Hierarchical VAE with residual normal posteriors.

    The prior of group l is :math:`p(z_l | z_{<l}) = N(\mu_p, \sigma_p^2)`, standard normal for the first; the posterior
    is relative to it, :math:`q(z_l | z_{<l}, x) = N(\mu_p + \Delta\mu, \sigma_p^2 \Delta\sigma^2)`, so that

    .. math::

        \mathrm{KL}_l
        = \tfrac12 \left( \frac{\Delta\mu^2}{\sigma_p^2} + \Delta\sigma^2 - \log\Delta\sigma^2 - 1 \right)

    summed over the group's latents (Vahdat and Kautz 2020, Eq. 2). Inference is bidirectional: a posterior sees the
    encoder's features of its scale, and the decoder's state, which depends on the samples of all groups before.

    **Latents as noise.** With :math:`z_l = \mu_p + \sigma_p \epsilon_l` the model is a function of independent standard
    normal noise :math:`\epsilon`, in which the posterior of a group is :math:`N(\Delta\mu / \sigma_p, \Delta\sigma^2)`
    with the same KL. ``prior``, ``decode`` and ``encode`` speak of this noise, all groups in one vector in the order of
    generation: the same noise can be decoded at every beta.

    Args:
        shape: ``(C, 28, 28)``, ``(C, 32, 32)`` or ``(C, 64, 64)``; 28x28 is padded to 32x32 inside.
        configuration: sizes.
        likelihood: one of :data:`NVAE_LIKELIHOODS`.
        name: of the builder, for saving; empty for a model that only its own arguments can build again.
        options: of the builder, JSON values, for saving.

    Raises:
        UsageError: if an option cannot be right.
    """

    def __init__(
        self,
        shape: Sequence[int],
        configuration: Configuration,
        likelihood: str = "bernoulli",
        *,
        name: str = "",
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        _check(shape, configuration, likelihood)
        self.shape = tuple(shape)
        self.configuration = configuration
        self.likelihood = likelihood
        self.name = name
        self.options = dict(options or {})
        channels, height = self.shape[:2]
        self.padding = 2 if height == 28 else 0
        size = (height + 2 * self.padding) // configuration.patch
        sides = [size // 2**halvings for halvings in scales_of_groups(configuration)]
        self.group_sizes = tuple(configuration.latents * side * side for side in sides)
        self.latents = sum(self.group_sizes)
        self._group_shapes = tuple((configuration.latents, side, side) for side in sides)
        self.encoder = HierarchicalEncoder(channels, configuration)
        self.decoder = HierarchicalDecoder((sides[0], sides[0]), configuration)
        outputs = logistic_channels(channels) if likelihood == "discretized_logistic" else channels
        patched = nn.Conv2d(configuration.channels, outputs * configuration.patch**2, 3, padding=1)
        self.output = nn.Sequential(nn.SiLU(), patched, nn.PixelShuffle(configuration.patch))

    def terms(self, x: Tensor) -> Terms:
        """Return rate and distortion of each example, with one posterior sample drawn from the global generator.

        Args:
            x: data, ``[B, *shape]``, floating; ``k / 255`` for a discretised logistic likelihood.

        Returns:
            Nats; ``group_rate``, in the order of generation, and ``dimensions`` are filled.

        Raises:
            UsageError: if ``x`` has another shape or is not floating.
        """
        means, log_variances, _, state = self._infer(x, sampled=True)
        rates = [gaussian_kl(m, v).sum((1, 2, 3)) for m, v in zip(means, log_variances, strict=True)]
        group_rate = torch.stack(rates, dim=1)
        return Terms(
            group_rate.sum(1),
            distortion(self._likelihood(state), x),
            group_rate=group_rate,
            dimensions=group_rate.new_full((x.shape[0],), math.prod(self.shape)),
        )

    def log_weight(self, x: Tensor) -> Tensor:
        r"""Return :math:`\log p(x|z) + \log p(z) - \log q(z|x)` of each example at one posterior sample.

        The sample is drawn from the global generator, group after group, as in :meth:`terms`. The mean of its
        exponential is p(x): importance weighting takes it from here.

        Args:
            x: data, ``[B, *shape]``, floating.

        Returns:
            Nats, ``[B]``, float64.

        Raises:
            UsageError: if ``x`` has another shape or is not floating.
        """
        means, log_variances, noises, state = self._infer(x, sampled=True)
        log_weight = -distortion(self._likelihood(state), x).double()
        for mean, log_variance, noise in zip(means, log_variances, noises, strict=True):
            drawn = noise.double()
            prior, posterior = drawn.square(), (drawn - mean).square() * (-log_variance.double()).exp() + log_variance
            log_weight = log_weight - 0.5 * (prior - posterior).sum((1, 2, 3))
        return log_weight

    def encode(self, x: Tensor) -> Distribution:
        r"""Return a Gaussian over the noise: each group's posterior where all groups before are at their means.

        ``decode(encode(x).mean)`` is the reconstruction without noise. The exact posterior, of which :meth:`terms`
        draws, lets each group depend on the samples before it; this one does not, and its KL is not the rate.

        Args:
            x: data, ``[B, *shape]``, floating.

        Returns:
            A distribution with batch shape ``[B]`` and event shape ``[Z]``.

        Raises:
            UsageError: if ``x`` has another shape or is not floating.
        """
        means, log_variances, _, _ = self._infer(x, sampled=False)
        mean, log_variance = (torch.cat([part.flatten(1) for part in parts], 1) for parts in (means, log_variances))
        return diagonal_gaussian(mean, log_variance)

    def decode(self, noise: Tensor) -> Distribution:
        """Return the likelihood p(x|z) of the latents that the noise stands for.

        Args:
            noise: standard normal under the prior, ``[B, Z]``.

        Returns:
            A distribution with batch shape ``[B]`` and event shape ``shape``.
        """
        noise = noise.to(next(self.parameters()).dtype)
        state = self.decoder.begin(noise.shape[0])
        for group, flat in enumerate(noise.split(self.group_sizes, dim=1)):
            epsilon = flat.reshape(-1, *self._group_shapes[group])
            state = self.decoder.step(group, state, _latents(epsilon, self.decoder.prior(group, state)))
        return self._likelihood(state)

    def prior(self) -> Distribution:
        """Return the noise's distribution, standard normal, with batch shape ``[]`` and event shape ``[Z]``."""
        zeros = next(self.parameters()).new_zeros(self.latents)
        return diagonal_gaussian(zeros, zeros)

    @torch.no_grad()
    def sample(self, n: int, *, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Draw from the prior; the encoder is not used.

        Args:
            n: how many.
            temperature: factor of every group's standard deviation; below 1 for more typical images.
            generator: source of randomness, on the CPU; the global one if it is None.

        Returns:
            The likelihood's means, ``[n, *shape]``.

        Raises:
            UsageError: if ``n`` is below 1 or the temperature is negative or not finite.
        """
        if n < 1 or not (math.isfinite(temperature) and temperature >= 0):
            raise UsageError(f"sample takes n of at least 1 and a temperature of at least 0; got {n} and {temperature}")
        noise = temperature * torch.randn(n, self.latents, generator=generator)
        images: Tensor = self.decode(noise.to(next(self.parameters()).device)).mean
        return images

    def forward(self, x: Tensor) -> Tensor:
        """Return the likelihood's mean with every group at its posterior's mean, ``[B, *shape]``: nothing is random."""
        _, _, _, state = self._infer(x, sampled=False)
        reconstruction: Tensor = self._likelihood(state).mean
        return reconstruction

    def _infer(self, x: Tensor, *, sampled: bool) -> tuple[list[Tensor], list[Tensor], list[Tensor], Tensor]:
        """Return mean, log-variance and sample of each group's noise, and the state after the last group."""
        self._check_data(x)
        features = self.encoder(F.pad(2 * x - 1, [self.padding] * 4, value=-1.0))
        state = self.decoder.begin(x.shape[0])
        means, log_variances, noises = [], [], []
        for group, feature in enumerate(features):
            prior = self.decoder.prior(group, state)
            shift, log_ratio = self.encoder.posterior(group, feature, state)
            mean = shift if prior is None else shift * (-prior[1]).exp()
            noise = mean + log_ratio.exp() * torch.randn_like(mean) if sampled else mean
            state = self.decoder.step(group, state, _latents(noise, prior))
            means.append(mean)
            log_variances.append(2 * log_ratio)
            noises.append(noise)
        return means, log_variances, noises, state

    def _likelihood(self, state: Tensor) -> Distribution:
        raw = self.output(self.decoder(state))
        raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
        if self.padding:
            raw = raw[..., self.padding : -self.padding, self.padding : -self.padding]
        if self.likelihood == "discretized_logistic":
            return discretized_logistic(raw, self.shape[0])
        return _BY_VALUE[self.likelihood](raw)

    def _check_data(self, x: Tensor) -> None:
        if tuple(x.shape[1:]) != self.shape or not x.is_floating_point():
            raise UsageError(
                f"the {self.name or 'model'} takes floating data of shape [B, {', '.join(map(str, self.shape))}]; "
                f"got {str(x.dtype).removeprefix('torch.')} {list(x.shape)}"
            )


def nvae(
    shape: Sequence[int] = (1, 28, 28),
    latents: int | None = None,
    likelihood: str = "bernoulli",
    configuration: str = "small",
) -> NVAE:
    """Build the hierarchical VAE of Vahdat and Kautz 2020, without its normalizing flows.

    Initial weights are drawn from the global generator: call ``torch.manual_seed`` before for a reproducible model.

    Args:
        shape: ``(C, 28, 28)``, ``(C, 32, 32)`` or ``(C, 64, 64)``.
        latents: channels of each group's latents; None for the configuration's.
        likelihood: ``"bernoulli"``, ``"gaussian"`` (unit variance), ``"squared_error"`` or ``"discretized_logistic"``
            (256 levels a channel, ten components).
        configuration: a key of :data:`multirate.models.hierarchical.configurations.CONFIGURATIONS`.

    Returns:
        The model.

    Raises:
        UsageError: if an option cannot be right.
    """
    chosen = configuration_named(configuration)
    if latents is not None:
        if not positive_integers([latents]):
            raise UsageError(f"latents must be an integer of at least 1; got {latents!r}")
        chosen = replace(chosen, latents=latents)
    options = {"latents": chosen.latents, "likelihood": likelihood, "configuration": configuration}
    if not positive_integers(shape):
        raise UsageError(f"shape must be positive integers such as (1, 28, 28); got {shape!r}")
    return NVAE(shape, chosen, likelihood, name="nvae", options={"shape": list(shape), **options})


def _latents(noise: Tensor, prior: tuple[Tensor, Tensor] | None) -> Tensor:
    return noise if prior is None else prior[0] + prior[1].exp() * noise


def _check(shape: Sequence[int], configuration: Configuration, likelihood: str) -> None:
    if not positive_integers(shape):
        raise UsageError(f"shape must be positive integers such as (1, 28, 28); got {shape!r}")
    check_image_shape("nvae", shape)
    for name, value in asdict(configuration).items():
        least = 0 if name in ("halvings", "outer_cells") else 1
        if min(value if isinstance(value, tuple) else (value,), default=0) < least:
            raise UsageError(f"{name} of a configuration must be at least {least}; got {value}")
    size = max(32, shape[1])
    if size % (configuration.patch * 2**configuration.total_halvings):
        raise UsageError(
            f"{size}x{size} cannot be cut into squares of {configuration.patch} and halved "
            f"{configuration.total_halvings} times; choose fewer scales or halvings"
        )
    if likelihood not in NVAE_LIKELIHOODS:
        raise UsageError(f"likelihood must be one of {', '.join(NVAE_LIKELIHOODS)}; got {likelihood!r}")
