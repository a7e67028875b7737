r"""Likelihood of images of 256 grey levels a channel: a mixture of discretised logistics (Salimans et al. 2017).

Values are :math:`k / 255` in ``[0, 1]``, as the data sources give them; inside, pixels are :math:`y = 2 x - 1`. All
channels of a pixel share one component, and each channel's location moves with the channels before it.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, constraints

from multirate.errors import UsageError

LEVELS = 256
COMPONENTS = 10
# Half the distance between two grey levels of y = 2 x - 1.
_HALF = 1.0 / (LEVELS - 1)
# Lower bound of the logarithm of a scale, approached softly; e^-7 is an eighth of that distance.
_LEAST_LOG_SCALE = -7.0
_TINY = 1e-4


def logistic_channels(channels: int, components: int = COMPONENTS) -> int:
    r"""Return how many parameters a pixel's mixture has: :math:`K (1 + 2 C + C (C - 1) / 2)`.

    Args:
        channels: of the image, C.
        components: of the mixture, K.
    """
    return components * (1 + 2 * channels + channels * (channels - 1) // 2)


class DiscretizedLogisticMixture(Distribution):
    r"""Distribution of an image with 256 levels a channel.

    .. math::

        p(x) = \prod_{\text{pixels}} \sum_k \pi_k \prod_c
        \left[ \sigma\!\left(\frac{y_c + 1/255 - m_{kc}}{s_{kc}}\right)
        - \sigma\!\left(\frac{y_c - 1/255 - m_{kc}}{s_{kc}}\right) \right],
        \qquad m_{kc} = \mu_{kc} + \sum_{c' < c} a_{kcc'}\, y_{c'}

    where the lowest level takes all that lies below it and the highest all that lies above (Salimans et al. 2017,
    Eq. 1-2), so that the probabilities of 256 levels sum to 1. A difference of sigmoids is computed as a product,
    :math:`\sigma(a) - \sigma(b) = \sigma(a)\, \sigma(-b)\, (1 - e^{b - a})`, which is exact and has finite gradients
    however far away the level is. The coefficients are bounded by a hyperbolic tangent, and
    :math:`\log s = -7 + \mathrm{softplus}(7 + \text{raw})`.

    Args:
        raw: what a network gives, :func:`logistic_channels` values a pixel: K logits, then locations, raw log-scales
            and raw coefficients, ``[B, P, H, W]``. The coefficients come in the order
            :math:`a_{10}, a_{20}, a_{21}, \dots`, K of each.
        channels: of the image, C.

    Raises:
        UsageError: if the number of parameters fits no number of components.
    """

    arg_constraints = {}  # noqa: RUF012  # torch's own convention
    support = constraints.independent(constraints.unit_interval, 3)

    def __init__(self, raw: Tensor, channels: int) -> None:
        each = logistic_channels(channels, 1)
        if raw.ndim != 4 or raw.shape[1] % each or raw.shape[1] == 0:
            raise UsageError(
                f"a logistic mixture of {channels} channels takes [B, P, H, W] with P a multiple of {each}; "
                f"got {list(raw.shape)}"
            )
        components = raw.shape[1] // each
        pairs = channels * (channels - 1) // 2
        batch, _, height, width = raw.shape
        logits, locations, scales, coefficients = raw.split(
            [components, channels * components, channels * components, pairs * components], dim=1
        )
        self.log_weights = logits.log_softmax(1)
        self.locations = locations.reshape(batch, channels, components, height, width)
        floored = F.softplus(scales - _LEAST_LOG_SCALE) + _LEAST_LOG_SCALE
        self.log_scales = floored.reshape(batch, channels, components, height, width)
        self.coefficients = coefficients.tanh().reshape(batch, pairs, components, height, width)
        self.channels = channels
        super().__init__(raw.shape[:1], torch.Size([channels, height, width]), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the logarithm of the probability of images whose values are levels, ``k / 255``.

        Args:
            value: ``[..., B, C, H, W]``; values between two levels count as the nearer one.

        Returns:
            Nats, summed over the pixels, ``[..., B]``.
        """
        levels = (value * (LEVELS - 1)).round().clamp(0, LEVELS - 1)
        y = (2 * levels / (LEVELS - 1) - 1).to(self.log_scales.dtype).unsqueeze(-3)
        lowest, highest = (level.unsqueeze(-3) for level in (levels == 0, levels == LEVELS - 1))
        total = self.log_weights
        for channel in range(self.channels):
            at = y[..., channel, :, :, :]
            location = self._location(channel, [y[..., earlier, :, :, :] for earlier in range(channel)])
            ends = lowest[..., channel, :, :, :], highest[..., channel, :, :, :]
            total = total + _log_mass(at - location, self.log_scales[:, channel], *ends)
        pixels: Tensor = total.logsumexp(-3)
        return pixels.sum((-2, -1))

    @property
    def mean(self) -> Tensor:
        """Approximate mean, ``[B, C, H, W]``.

        For the first channel it is exact to half a level: the mean of a logistic cut at both ends. For the others each
        component has its mean at the means of its earlier channels, which is exact where nothing is cut.
        """
        means: list[Tensor] = []
        for channel in range(self.channels):
            location = self._location(channel, means)
            scale = self.log_scales[:, channel].exp()
            means.append(-1 + scale * (F.softplus((location + 1) / scale) - F.softplus((location - 1) / scale)))
        mixed = torch.stack([(self.log_weights.exp() * mean).sum(1) for mean in means], dim=1)
        return (mixed / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def sample(
        self, sample_shape: torch.Size | list[int] | tuple[int, ...] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw images, channel after channel, rounded to levels.

        Args:
            sample_shape: of the draws.
            generator: source of randomness, on the device of the parameters; the global one if it is None.

        Returns:
            Levels ``k / 255``, ``[*sample_shape, B, C, H, W]``.
        """
        shape = (*sample_shape, *self.log_weights.shape)
        uniform = torch.rand(shape, generator=generator, dtype=self.log_weights.dtype, device=self.log_weights.device)
        tiny = torch.finfo(uniform.dtype).tiny
        chosen = (self.log_weights - (-uniform.clamp(min=tiny).log()).log()).argmax(-3, keepdim=True)
        drawn: list[Tensor] = []
        for channel in range(self.channels):
            location = self._location(channel, drawn).expand(shape).gather(-3, chosen)
            scale = self.log_scales[:, channel].exp().expand(shape).gather(-3, chosen)
            u = torch.rand(chosen.shape, generator=generator, dtype=uniform.dtype, device=uniform.device)
            eps = torch.finfo(u.dtype).eps
            y = location + scale * u.clamp(eps, 1 - eps).logit()
            level = ((y + 1) / 2 * (LEVELS - 1)).round().clamp(0, LEVELS - 1)
            drawn.append(2 * level / (LEVELS - 1) - 1)
        levels = torch.cat(drawn, dim=-3) / 2 + 0.5
        return (levels * (LEVELS - 1)).round() / (LEVELS - 1)

    def _location(self, channel: int, earlier: list[Tensor]) -> Tensor:
        """Return the location of each component of one channel, given the values of the earlier ones."""
        location: Tensor = self.locations[:, channel]
        first = channel * (channel - 1) // 2
        for offset, y in enumerate(earlier):
            location = location + self.coefficients[:, first + offset] * y
        return location


def discretized_logistic(raw: Tensor, channels: int) -> DiscretizedLogisticMixture:
    """Likelihood of images with 256 levels a channel from a network's output.

    Args:
        raw: ``[B, P, H, W]`` with P from :func:`logistic_channels`.
        channels: of the image.

    Returns:
        A distribution with batch shape ``[B]`` and event shape ``[C, H, W]``.

    Raises:
        UsageError: if P fits no number of components.
    """
    return DiscretizedLogisticMixture(raw, channels)


def _log_mass(distance: Tensor, log_scale: Tensor, lowest: Tensor, highest: Tensor) -> Tensor:
    """Return the log-probability of the level at ``distance`` from a logistic's location."""
    inverse = (-log_scale).exp()
    upper, lower = (distance + _HALF) * inverse, (distance - _HALF) * inverse
    log_width = math.log(2 * _HALF) - log_scale
    width = log_width.exp()
    # log(1 - e^-w), which for a narrow bin is log(w) - w / 2 and stays finite when w underflows.
    narrow = log_width - width / 2
    wide = (-torch.expm1(-width.clamp(min=_TINY))).log()
    inside = torch.where(width < _TINY, narrow, wide)
    zero = torch.zeros_like(upper)
    below = torch.where(highest, zero, F.logsigmoid(upper))
    above = torch.where(lowest, zero, F.logsigmoid(-lower))
    return below + above + torch.where(lowest | highest, zero, inside)
