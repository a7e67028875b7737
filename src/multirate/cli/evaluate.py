"""``multirate evaluate``."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from multirate.cli.shared import PositionalRun, Screen, Shared, SharedOptions, counted, parse_grid
from multirate.metrics.options import MeasureOptions

if TYPE_CHECKING:
    from multirate.experiments.run import FinishedRun


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure a run's rate-distortion curve; writes curve.json, curve.csv, collapse.json and figures/ in its folder.

    Warns of what cannot be right, such as a rate that rises with beta, beyond the noise of the examples.

    Example: multirate evaluate runs/mnist --betas 20
    """

    run: PositionalRun
    """Folder of a finished run."""
    betas: str = "20"
    """How many betas, log-spaced over the model's range; or which ones, as 0.01,0.1,1,10."""
    split: Literal["train", "validation", "test"] = "test"
    """Part of the data to measure on; of train the curve, the report and a warning say that it was trained on."""
    samples: int = 1
    """Posterior samples an example."""
    examples: int | None = None
    """Measure on the first so many examples only."""
    seed: int = 0
    """Fixes the noise, the same at every beta."""
    label: str | None = None
    """Name of the curve in figures and tables."""
    data: str | None = None
    """Data set by name or path, in place of the run's."""
    data_dir: str | None = None
    """Folder of the original data files, in place of the run's."""
    measures: tuple[str, ...] = ("active_units",)
    """What to measure beside rate and distortion: active_units, decomposition (mutual_information, total_correlation,
    dimension_wise_kl and marginal_kl of the aggregate posterior), log_likelihood (importance-weighted),
    isometric_importance (of each latent); of data with known factors, such as dsprites, also
    mutual_information_gap, dci and factor_vae_score; of images frechet_distance and kernel_distance."""
    measuring: Annotated[MeasureOptions, tyro.conf.arg(name="")] = field(default_factory=MeasureOptions)
    recalibrate: bool = False
    """Estimate BatchNorm statistics anew at each beta, on the run's training data."""
    figures: bool = True
    """Leave the figures out; they are drawn by default."""
    shared: SharedOptions = field(default_factory=Shared)


def run(options: Options) -> None:
    """Evaluate, draw, and print the curve."""
    from multirate.experiments.run import open_run
    from multirate.locking import alone

    done = open_run(options.run, data=options.data)
    with alone(options.run):
        _evaluate(options, done)


def _evaluate(options: Options, done: "FinishedRun") -> None:
    from multirate.experiments.collapse import write_collapse
    from multirate.experiments.pictures import draw
    from multirate.experiments.run import evaluate_run

    screen = Screen(options.shared)
    curve = evaluate_run(
        done,
        parse_grid(options.betas),
        split=options.split,
        samples=options.samples,
        examples=options.examples,
        seed=options.seed,
        data_dir=options.data_dir,
        measures=options.measures,
        measure_options=options.measuring,
        recalibrate=options.recalibrate,
        label=options.label,
    )
    screen.curve(curve)
    for line in write_collapse(done, data_dir=options.data_dir, say=screen.say).lines():
        screen.say(line)
    written = draw(done, data_dir=options.data_dir, say=screen.say) if options.figures else []
    figures = f" and {counted(len(written), 'figure')}" if written else ""
    screen.say(f"wrote {options.run / 'curve.json'}, curve.csv, collapse.json{figures}")
    screen.result(curve.to_dict())
