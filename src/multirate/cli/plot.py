"""``multirate plot``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from multirate.cli.shared import PositionalRun, Screen, Shared, SharedOptions


@dataclass(frozen=True, kw_only=True)
class Options:
    """Draw an evaluated run's figures again, with the baselines of its folder or with others.

    Example: multirate plot runs/mnist --baselines runs/mnist-baselines
    """

    run: PositionalRun
    """Folder of an evaluated run."""
    baselines: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="BASELINE")] = ()
    """Sweeps, evaluated runs or curve.json files, in place of those that `multirate compare` kept."""
    data_dir: str | None = None
    """Folder of the original data files, in place of the run's."""
    shared: SharedOptions = field(default_factory=Shared)


def run(options: Options) -> None:
    """Draw, and name the files."""
    from multirate.experiments.pictures import draw
    from multirate.experiments.run import open_run, read_curve

    screen = Screen(options.shared)
    baselines = [read_curve(path) for path in options.baselines] or None
    written = draw(open_run(options.run), baselines, data_dir=options.data_dir)
    for path in written:
        screen.say(str(path))
    screen.result({"figures": [str(path) for path in written]})
