"""Measures of what a VAE's latents hold: one module a measure, imported when it is first used.

A measure's module and its main function share a name: ``multirate.metrics.active_units`` is always the module, and
``from multirate.metrics.active_units import active_units`` gives the function.
"""

from typing import TYPE_CHECKING

from multirate._lazy import attach

if TYPE_CHECKING:
    from multirate.metrics import (
        active_units,
        dci,
        decomposition,
        factor_vae_score,
        features,
        frechet_distance,
        isometric_importance,
        kernel_distance,
        log_likelihood,
        mutual_information_gap,
    )
    from multirate.metrics.active_units import MeanVariance
    from multirate.metrics.decomposition import AggregatePosterior
    from multirate.metrics.features import NetworkOptions
    from multirate.metrics.log_likelihood import LogMeanExp

__all__ = [
    "AggregatePosterior",
    "LogMeanExp",
    "MeanVariance",
    "NetworkOptions",
    "active_units",
    "dci",
    "decomposition",
    "factor_vae_score",
    "features",
    "frechet_distance",
    "isometric_importance",
    "kernel_distance",
    "log_likelihood",
    "mutual_information_gap",
]

__getattr__, __dir__, _ = attach(
    __name__,
    {
        "AggregatePosterior": "decomposition",
        "LogMeanExp": "log_likelihood",
        "MeanVariance": "active_units",
        "NetworkOptions": "features",
        "active_units": "active_units:",
        "dci": "dci:",
        "decomposition": "decomposition:",
        "factor_vae_score": "factor_vae_score:",
        "features": "features:",
        "frechet_distance": "frechet_distance:",
        "isometric_importance": "isometric_importance:",
        "kernel_distance": "kernel_distance:",
        "log_likelihood": "log_likelihood:",
        "mutual_information_gap": "mutual_information_gap:",
    },
)
