"""``multirate collapse``."""

from dataclasses import dataclass, field

from multirate.cli.shared import PositionalRun, Screen, Shared, SharedOptions


@dataclass(frozen=True, kw_only=True)
class Options:
    """Report where a run's curve collapses: at which beta each latent dies, where the rate moves, how far a bound is.

    Example: multirate collapse runs/mnist --threshold 0.01

    Writes collapse.json in the run's folder, which `multirate report` shows. A sweep or a curve's file is reported on
    without writing anything.
    """

    run: PositionalRun
    """Folder of an evaluated run, or of a sweep, or a curve.json."""
    threshold: float = 0.01
    """A latent is dead when its rate is below this, in nats an example."""
    entropy: float | None = None
    """Entropy H of the data in nats an example, where it is known: the report then says how far R is above H - D."""
    data_dir: str | None = None
    """Folder of the original data files, in place of the run's, for the optimum of a linear run."""
    shared: SharedOptions = field(default_factory=Shared)


def run(options: Options) -> None:
    """Report, and say where it was written."""
    from multirate.experiments.collapse import COLLAPSE, collapse_of, write_collapse
    from multirate.experiments.run import open_run

    screen = Screen(options.shared)
    written = (options.run / "config.yaml").exists()
    if written:
        done = open_run(options.run)
        found = write_collapse(
            done, threshold=options.threshold, entropy=options.entropy, data_dir=options.data_dir, say=screen.say
        )
    else:
        found = collapse_of(options.run, threshold=options.threshold, entropy=options.entropy)
    for line in found.lines():
        screen.say(line)
    if written:
        screen.say(f"wrote {options.run / COLLAPSE}")
    screen.result(found.to_dict())
