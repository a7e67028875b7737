r"""diffusers: its ``AutoencoderKL``, random or pretrained, as one multi-rate model over the whole range of KL weights.

Rate and distortion are sums over latents and values, one number an example, as latent diffusion trains such a model
(Rombach et al. 2022): its ``kl_weight`` of 1e-6 is a beta of 1e-6 beside ``likelihood="laplace"`` of scale 1, whose
distortion is the summed absolute error and the constant :math:`d \log 2`.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Laplace, Normal

from multirate.beta import BetaRange
from multirate.convert import convert as convert_module
from multirate.data import as_source
from multirate.errors import ConversionError, DataError, UsageError
from multirate.fold import fold as fold_module
from multirate.inference import inference, like_parameters
from multirate.integrations.extras import require
from multirate.seeding import seeded
from multirate.terms import (
    GaussianPosterior,
    Reconstruction,
    Terms,
    distortion,
    gaussian,
    gaussian_kl,
    squared_error,
)
from multirate.wrapper import MultiRate

__all__ = ["KLAutoencoder", "adapt", "convert", "fold", "scaling_factor"]

EXTRA = "diffusers"
Likelihood: TypeAlias = Literal["laplace", "gaussian", "squared_error"]
# A loss beside rate and distortion, of data and reconstruction, [B, C, H, W] each: one number an example, [B].
Extra: TypeAlias = Callable[[Tensor, Tensor], Tensor]

# Side of the latents of the image with which a conversion looks at the layers in use.
_EXAMPLE_SIDE = 4


class _Shared:
    """Holds what copies of a model share: a discriminator that goes on learning must not be copied with it."""

    def __init__(self, value: Extra | None) -> None:
        self.value = value

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Shared":
        return self


class KLAutoencoder(nn.Module):
    r"""An ``AutoencoderKL`` with the methods that multirate asks for; the model itself is :attr:`vae`, as it was given.

    The distortion of an image of :math:`d` values, with reconstruction :math:`\mu` and scale :math:`s`, is

    .. math::
        \text{laplace: } \sum_i |x_i - \mu_i| / s + d \log 2 s, \qquad
        \text{gaussian: } \sum_i (x_i - \mu_i)^2 / 2 s^2 + \tfrac d2 \log 2 \pi s^2,

    and ``squared_error`` is :math:`\sum_i (x_i - \mu_i)^2` alone, not a likelihood.

    Args:
        vae: a ``diffusers.AutoencoderKL``; not copied.
        likelihood: ``laplace``, ``gaussian`` or ``squared_error``.
        scale: :math:`s`.
        learn_scale: train :math:`\log s`, one number for all values and betas, as latent diffusion does with the
            logarithm of its variance. beta then weighs against a distortion whose scale moves.
        extra: a further loss of data and reconstruction, such as a perceptual or an adversarial one, one number an
            example: :attr:`multirate.Terms.extra`, which objectives add as it is. Its own networks are no part of this
            module, its ``state_dict`` or its parameters, and copies of this module share it. The attribute of that name
            may be set later, to None too.

    Raises:
        UsageError: if diffusers is not installed, the likelihood is unknown or the scale cannot be right.
        ConversionError: if ``vae`` is something else than an ``AutoencoderKL``.
    """

    extra: Extra | None

    def __init__(
        self,
        vae: nn.Module,
        *,
        likelihood: Likelihood = "laplace",
        scale: float = 1.0,
        learn_scale: bool = False,
        extra: Extra | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(vae, require("diffusers", extra=EXTRA).AutoencoderKL):
            raise ConversionError(
                f"{type(vae).__name__} is not diffusers' AutoencoderKL; give it terms(x) that returns multirate.Terms, "
                "and use multirate.convert"
            )
        _check_scale(likelihood, scale, learn_scale)
        self.vae = vae
        self.name = "autoencoder_kl"
        self.likelihood = likelihood
        self.scale = float(scale)
        self.log_scale = (
            nn.Parameter(like_parameters(torch.tensor(math.log(scale), dtype=torch.float64), vae))
            if learn_scale
            else None
        )
        self.extra = extra
        self.training = vae.training

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "extra":  # torch would make a network that is set here a part of this one
            self.__dict__["_extra"] = _Shared(value)
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        return self.__dict__["_extra"].value if name == "extra" else super().__getattr__(name)

    def forward(self, x: Tensor) -> Tensor:
        """Return reconstructions from the posterior's means, as ``vae(x).sample``, ``[B, C, H, W]``."""
        reconstruction: Tensor = self.vae(x).sample
        return reconstruction

    def terms(self, x: Tensor) -> Terms:
        """Return rate and distortion of each example; the rate is ``vae.encode(x).latent_dist.kl()``.

        Args:
            x: images, usually in [-1, 1], ``[B, C, H, W]``.

        Returns:
            Nats per example, ``[B]``, and the loss ``extra`` where there is one.

        Raises:
            UsageError: if ``extra`` gives anything but one number an example, or slicing meets one beta an example.
        """
        mean, log_variance = self._moments(x)
        z = _sampled(mean, log_variance)
        likelihood = self._likelihood(self._decoded(z))
        latent_rate = gaussian_kl(mean, log_variance).flatten(1)
        return Terms(
            latent_rate.sum(1),
            distortion(likelihood, x),
            latent_rate=latent_rate,
            posterior=GaussianPosterior(mean.flatten(1), log_variance.flatten(1), z.flatten(1)),
            reconstruction=Reconstruction(likelihood, x),
            **self._further(x, likelihood.mean),
        )

    def encode(self, x: Tensor) -> Distribution:
        """Return the posterior of images ``[B, C, H, W]``, a distribution over latents ``[Z, h, w]``."""
        mean, log_variance = self._moments(x)
        return Independent(Normal(mean, (0.5 * log_variance).exp(), validate_args=False), 3, validate_args=False)

    def decode(self, z: Tensor) -> Distribution:
        """Return the likelihood of latents ``[B, Z, h, w]``, a distribution over images ``[C, H, W]``."""
        return self._likelihood(self._decoded(z))

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        posterior = self.vae.encode(x).latent_dist
        _check_batch(posterior.mean, x)
        return posterior.mean, posterior.logvar

    def _decoded(self, z: Tensor) -> Tensor:
        reconstruction: Tensor = self.vae.decode(z).sample
        _check_batch(reconstruction, z)
        return reconstruction

    def _likelihood(self, reconstruction: Tensor) -> Distribution:
        if self.likelihood == "squared_error":
            return squared_error(reconstruction)
        scale = torch.full_like(reconstruction, self.scale) if self.log_scale is None else self.log_scale.exp()
        scale = scale.to(reconstruction.dtype).expand_as(reconstruction)
        if self.likelihood == "gaussian":
            return gaussian(reconstruction, scale.square())
        return Independent(Laplace(reconstruction, scale, validate_args=False), 3, validate_args=False)

    def _further(self, x: Tensor, reconstruction: Tensor) -> dict[str, Tensor]:
        if self.extra is None:
            return {}
        loss = self.extra(x, reconstruction)
        if not isinstance(loss, Tensor) or loss.shape != x.shape[:1]:
            found = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise UsageError(
                f"extra must return one number an example, [{x.shape[0]}]; got {found}: sum over pixels, not the batch"
            )
        return {"extra": loss}


