"""``multirate choose``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from multirate.cli.shared import PositionalRun, Screen, Shared, SharedOptions
from multirate.errors import UsageError
from multirate.text import format_measure, spoken

if TYPE_CHECKING:
    from multirate.choosing import Choice
    from multirate.curve import Curve


@dataclass(frozen=True, kw_only=True)
class Options:
    """Find the beta of a wanted rate or distortion, or of the best value of a measure, on a run's measured curve.

    Example: multirate choose runs/mnist --rate 20 --fold runs/mnist-20-nats
    """

    run: PositionalRun
    """Folder of an evaluated run."""
    rate: float | None = None
    """Wanted rate, in nats an example; beta is interpolated."""
    distortion: float | None = None
    """Wanted distortion, in nats an example; beta is interpolated."""
    elbo: bool = False
    """Take the measured beta with the highest ELBO."""
    highest: Annotated[str | None, tyro.conf.arg(name="max", metavar="MEASURE")] = None
    """Take the measured beta with the most of a measure of the curve, such as mutual_information_gap."""
    lowest: Annotated[str | None, tyro.conf.arg(name="min", metavar="MEASURE")] = None
    """Take the measured beta with the least of a measure, such as frechet_distance."""
    fold: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Also write the plain VAE of that beta here."""
    shared: SharedOptions = field(default_factory=Shared)


def run(options: Options) -> None:
    """Choose beta and print what to expect of it."""
    from multirate.experiments.run import read_curve

    asked = (options.rate, options.distortion, options.elbo or None, options.highest, options.lowest)
    if sum(wish is not None for wish in asked) != 1:
        raise UsageError(
            "say what to choose for: one of --rate X, --distortion X, --elbo, --max MEASURE, --min MEASURE"
        )
    screen = Screen(options.shared)
    curve = read_curve(options.run)
    choice = _choice(options, curve)
    beta = choice.beta
    expected = {key: value for key, value in choice.expected.items() if key != "beta"}
    if options.fold is not None:
        from multirate.cli.fold import write_folded
        from multirate.experiments.run import open_run
        from multirate.inference import weight_of

        write_folded(options.run, weight_of(open_run(options.run).model, beta), options.fold)
    screen.warnings(curve)
    screen.say(f"beta {beta:.6g}")
    if choice.note:
        screen.say(choice.note)
    numbers = ", ".join(f"{spoken(key)} {format_measure(key, value)}" for key, value in expected.items())
    screen.say(f"expected on {curve.data} {curve.split}, in {curve.units}: {numbers}")
    if options.fold is not None:
        screen.say(f"the plain VAE is in {options.fold}; multirate.load({str(options.fold)!r}) reads it")
    folded = {} if options.fold is None else {"fold": str(options.fold)}
    note = {"note": choice.note} if choice.note else {}
    warned = {"warnings": list(curve.warnings)} if curve.warnings else {}
    screen.result({"beta": beta, "expected": expected, **note, **warned, **folded})


def _choice(options: Options, curve: "Curve") -> "Choice":
    from multirate.choosing import choose_best, choose_budget

    if options.highest is not None:
        return choose_best(curve, options.highest)
    if options.lowest is not None:
        return choose_best(curve, options.lowest, lowest=True)
    if options.elbo:
        return choose_best(curve, "elbo")
    return choose_budget(curve, rate=options.rate, distortion=options.distortion)
