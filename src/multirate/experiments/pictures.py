"""The figures and the report of a run's folder: what the model draws, and what its curve shows."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from multirate.comparison import compare, families
from multirate.curve import Curve
from multirate.errors import MultirateError
from multirate.experiments.building import first_examples, load_data
from multirate.experiments.collapse import stale, write_collapse
from multirate.experiments.run import FinishedRun, read_curve
from multirate.experiments.sentence_tables import SENTENCES, write_sentences
from multirate.experiments.spec import VOCABULARY
from multirate.files import remove
from multirate.images import prior_samples, reconstructions
from multirate.inference import base_of, weight_of
from multirate.report.assemble import write_report
from multirate.report.figures import against_beta, gaps, image_grid, rate_distortion, training
from multirate.report.further import further_measures, group_rates, measures
from multirate.report.latents import isometric_importance, latent_rates
from multirate.report.run import read_run
from multirate.report.style import save

ROWS = 6
COLUMNS = 10
PICTURES = ("reconstructions", "prior_samples")
CURVES = ("rate_distortion", "against_beta")
# Figures of what a curve's details say of each latent.
LATENTS = {"latent_rates": latent_rates, "isometric_importance": isometric_importance}


def draw(
    run: FinishedRun,
    baselines: Sequence[Curve] | None = None,
    *,
    data_dir: str | None = None,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Draw every figure that a run's folder has the numbers for, into ``figures/``.

    Pictures are left out, with a note, where the model or the data cannot be read.

    Args:
        run: evaluated.
        baselines: in place of those in the run's folder.
        data_dir: folder of the original data files, in place of the run's.
        say: called with a line for what is left out.

    Returns:
        The files written.

    Raises:
        DataError: if the run has no curve, or its curve or a baseline is damaged.
        UsageError: if the given baselines measure other data than the curve.
    """
    files = draw_curves(run.folder, baselines, say=say)
    try:
        return [*files, *draw_pictures(run, data_dir=data_dir)]
    except MultirateError as error:
        say(f"note: no pictures: {str(error).partition(';')[0]}")
        return files


def draw_curves(
    folder: Path, baselines: Sequence[Curve] | None = None, *, say: Callable[[str], None] = print
) -> list[Path]:
    """Draw the curve, its course over beta, the gaps to baselines and the course of training.

    Args:
        folder: of an evaluated run.
        baselines: in place of those in the folder, of which any that measure other data by now are left out.
        say: called with a line for what is left out.

    Returns:
        The files written.

    Raises:
        DataError: if the run has no curve, or a file is damaged.
        UsageError: if the given baselines measure other data than the curve.
    """
    curve = read_curve(folder)
    files = read_run(folder)
    known, comparisons = files.baselines, files.comparisons
    if baselines is None:
        for reason in files.left_out:
            say(f"note: {reason}")
    else:
        known = families(baselines)
        comparisons = [compare(curve, family) for family in known]
    drawn = {"rate_distortion": rate_distortion(curve, known), "against_beta": against_beta(curve, known)}
    for index, comparison in enumerate(comparisons):
        drawn["gaps" if index == 0 else f"gaps_{index + 1}"] = gaps(comparison)
    if further_measures(curve):
        drawn["measures"] = measures(curve)
    if "group_rates" in curve.details:
        drawn["group_rates"] = group_rates(curve)
    for name, picture in LATENTS.items():
        if name in curve.details:
            drawn[name] = picture(curve)
    if files.history:
        drawn["training"] = training(files.history)
    written = [save(figure, folder / "figures" / f"{name}.png") for name, figure in drawn.items()]
    for pattern in ("gaps*.png", "measures.png", "group_rates.png", *(f"{name}.png" for name in LATENTS)):
        for old in (folder / "figures").glob(pattern):
            if old not in written:
                remove(old)
    return written


def draw_pictures(run: FinishedRun, *, data_dir: str | None = None) -> list[Path]:
    """Draw reconstructions and prior samples, a row a beta, of a model of images; of text, write both as sentences.

    Args:
        run: of any data; of others than text nothing is drawn unless an example is ``[H, W]``, ``[1, H, W]`` or
            ``[3, H, W]``.
        data_dir: folder of the original data files, in place of the run's.

    Returns:
        The files written.

    Raises:
        DataError: if the data cannot be read.
    """
    curve = read_curve(run.folder)
    base = base_of(run.model)
    source = load_data(run.spec, curve.split, data_dir)
    if source.vocabulary is not None:
        return [write_sentences(run, source, [float(beta) for beta in _spread(curve)])]
    if not is_image(source.shape) or not all(hasattr(base, name) for name in ("encode", "decode", "prior")):
        return []
    betas = None if run.beta is not None else [float(beta) for beta in _spread(curve)]
    labels = [run.beta] if betas is None and run.beta is not None else betas or []
    weights = None if betas is None else [weight_of(run.model, beta) for beta in betas]
    x = first_examples(source, COLUMNS)
    folder = run.folder / "figures"
    made = (
        image_grid(reconstructions(run.model, x, weights), labels, inputs=x.numpy()),
        image_grid(prior_samples(run.model, weights, COLUMNS), labels),
    )
    return [save(figure, folder / f"{name}.png") for name, figure in zip(PICTURES, made, strict=True)]


def report(run: FinishedRun, *, entropy: float | None = None, say: Callable[[str], None] = print) -> Path:
    """Write a run's ``report.html``; figures and collapse report, if missing or older than the curve, are made first.

    Args:
        run: evaluated or not.
        entropy: of the data in nats an example, if it is known: the collapse report is then made again with it.
        say: called with a line for what is left out.

    Returns:
        The file.

    Raises:
        UsageError: if the entropy is not finite.
        DataError: if a file is damaged or cannot be written.
    """
    evaluated = (run.folder / "curve.json").exists()
    if evaluated and (entropy is not None or stale(run.folder)):
        write_collapse(run, entropy=entropy, say=say)
    if evaluated and _are_stale(run.folder):
        draw(run, say=say)
    return write_report(run.folder)


def _are_stale(folder: Path) -> bool:
    measured = (folder / "curve.json").stat().st_mtime_ns
    text = (folder / VOCABULARY).exists()
    paths = [folder / "figures" / f"{name}.png" for name in (CURVES if text else (*CURVES, *PICTURES))]
    paths += [folder / SENTENCES] if text else []
    return any(not path.exists() or path.stat().st_mtime_ns < measured for path in paths)


def _spread(curve: Curve) -> Sequence[float]:
    """Return at most ``ROWS`` betas of the curve, both ends among them."""
    count = min(ROWS, len(curve))
    return [float(beta) for beta in curve.betas[np.linspace(0, len(curve) - 1, count).round().astype(int)]]


def is_image(shape: Sequence[int]) -> bool:
    """Return whether an example of this shape is a picture: ``[H, W]``, ``[1, H, W]`` or ``[3, H, W]``."""
    return len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3))
