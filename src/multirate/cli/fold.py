"""``multirate fold``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from multirate.cli.shared import PositionalRun, Screen, Shared, SharedOptions
from multirate.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write the plain VAE that a multi-rate run holds at one beta: the base's class, without gates.

    Example: multirate fold runs/mnist --beta 0.5 --out runs/mnist-folded
    """

    run: PositionalRun
    """Folder of a finished multi-rate run."""
    beta: float
    """Beta to fold at, in the model's range."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder to write: model.safetensors and model.json, and of a text run its vocabulary.json."""
    recalibrate: bool = False
    """Estimate BatchNorm statistics anew at this beta, on the run's training data."""
    shared: SharedOptions = field(default_factory=Shared)


def run(options: Options) -> None:
    """Fold and write."""
    screen = Screen(options.shared)
    parameters, beta = write_folded(options.run, options.beta, options.out, recalibrated=options.recalibrate)
    screen.say(
        f"the plain VAE at beta {beta:g}, {parameters:,} parameters, is in {options.out}; "
        f"multirate.load({str(options.out)!r}) reads it"
    )
    screen.result({"beta": beta, "fold": str(options.out), "parameters": parameters})


def write_folded(folder: Path, weight: float, out: Path, *, recalibrated: bool = False) -> tuple[int, float]:
    """Fold a run's model and save the plain one.

    Args:
        folder: of the run.
        weight: in the model's range: beta, or lambda of a model that is called with it.
        out: folder to write.
        recalibrated: estimate BatchNorm statistics anew on the run's training data.

    Returns:
        The plain model's number of parameters, and its beta.

    Raises:
        UsageError: if the run is a plain VAE already, ``out`` is not empty, beta is out of range, or there is no
            BatchNorm to recalibrate.
        DataError: if the run is not finished.
    """
    from multirate.experiments.run import open_run, recalibration_data
    from multirate.experiments.spec import VOCABULARY
    from multirate.files import write_atomic
    from multirate.fold import fold
    from multirate.inference import beta_of
    from multirate.saving import save
    from multirate.wrapper import MultiRate

    done = open_run(folder)
    if not isinstance(done.model, MultiRate):
        raise UsageError(f"{folder} holds a plain VAE, trained at beta {done.beta:g}; there is nothing to fold")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not an empty folder; choose another")
    plain, beta = fold(done.model, weight), beta_of(done.model, weight)
    if recalibrated:
        from multirate.recalibrate import recalibrate

        recalibrate(plain, recalibration_data(done))
    about = {"folded_at_beta": beta, "folded_from": folder.name, "recalibrated": recalibrated}
    save(plain, out, about)
    if (folder / VOCABULARY).exists():
        write_atomic(out / VOCABULARY, (folder / VOCABULARY).read_bytes())
    return sum(parameter.numel() for parameter in plain.parameters()), beta
