"""``multirate report``."""

from dataclasses import dataclass, field

from multirate.cli.shared import PositionalRun, Screen, Shared, SharedOptions


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write a run's report.html: curve, comparison, collapse, pictures, tables and settings in one self-contained page.

    Example: multirate report runs/mnist
    """

    run: PositionalRun
    """Folder of a run; what it lacks, the report says how to make."""
    entropy: float | None = None
    """Entropy H of the data in nats an example, where it is known: the page then says how far R is above H - D."""
    shared: SharedOptions = field(default_factory=Shared)


def run(options: Options) -> None:
    """Write the page and say where it is."""
    from multirate.experiments.pictures import report
    from multirate.experiments.run import open_run

    screen = Screen(options.shared)
    path = report(open_run(options.run), entropy=options.entropy, say=screen.say)
    screen.say(f"wrote {path}, {path.stat().st_size / 1024:.0f} KB; open it in a browser")
    screen.result({"report": str(path)})
