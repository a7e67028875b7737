"""The sides of a hierarchical VAE: a bottom-up encoder with posterior heads, a top-down decoder with prior heads."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from multirate.models.hierarchical.cells import decoder_cell, encoder_cell
from multirate.models.hierarchical.configurations import Configuration

# Bounds of the logarithm of a prior's standard deviation, and of the ratio of a posterior's to it, approached softly.
# A KL grows as the inverse square of the former; narrower priors than that are wider means.
_MOST_LOG_PRIOR = 3.0
_MOST_LOG_RATIO = 5.0
# Weights of the heads at the start, relative to PyTorch's: every posterior starts near its prior, near N(0, I).
_FIRST_HEAD = 0.1


def channels_at(configuration: Configuration, halvings: int) -> int:
    """Return the number of channels after so many halvings of height and width."""
    return configuration.channels << halvings


def scales_of_groups(configuration: Configuration) -> list[int]:
    """Return for each latent group, in the order of generation, how often the first features are halved there."""
    coarsest = configuration.total_halvings
    return [coarsest - scale for scale, count in enumerate(configuration.groups) for _ in range(count)]


def bounded_moments(moments: Tensor, most: float) -> tuple[Tensor, Tensor]:
    r"""Split a head's output into a shift and the logarithm of a scale, bounded smoothly to ``(-most, most)``.

    Args:
        moments: shifts first, along the channels, ``[B, 2 L, H, W]``.
        most: bound of the logarithm.

    Returns:
        ``[B, L, H, W]`` each, in float32 at least.
    """
    moments = moments.to(torch.promote_types(moments.dtype, torch.float32))
    shift, log_scale = moments.chunk(2, dim=1)
    return shift, most * torch.tanh(log_scale / most)


def _head(channels: int, latents: int, kernel: int) -> nn.Sequential:
    layer = nn.Conv2d(channels, 2 * latents, kernel, padding=kernel // 2)
    with torch.no_grad():
        layer.weight.mul_(_FIRST_HEAD)
        assert layer.bias is not None
        layer.bias.zero_()
    return nn.Sequential(nn.SiLU(), layer)


class HierarchicalEncoder(nn.Module):
    """Deterministic features from the image upwards, and a head for the posterior of each latent group.

    Args:
        image_channels: of the images.
        configuration: sizes.
    """

    def __init__(self, image_channels: int, configuration: Configuration) -> None:
        super().__init__()
        patch = configuration.patch
        self.stem = nn.Conv2d(image_channels, configuration.channels, patch + 2, stride=patch, padding=1)
        down: list[nn.Module] = []
        for halvings in range(configuration.halvings):
            here = channels_at(configuration, halvings)
            down += [encoder_cell(here, here) for _ in range(configuration.outer_cells)]
            down.append(encoder_cell(here, 2 * here, stride=2))
        self.down = nn.Sequential(*down)
        scales = scales_of_groups(configuration)
        blocks: list[nn.Module] = []
        previous = configuration.halvings
        for halvings in reversed(scales):
            here = channels_at(configuration, halvings)
            coarser = [encoder_cell(here // 2, here, stride=2)] if halvings > previous else []
            blocks.append(nn.Sequential(*coarser, *(encoder_cell(here, here) for _ in range(configuration.cells))))
            previous = halvings
        self.blocks = nn.ModuleList(blocks)
        widths = [channels_at(configuration, halvings) for halvings in scales]
        self.queries = nn.ModuleList(nn.Conv2d(width, width, 1) for width in widths)
        self.posteriors = nn.ModuleList(_head(width, configuration.latents, 3) for width in widths)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features of each latent group, in the order of generation, for images ``[B, C, H, W]``."""
        hidden: Tensor = self.down(self.stem(x))
        features = []
        for block in self.blocks:
            hidden = block(hidden)
            features.append(hidden)
        return features[::-1]

    def posterior(self, group: int, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return how the posterior of one group differs from its prior: from what is below it and what is above.

        Args:
            group: from 0, in the order of generation.
            features: of the encoder at this group, ``[B, C, H, W]``.
            state: of the decoder before this group, which depends on the samples of all groups before.

        Returns:
            :math:`\Delta\mu` and :math:`\log \Delta\sigma`, ``[B, L, H, W]`` each.
        """
        return bounded_moments(self.posteriors[group](features + self.queries[group](state)), _MOST_LOG_RATIO)


class HierarchicalDecoder(nn.Module):
    """A state that starts as a learnt constant and takes in one latent group after the other, with a prior for each.

    Args:
        size: height and width of the state at the start.
        configuration: sizes.
    """

    def __init__(self, size: Sequence[int], configuration: Configuration) -> None:
        super().__init__()
        scales = scales_of_groups(configuration)
        widths = [channels_at(configuration, halvings) for halvings in scales]
        expansion = configuration.expansion
        self.start = nn.Parameter(torch.zeros(1, widths[0], *size))
        nn.init.normal_(self.start)
        self.priors = nn.ModuleList(_head(width, configuration.latents, 1) for width in widths[1:])
        self.inputs = nn.ModuleList(nn.Conv2d(configuration.latents, width, 1) for width in widths)
        blocks: list[nn.Module] = []
        for width, following in zip(widths, [*widths[1:], widths[-1]], strict=True):
            cells = [decoder_cell(width, width, expansion) for _ in range(configuration.cells)]
            finer = [decoder_cell(width, following, expansion, upsample=2)] if following < width else []
            blocks.append(nn.Sequential(*cells, *finer))
        self.blocks = nn.ModuleList(blocks)
        up: list[nn.Module] = []
        for halvings in reversed(range(configuration.halvings)):
            here = channels_at(configuration, halvings)
            up.append(decoder_cell(2 * here, here, expansion, upsample=2))
            up += [decoder_cell(here, here, expansion) for _ in range(configuration.outer_cells)]
        self.up = nn.Sequential(*up)

    def begin(self, examples: int) -> Tensor:
        """Return the state before any latents, ``[B, C, H, W]``."""
        return self.start.expand(examples, -1, -1, -1)

    def prior(self, group: int, state: Tensor) -> tuple[Tensor, Tensor] | None:
        r"""Return the prior's mean and log standard deviation of one group; None for the first, which is N(0, I).

        Args:
            group: from 0, in the order of generation.
            state: before this group, ``[B, C, H, W]``.

        Returns:
            :math:`\mu_p` and :math:`\log\sigma_p`, ``[B, L, H, W]`` each, or None.
        """
        return None if group == 0 else bounded_moments(self.priors[group - 1](state), _MOST_LOG_PRIOR)

    def step(self, group: int, state: Tensor, z: Tensor) -> Tensor:
        """Return the state after one group.

        Args:
            group: from 0, in the order of generation.
            state: before this group, ``[B, C, H, W]``.
            z: the group's latents, ``[B, L, H, W]``.

        Returns:
            ``[B, C', H', W']``, of the next group's size.
        """
        after: Tensor = self.blocks[group](state + self.inputs[group](z.to(state.dtype)))
        return after

    def forward(self, state: Tensor) -> Tensor:
        """Return features of the size of the encoder's first ones for the state after the last group."""
        features: Tensor = self.up(state)
        return features