def adapt(vae: nn.Module, **options: Any) -> KLAutoencoder:
    """Give a plain ``AutoencoderKL`` ``terms(x)``: :func:`multirate.evaluate` then measures it and ``fit`` trains it.

    Args:
        vae: it is used, not copied: training the result trains it.
        options: ``likelihood``, ``scale``, ``learn_scale`` and ``extra`` of :class:`KLAutoencoder`.

    Returns:
        The model with the methods that multirate asks for.

    Raises:
        UsageError: as :class:`KLAutoencoder`.
        ConversionError: as :class:`KLAutoencoder`.
    """
    return KLAutoencoder(vae, **options)


def convert(
    vae: nn.Module,
    beta_range: BetaRange | None = None,
    *,
    likelihood: Likelihood = "laplace",
    scale: float = 1.0,
    learn_scale: bool = False,
    extra: Extra | None = None,
    **options: Any,
) -> MultiRate:
    """Make a multi-rate model of an ``AutoencoderKL``; diffusers' methods are those of ``model.base.vae``.

    Every convolution and projection of encoder and decoder is gated, but the decoder's last one, and where a GroupNorm
    follows, after that. The latents are gated too, channel by channel: where the moments come out (``quant_conv``, or
    the encoder's last convolution) and where the decoder takes them in.

    Args:
        vae: a ``diffusers.AutoencoderKL``; it is copied.
        beta_range: the range of beta to serve, ``[0.01, 10]`` by default; latent diffusion's weights lie around 1e-6.
        likelihood: as in :class:`KLAutoencoder`.
        scale: as there.
        learn_scale: as there.
        extra: as there.
        options: of :func:`multirate.convert`, such as ``preserve_at``. Paths of layers begin with ``vae.``, as
            ``print(model.plan)`` shows them.

    Returns:
        The multi-rate model.

    Raises:
        UsageError: as :class:`KLAutoencoder`.
        ConversionError: as :class:`KLAutoencoder` and :func:`multirate.convert`.
    """
    base = KLAutoencoder(vae, likelihood=likelihood, scale=scale, learn_scale=learn_scale)
    model = convert_module(base, beta_range, **(_sites(base) | options))
    adapter = model.base
    assert isinstance(adapter, KLAutoencoder)
    adapter.extra = extra
    return model


