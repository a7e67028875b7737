"""Sizes of hierarchical VAEs, as data."""

from collections.abc import Mapping
from dataclasses import dataclass

from multirate.errors import UsageError


@dataclass(frozen=True)
class Configuration:
    """Size of one NVAE, whatever the images.

    Channels double each time that height and width are halved.

    Args:
        groups: latent groups of each scale, from the coarsest scale, where generation starts, to the finest.
        halvings: how often height and width are halved between the first features and the finest scale of latents.
        channels: of the first features.
        latents: channels of a group's latents.
        cells: residual cells of a group, in the encoder and in the decoder each.
        outer_cells: residual cells at each size above the finest scale, beside those that change the size.
        expansion: of the decoder cells' channels around the depthwise convolution.
        patch: side of the squares of pixels that the first layer takes in and the last one gives; 1 for single pixels.
    """

    groups: tuple[int, ...]
    halvings: int
    channels: int
    latents: int
    cells: int
    outer_cells: int = 1
    expansion: int = 6
    patch: int = 1

    @property
    def total_groups(self) -> int:
        """How many latent groups there are over all scales."""
        return sum(self.groups)

    @property
    def total_halvings(self) -> int:
        """How often height and width are halved between the first features and the coarsest scale."""
        return self.halvings + len(self.groups) - 1


# ``mnist`` and ``celeba64``: number of scales and groups, sizes of the latents, channels of the latents and of the
# first features, and cells a group are those of Vahdat and Kautz 2020, Table 6, where celeba64 has normalizing flows
# besides, which are not here. Cells outside the groups and the expansion are this library's choice.
CONFIGURATIONS: Mapping[str, Configuration] = {
    "small": Configuration(
        groups=(2, 2), halvings=1, channels=16, latents=8, cells=1, outer_cells=0, expansion=2, patch=2
    ),
    "mnist": Configuration(groups=(5, 10), halvings=2, channels=32, latents=20, cells=1),
    "celeba64": Configuration(groups=(5, 10, 20), halvings=1, channels=64, latents=20, cells=2),
}


def configuration_named(name: str) -> Configuration:
    """Look a configuration up.

    Args:
        name: a key of :data:`CONFIGURATIONS`.

    Returns:
        The configuration.

    Raises:
        UsageError: if there is none of this name.
    """
    if not isinstance(name, str) or name not in CONFIGURATIONS:
        raise UsageError(f"configuration must be one of {', '.join(CONFIGURATIONS)}; got {name!r}")
    return CONFIGURATIONS[name]
