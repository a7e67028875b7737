"""Figures and the run report, made from curves and arrays; no torch is imported here."""

from typing import TYPE_CHECKING

from multirate._lazy import attach

if TYPE_CHECKING:
    from multirate.report.assemble import write_report
    from multirate.report.figures import against_beta, gaps, image_grid, rate_distortion, training
    from multirate.report.further import group_rates, measures
    from multirate.report.latents import isometric_importance, latent_rates
    from multirate.report.style import save, to_svg

__all__ = [
    "against_beta",
    "gaps",
    "group_rates",
    "image_grid",
    "isometric_importance",
    "latent_rates",
    "measures",
    "rate_distortion",
    "save",
    "to_svg",
    "training",
    "write_report",
]

__getattr__, __dir__, _ = attach(
    __name__,
    {
        "against_beta": "figures",
        "gaps": "figures",
        "group_rates": "further",
        "image_grid": "figures",
        "isometric_importance": "latents",
        "latent_rates": "latents",
        "measures": "further",
        "rate_distortion": "figures",
        "save": "style",
        "to_svg": "style",
        "training": "figures",
        "write_report": "assemble",
    },
)
