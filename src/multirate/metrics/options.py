"""Options of the measures of an evaluation; imports no torch, so that the command line can build its help from them."""

import math
from dataclasses import dataclass
from pathlib import Path

from multirate.errors import UsageError


@dataclass(frozen=True)
class MeasureOptions:
    """How each measure is taken.

    Raises:
        UsageError: if a value cannot be right, naming it.
    """

    active_threshold: float = 0.01
    """A latent is active when the variance of its posterior mean is above this."""
    importance_samples: int = 64
    """Posterior samples an example, for log_likelihood."""
    feature_network: str = "efficientnet_lite0"
    """Network whose features frechet_distance and kernel_distance compare: efficientnet_lite0 (extra frechet), or
    inception, whose distances are called fid and kid (extra fid)."""
    generated: int | None = None
    """Prior samples for those distances; None: as many as examples are measured."""
    feature_size: int | None = None
    """Side that images are resized to for them; None: 128 for efficientnet_lite0, and what inception does itself."""
    feature_weights: Path | None = None
    """File of the feature network's weights; None: those of its package, or for inception those in torch's cache."""

    def __post_init__(self) -> None:
        if not (self.active_threshold >= 0 and math.isfinite(self.active_threshold)):
            raise UsageError(f"active_threshold is a variance, at least 0; got {self.active_threshold}")
        for name in ("importance_samples", "generated", "feature_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1; got {value}")
