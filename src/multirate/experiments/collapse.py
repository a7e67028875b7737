"""The collapse report of a run: of its curve, and of the linear VAE's optimum where that is its bound."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from multirate.collapse import THRESHOLD, Collapse, collapse
from multirate.curve import Curve, point
from multirate.errors import MultirateError
from multirate.experiments.building import load_data
from multirate.experiments.linear import moments
from multirate.experiments.run import FinishedRun, read_curve
from multirate.theory import LinearVAE

COLLAPSE = "collapse.json"


def write_collapse(
    run: FinishedRun,
    *,
    threshold: float = THRESHOLD,
    entropy: float | None = None,
    data_dir: str | None = None,
    say: Callable[[str], None] = print,
) -> Collapse:
    """Make the collapse report of an evaluated run and write ``collapse.json`` in its folder.

    Args:
        run: evaluated.
        threshold: of a latent's rate, in nats.
        entropy: of the data, nats an example, if it is known.
        data_dir: folder of the original data files, in place of the run's.
        say: called with a line if the bound of a linear run is left out, because its data cannot be read.

    Returns:
        The report.

    Raises:
        UsageError: if the threshold or the entropy cannot be right.
        DataError: if the run has no curve.
    """
    curve, optimum = read_curve(run.folder), None
    try:
        optimum = linear_optimum(run, curve, data_dir=data_dir)
    except MultirateError as error:
        say(f"note: no distance from the exact optimum: {str(error).partition(';')[0]}")
    found = collapse(curve, threshold, entropy=entropy, optimum=optimum)
    found.save(run.folder / COLLAPSE)
    return found


def linear_optimum(run: FinishedRun, curve: Curve, *, data_dir: str | None = None) -> Curve | None:
    """Return the least D + beta R of any linear VAE on the examples that a curve was measured on.

    Args:
        run: whose model it may be.
        curve: of that run.
        data_dir: folder of the original data files, in place of the run's.

    Returns:
        The optimum at the curve's betas; None unless the model is linear with a Gaussian likelihood of unit variance,
        and the curve of the run's own data.

    Raises:
        DataError: if the data cannot be read.
    """
    latents, likelihood = curve.details.get("latents"), curve.details.get("likelihood")
    if curve.model != "linear" or likelihood != "gaussian" or not isinstance(latents, int):
        return None
    source = load_data(run.spec, curve.split, data_dir)
    if source.name != curve.data or len(source) < curve.examples:
        return None
    mean, covariance = moments(source, curve.examples)
    theory = LinearVAE(covariance, latents, mean=mean)
    least = tuple(point(b, float(theory.rate(b)), float(theory.distortion(b))) for b in curve.betas.tolist())
    return dataclasses.replace(curve, label="exact optimum", points=least, details={})


def stale(folder: Path) -> bool:
    """Return whether a run's collapse report is missing, or older than its curve."""
    report, curve = folder / COLLAPSE, folder / "curve.json"
    return not report.exists() or report.stat().st_mtime_ns < curve.stat().st_mtime_ns


def collapse_of(path: Path, *, threshold: float = THRESHOLD, entropy: float | None = None) -> Collapse:
    """Return the collapse report of a sweep or of a curve's file; nothing is written.

    Args:
        path: a folder with ``curve.json``, or the file.
        threshold: of a latent's rate, in nats.
        entropy: of the data, nats an example, if it is known.

    Raises:
        MultirateError: as :func:`multirate.collapse`, or if there is no curve.
    """
    return collapse(read_curve(path), threshold, entropy=entropy)
