"""Measures of what a VAE's latents hold: one module a measure, imported when it is first used.

A measure's module and its main function share a name: ``multirate.metrics.active_units`` is always the module, and
``from multirate.metrics.active_units import active_units`` gives the function.
"""

from typing import TYPE_CHECKING

from multirate._lazy import attach

if TYPE_CHECKING:
    from multirate.metrics import active_units, decomposition
    from multirate.metrics.active_units import MeanVariance
    from multirate.metrics.decomposition import AggregatePosterior

__all__ = ["AggregatePosterior", "MeanVariance", "active_units", "decomposition"]

__getattr__, __dir__, _ = attach(
    __name__,
    {
        "AggregatePosterior": "decomposition",
        "MeanVariance": "active_units",
        "active_units": "active_units:",
        "decomposition": "decomposition:",
    },
)
