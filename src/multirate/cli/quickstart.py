"""``multirate quickstart``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from multirate.cli.shared import Screen, Shared, SharedOptions


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train a multi-rate VAE on digits, four dedicated beta-VAEs with the same budget, and compare their curves.

    Example: multirate quickstart --out runs/quickstart
    """

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/quickstart")
    """Folder to write; run again, it goes on where it stopped."""
    epochs: int = 60
    """Passes over the 1,297 training digits, for each of the five models."""
    jobs: int = 1
    """Baselines to train at a time."""
    seed: int = 0
    """Fixes the initial weights, the order of the data, the betas and the noise."""
    shared: SharedOptions = field(default_factory=Shared)


RESUME = "go on with the same command: what is finished is kept"


def run(options: Options) -> None:
    """Run the quickstart, and print its tables and where everything is."""
    from multirate.experiments.quickstart import quickstart

    screen = Screen(options.shared)
    done = quickstart(options.out, epochs=options.epochs, jobs=options.jobs, seed=options.seed, say=screen.say)
    curve, comparison = done.curve, done.comparison
    screen.curve(curve)
    screen.table(comparison.table(), f"{comparison.label} against {comparison.baseline} (a gap above 0: worse)")
    for name, text in comparison.summary():
        screen.say(f"{name}: {text}")
    screen.say()
    for name, path in done.paths().items():
        screen.say(f"{name:<12} {path}")
    paths = {name: str(path) for name, path in done.paths().items()}
    screen.result({"curve": curve.to_dict(), "comparison": comparison.to_dict(), "paths": paths})
