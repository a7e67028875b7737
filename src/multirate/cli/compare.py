"""``multirate compare``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from multirate.cli.shared import PositionalRun, Screen, Shared, SharedOptions, counted


@dataclass(frozen=True, kw_only=True)
class Options:
    """Set a run's curve against baselines: the gap in D + beta R at each of their betas, BD-rate, area between.

    Example: multirate compare runs/mnist runs/mnist-baselines
    """

    run: PositionalRun
    """Folder of an evaluated run, which also gets comparison.json, baselines/ and figures/; or a curve.json."""
    baselines: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="BASELINE [BASELINE ...]")]
    """Sweeps, evaluated runs or curve.json files; runs of one beta each are joined into one curve."""
    shared: SharedOptions = field(default_factory=Shared)


def run(options: Options) -> None:
    """Compare and print."""
    from multirate.experiments.compare import as_json, compare_run

    screen = Screen(options.shared)
    comparisons = compare_run(options.run, options.baselines)
    for comparison in comparisons:
        screen.table(comparison.table(), f"{comparison.label} against {comparison.baseline} (a gap above 0: worse)")
        for name, text in comparison.summary():
            screen.say(f"{name}: {text}")
        for note in comparison.notes:
            screen.say(f"note: {note}")
    if options.run.is_dir():
        from multirate.experiments.pictures import draw_curves

        figures = draw_curves(options.run, say=screen.say)
        screen.say(
            f"wrote {options.run / 'comparison.json'} and {counted(len(figures), 'figure')}; "
            f"next: multirate report {options.run}"
        )
    screen.result(as_json(comparisons))
