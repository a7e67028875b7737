"""``multirate choose``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from multirate.cli.shared import PositionalRun, Screen, Shared, SharedOptions
from multirate.errors import UsageError
from multirate.text import format_measure


@dataclass(frozen=True, kw_only=True)
class Options:
    """Find the beta of a wanted rate or distortion, or of the best ELBO, on a run's measured curve.

    Example: multirate choose runs/mnist --rate 20 --fold runs/mnist-20-nats
    """

    run: PositionalRun
    """Folder of an evaluated run."""
    rate: float | None = None
    """Wanted rate, in nats an example."""
    distortion: float | None = None
    """Wanted distortion, in nats an example."""
    elbo: bool = False
    """Take the measured beta with the highest ELBO."""
    fold: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Also write the plain VAE of that beta here."""
    shared: SharedOptions = field(default_factory=Shared)


def run(options: Options) -> None:
    """Choose beta and print what to expect of it."""
    from multirate.experiments.run import read_curve

    if (options.rate is not None) + (options.distortion is not None) + options.elbo != 1:
        raise UsageError("say what to choose for: one of --rate X, --distortion X, --elbo")
    screen = Screen(options.shared)
    curve = read_curve(options.run)
    beta = curve.best("elbo") if options.elbo else curve.beta_for(rate=options.rate, distortion=options.distortion)
    expected = {key: value for key, value in curve.at(beta).items() if key != "beta"}
    if options.fold is not None:
        from multirate.cli.fold import write_folded

        write_folded(options.run, beta, options.fold)
    screen.say(f"beta {beta:.6g}")
    numbers = ", ".join(f"{key.replace('_', ' ')} {format_measure(key, value)}" for key, value in expected.items())
    screen.say(f"expected on {curve.data} {curve.split}, in {curve.units}: {numbers}")
    if options.fold is not None:
        screen.say(f"the plain VAE is in {options.fold}; multirate.load({str(options.fold)!r}) reads it")
    folded = {} if options.fold is None else {"fold": str(options.fold)}
    screen.result({"beta": beta, "expected": expected, **folded})
