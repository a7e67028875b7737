"""Fig. 7: samples of one multi-rate model from the same prior draws at every beta (Bae et al. 2023)."""

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from multirate.experiments.reproduce.fig6 import colour_settings
from multirate.experiments.reproduce.naming import log_spaced
from multirate.experiments.reproduce.recipe import Arm, Claim, Measured, Recipe, Results, Scale
from multirate.experiments.reproduce.shared import multirate_arms

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Rows of the grid: half a decade of beta apart.
BETAS = log_spaced(0.01, 10.0, 7)
# Draws of z: so many are compared, and the first of them shown.
DRAWS = 64
COLUMNS = 10


def arms(scale: Scale) -> tuple[Arm, ...]:
    """Return the multi-rate models of Fig. 6 on colour images.

    Args:
        scale: of the recipe.
    """
    return tuple(multirate_arms(setting, scale)[0] for setting in colour_settings(scale))


def pictures(measured: Measured) -> NDArray[np.float32]:
    """Return samples of an arm's first run, the same prior draws at each of the betas.

    Args:
        measured: a multi-rate model.

    Returns:
        Means of the likelihood, ``[n_beta, DRAWS, C, H, W]``.
    """
    from multirate.experiments.run import open_run
    from multirate.images import prior_samples

    return prior_samples(open_run(measured.folders[0][0]).model, BETAS, n=DRAWS)


def distances(images: NDArray[np.float32]) -> NDArray[np.float64]:
    r"""Return how far the samples of one draw are apart at two betas, :math:`\sqrt{E (x_{zi} - x_{zj})^2}`.

    The mean is over draws and pixels, so that it is in units of the pixels.

    Args:
        images: ``[n_beta, n, ...]``.

    Returns:
        ``[n_beta, n_beta]``, symmetric, 0 on the diagonal.
    """
    rows = images.reshape(len(images), -1).astype(np.float64)
    return np.array([[np.sqrt(np.mean((one - other) ** 2)) for other in rows] for one in rows])


def between_draws(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return how far the samples of two different draws are apart at one beta, the root of the mean square.

    The mean square over all pairs of different draws is twice the variance (with n - 1).

    Args:
        images: ``[n_beta, n, ...]``, n at least 2.

    Returns:
        ``[n_beta]``.
    """
    rows = images.reshape(*images.shape[:2], -1).astype(np.float64)
    return np.asarray(np.sqrt(2 * rows.var(axis=1, ddof=1).mean(axis=1)))


def figure(results: Results) -> "Figure":
    """Draw a grid of samples for each data set: rows beta, columns z.

    Args:
        results: of the recipe.
    """
    from multirate.report.reproduction_measures import SampleGrid, sample_grids

    return sample_grids(
        [SampleGrid(panel, BETAS, pictures(measured)[:, :COLUMNS]) for (panel, _), measured in results.arms.items()]
    )


def numbers(results: Results) -> dict[str, Any]:
    """Return the distances of samples in each panel, root mean squares over pixels.

    Args:
        results: of the recipe.
    """
    found = {}
    for (panel, _), measured in results.arms.items():
        images = pictures(measured)
        found[panel] = {
            "betas": list(BETAS),
            "draws": images.shape[1],
            "same_draw": distances(images).tolist(),
            "between_draws": between_draws(images).tolist(),
        }
    return found


def claims(results: Results) -> tuple[Claim, ...]:
    """Judge that samples follow beta smoothly, and that a draw keeps its picture.

    Args:
        results: of the recipe; without its numbers they are made anew.
    """
    table = results.numbers or numbers(results)
    found: list[Claim] = []
    for panel in results.panels:
        apart, draws = np.array(table[panel]["same_draw"]), np.array(table[panel]["between_draws"])
        found += [_monotone_claim(panel, apart), _nearest_claim(panel, apart), _identity_claim(panel, apart, draws)]
    return tuple(found)


def _monotone_claim(panel: str, apart: NDArray[np.float64]) -> Claim:
    by_steps = [float(np.diagonal(apart, steps).mean()) for steps in range(1, len(apart))]
    holds = all(after > before for before, after in itertools.pairwise(by_steps))
    return Claim(
        f"{panel}: samples change smoothly with β (the mean distance of a draw's samples grows with every further row "
        "between them)",
        "a continuous change",
        "distance by rows apart: " + ", ".join(f"{value:.3f}" for value in by_steps),
        holds,
    )


def _nearest_claim(panel: str, apart: NDArray[np.float64]) -> Claim:
    others = apart + np.diag(np.full(len(apart), np.inf))
    steps = np.abs(others.argmin(axis=1) - np.arange(len(apart)))
    count = int((steps == 1).sum())
    text = f"{panel}: nearer β give nearer samples (the nearest row to each row is the one above or below)"
    return Claim(text, "not measured", f"{count} of {len(apart)} rows", count == len(apart))


def _identity_claim(panel: str, apart: NDArray[np.float64], draws: NDArray[np.float64]) -> Claim:
    neighbours, different = float(np.diagonal(apart, 1).mean()), float(draws.mean())
    return Claim(
        f"{panel}: a draw keeps its picture as β changes (neighbouring rows of one draw differ less than two draws of "
        "one row, on average)",
        "seen in the figure",
        f"{neighbours:.3f} against {different:.3f}",
        neighbours < different,
    )


RECIPE = Recipe(
    name="fig7",
    title="Samples from the same prior draws at every β",
    arms=arms,
    figure=figure,
    claims=claims,
    numbers=numbers,
    budget={
        "smoke": "the multi-rate run of fig6 on scikit-learn's digits in gray levels",
        "cpu": "the multi-rate run of fig6 on 8,000 CelebA faces at half size: ResNet 32 channels wide where the "
        "paper's has 128, 8 epochs, seed 0; distances of 64 draws at 7 betas, the first 10 draws shown",
        "paper": "the multi-rate runs of fig6 on SVHN and CelebA-64: 200 epochs, step sizes from a grid of 5; the "
        "first of 3 seeds is shown",
    },
)