def fold(model: MultiRate, beta: float) -> Any:
    """Take the ``AutoencoderKL`` of one beta out of a multi-rate model: its own keys and configuration, no gates.

    Args:
        model: of :func:`convert`; not changed.
        beta: one number of its range.

    Returns:
        A ``diffusers.AutoencoderKL`` for ``save_pretrained`` and pipelines. Its ``scaling_factor`` is the one that was
        given; :func:`scaling_factor` measures that of this beta.

    Raises:
        ConversionError: if the model is not a multi-rate ``AutoencoderKL``.
        BetaError: if beta is not one number of the range.
    """
    if not isinstance(model, MultiRate) or not isinstance(model.base, KLAutoencoder):
        of = type(model.base if isinstance(model, MultiRate) else model).__name__
        raise ConversionError(f"this fold takes what multirate.integrations.diffusers.convert made; got a {of}")
    plain = fold_module(model, beta)
    assert isinstance(plain, KLAutoencoder)
    return plain.vae


def scaling_factor(
    vae: nn.Module, data: Any, *, examples: int | None = None, batch_size: int = 64, seed: int = 0
) -> float:
    r"""Return one over the standard deviation of the latents: what a diffusion model multiplies them by.

    It is the ``scaling_factor`` of the configuration (Rombach et al. 2022, appendix D.1), which depends on beta:
    ``vae.register_to_config(scaling_factor=...)`` puts it there.

    Args:
        vae: a plain ``AutoencoderKL``; left as it was.
        data: images as it takes them, ``[N, C, H, W]``, a source or a dataset.
        examples: measure only so many, the first ones.
        batch_size: examples at a time.
        seed: of the posterior samples.

    Returns:
        :math:`1 / \mathrm{std}(z)` over all examples, channels and places.

    Raises:
        UsageError: as :class:`KLAutoencoder`.
        DataError: if the latents do not vary.
    """
    base = KLAutoencoder(vae)
    source = as_source(data)
    count = len(source) if examples is None else min(examples, len(source))
    total = torch.zeros(3, dtype=torch.float64)
    with inference(vae):
        for index, first in enumerate(range(0, count, batch_size)):
            x = like_parameters(source.batch(torch.arange(first, min(first + batch_size, count))), vae)
            with seeded(seed, "scaling factor", index):
                z = _sampled(*base._moments(x)).to("cpu", torch.float64)
            total += torch.stack([torch.tensor(float(z.numel()), dtype=torch.float64), z.sum(), z.square().sum()])
    numbers, sums, squares = total.tolist()
    variance = squares / numbers - (sums / numbers) ** 2
    if not (math.isfinite(variance) and variance > 0):
        raise DataError(f"the latents of {source.name} have variance {variance:g}; check the images and the model")
    return 1 / math.sqrt(variance)


def _sampled(mean: Tensor, log_variance: Tensor) -> Tensor:
    noise = torch.randn_like(mean, memory_format=torch.contiguous_format)  # in the library's own order
    return mean + noise * (0.5 * log_variance).exp()


def _sites(base: KLAutoencoder) -> dict[str, Any]:
    """Return the options of :func:`multirate.convert` that name this model's parts, and an image to look at them."""
    vae: Any = base.vae
    moments = "vae.encoder.conv_out" if vae.quant_conv is None else "vae.quant_conv"
    halvings = len(vae.config.block_out_channels) - 1
    side = _EXAMPLE_SIDE * 2**halvings
    return {
        "encoder": "vae.encoder",
        "decoder": "vae.decoder",
        "mean": moments,
        "log_variance": moments,
        "latent_input": "vae.decoder.conv_in" if vae.post_quant_conv is None else "vae.post_quant_conv",
        "ungated": "vae.decoder.conv_out",
        "example": like_parameters(torch.zeros(1, vae.config.in_channels, side, side), vae),
    }


def _check_batch(output: Tensor, given: Tensor) -> None:
    if output.shape[0] != given.shape[0]:
        raise UsageError(
            f"{given.shape[0]} examples became {output.shape[0]}: slicing runs the model on one example at a time and "
            "takes one beta a call; call vae.disable_slicing(), or pass one number"
        )


def _check_scale(likelihood: str, scale: float, learn_scale: bool) -> None:
    if likelihood not in get_args(Likelihood):
        raise UsageError(f"unknown likelihood {likelihood!r}; choose one of {', '.join(get_args(Likelihood))}")
    if not (math.isfinite(scale) and scale > 0):
        raise UsageError(f"scale must be positive and finite; got {scale}")
    if likelihood == "squared_error" and (scale != 1 or learn_scale):
        raise UsageError("likelihood squared_error has no scale; choose gaussian or laplace, or leave the scale out")
