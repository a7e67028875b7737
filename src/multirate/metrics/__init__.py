"""Measures of what a VAE's latents hold: one module a measure, imported when it is first used.

A measure's module and its main function share a name: ``multirate.metrics.active_units`` is always the module, and
``from multirate.metrics.active_units import active_units`` gives the function.
"""

from typing import TYPE_CHECKING

from multirate._lazy import attach

if TYPE_CHECKING:
    from multirate.metrics import active_units
    from multirate.metrics.active_units import MeanVariance

__all__ = ["MeanVariance", "active_units"]

__getattr__, __dir__, _ = attach(__name__, {"MeanVariance": "active_units", "active_units": "active_units:"})
