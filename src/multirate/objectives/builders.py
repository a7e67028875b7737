"""The objectives that training knows, by name."""

from collections.abc import Callable
from functools import partial

from multirate.errors import UsageError
from multirate.objectives.base import Objective
from multirate.objectives.covariance import DIPVAE
from multirate.objectives.discrepancy import InfoVAE
from multirate.objectives.floor import FreeBits
from multirate.objectives.names import OBJECTIVE_NAMES
from multirate.objectives.rate_distortion import beta_vae
from multirate.objectives.sigma import SigmaVAE
from multirate.objectives.total_correlation import BetaTCVAE, Estimator


def by_name(name: str, *, dataset_size: int, estimator: Estimator = "stratified", free_bits: float = 0.0) -> Objective:
    """Make an objective; each takes of the options what concerns it.

    Args:
        name: one of :data:`multirate.objectives.names.OBJECTIVE_NAMES`.
        dataset_size: number of training examples, for ``beta-tcvae``.
        estimator: of the aggregate posterior, for ``beta-tcvae``.
        free_bits: nats of each latent, for ``free-bits``.

    Raises:
        UsageError: if the name is unknown, listing the known ones, or an option cannot be right.
    """
    constructors: dict[str, Callable[[], Objective]] = {
        "beta-vae": lambda: beta_vae,
        "beta-tcvae": partial(BetaTCVAE, dataset_size, estimator),
        "dip-vae-i": partial(DIPVAE, "i"),
        "dip-vae-ii": partial(DIPVAE, "ii"),
        "info-vae": InfoVAE,
        "free-bits": partial(FreeBits, free_bits),
        "sigma-vae": SigmaVAE,
    }
    if name not in constructors:
        raise UsageError(f"no objective {name!r}; choose one of {', '.join(OBJECTIVE_NAMES)}")
    return constructors[name]()
