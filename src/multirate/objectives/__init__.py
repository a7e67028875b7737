"""What training minimises: a loss for each example from its terms and its beta; imported when first used.

The files are not called after the functions they define: importing a submodule sets an attribute of the package, and
``multirate.objectives.beta_vae`` has to stay the function.
"""

from typing import TYPE_CHECKING

from multirate._lazy import attach

if TYPE_CHECKING:
    from multirate.objectives.base import Objective, couples_examples
    from multirate.objectives.builders import by_name
    from multirate.objectives.covariance import DIPVAE
    from multirate.objectives.discrepancy import InfoVAE
    from multirate.objectives.floor import FreeBits
    from multirate.objectives.names import OBJECTIVE_DESCRIPTIONS, OBJECTIVE_NAMES
    from multirate.objectives.rate_distortion import DistortionWeighted, beta_vae, weighted
    from multirate.objectives.sigma import SigmaVAE, optimal_beta
    from multirate.objectives.total_correlation import BetaTCVAE, Decomposition, decompose
    from multirate.objectives.two_terms import TwoTerms

__all__ = [
    "DIPVAE",
    "OBJECTIVE_DESCRIPTIONS",
    "OBJECTIVE_NAMES",
    "BetaTCVAE",
    "Decomposition",
    "DistortionWeighted",
    "FreeBits",
    "InfoVAE",
    "Objective",
    "SigmaVAE",
    "TwoTerms",
    "beta_vae",
    "by_name",
    "couples_examples",
    "decompose",
    "optimal_beta",
    "weighted",
]

__getattr__, __dir__, _ = attach(
    __name__,
    {
        "DIPVAE": "covariance",
        "OBJECTIVE_DESCRIPTIONS": "names",
        "OBJECTIVE_NAMES": "names",
        "BetaTCVAE": "total_correlation",
        "Decomposition": "total_correlation",
        "DistortionWeighted": "rate_distortion",
        "FreeBits": "floor",
        "InfoVAE": "discrepancy",
        "Objective": "base",
        "SigmaVAE": "sigma",
        "TwoTerms": "two_terms",
        "beta_vae": "rate_distortion",
        "by_name": "builders",
        "couples_examples": "base",
        "decompose": "total_correlation",
        "optimal_beta": "sigma",
        "weighted": "rate_distortion",
    },
)
