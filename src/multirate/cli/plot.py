"""``multirate plot``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from multirate.cli.shared import PositionalRun, Screen, Shared, SharedOptions, counted


@dataclass(frozen=True, kw_only=True)
class Options:
    """Draw an evaluated run's figures again, with the baselines of its folder or with others.

    Example: multirate plot runs/mnist --baselines runs/mnist-baselines
    """

    run: PositionalRun
    """Folder of an evaluated run."""
    baselines: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="BASELINE [BASELINE ...]")] = ()
    """Sweeps, evaluated runs or curve.json files, in place of those that `multirate compare` kept."""
    optimum: bool = False
    """For a multi-rate run of model linear: draw its exact rate and distortion on the training data over the
    closed-form optimum, and print the excess."""
    data_dir: str | None = None
    """Folder of the original data files, in place of the run's."""
    shared: SharedOptions = field(default_factory=Shared)


def run(options: Options) -> None:
    """Draw, and name the files."""
    from multirate.experiments.pictures import draw
    from multirate.experiments.run import open_run, read_curve

    screen = Screen(options.shared)
    finished = open_run(options.run)
    if options.optimum:
        from multirate.experiments.linear import draw_optimum

        result, paths = draw_optimum(finished, data_dir=options.data_dir)
        excess = result.excess
        worst = max(range(len(excess)), key=excess.__getitem__)
        screen.say(
            f"excess over the exact optimum at {counted(len(excess), 'beta')}, nats an example: "
            f"largest {excess[worst]:.3f} at beta {result.curve.betas[worst]:g}, mean {sum(excess) / len(excess):.3f}"
        )
        for path in paths:
            screen.say(str(path))
        screen.result({"excess": excess, "betas": result.curve.betas.tolist(), "files": [str(path) for path in paths]})
        return
    baselines = [read_curve(path) for path in options.baselines] or None
    written = draw(finished, baselines, data_dir=options.data_dir, say=screen.say)
    for path in written:
        screen.say(str(path))
    screen.result({"figures": [str(path) for path in written]})
