"""The quickstart: one multi-rate VAE on digits against four dedicated beta-VAEs, with all that a run can show."""

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from multirate.beta import BetaRange
from multirate.comparison import Comparison
from multirate.curve import Curve
from multirate.experiments.compare import compare_run
from multirate.experiments.pictures import draw, report
from multirate.experiments.run import evaluate_run, open_run, train
from multirate.experiments.spec import RunSpec
from multirate.experiments.sweep import sweep
from multirate.training.config import TrainConfig

# With 1,297 training digits every model, dedicated or not, overfits: below beta 0.1 at once, above it after a hundred
# epochs. The step size is half the default for that.
DEDICATED = RunSpec(data="digits", model="mlp", latents=16, hidden=(256, 128))
MULTI_RATE = dataclasses.replace(DEDICATED, beta_low=0.1)
RANGE = BetaRange(MULTI_RATE.beta_low, MULTI_RATE.beta_high)
BETAS = (0.1, 0.3, 1.0, 2.0)
EPOCHS = 60
LEARNING_RATE = 1e-3
SAMPLES = 8


@dataclass(frozen=True)
class Quickstart:
    """What the quickstart made.

    Args:
        folder: of the multi-rate run, with the report; the dedicated runs are in its ``dedicated/``.
        curve: of the multi-rate VAE.
        comparison: with the dedicated beta-VAEs.
    """

    folder: Path
    curve: Curve
    comparison: Comparison

    def paths(self) -> dict[str, Path]:
        """Return where everything is, by what it is."""
        return {
            "report": self.folder / "report.html",
            "curve": self.folder / "curve.json",
            "comparison": self.folder / "comparison.json",
            "figures": self.folder / "figures",
            "model": self.folder / "model",
            "baselines": self.folder / "dedicated",
        }


def quickstart(
    out: str | Path,
    *,
    epochs: int = EPOCHS,
    jobs: int = 1,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> Quickstart:
    """Train all five models with the same budget, measure, compare, draw and report.

    Called again with the same options, it goes on where it stopped.

    Args:
        out: folder of the multi-rate run.
        epochs: of each model.
        jobs: baselines to train at a time.
        seed: of all five.
        say: called with a line before each part.

    Returns:
        The curve, the comparison and where they are.

    Raises:
        TrainingError: if the folder holds a quickstart with other options.
        MultirateError: as the parts.
    """
    out = Path(out)
    config = TrainConfig(epochs=epochs, learning_rate=LEARNING_RATE, seed=seed)
    passes = "1 epoch" if epochs == 1 else f"{epochs} epochs"
    say(f"training one multi-rate VAE on digits, {passes}")
    progress = sys.stderr.isatty()
    train(MULTI_RATE, config, out, resume=True, progress=progress)
    say(f"measuring it at 20 betas in {RANGE}")
    run = open_run(out)
    curve = evaluate_run(run, RANGE.grid(20).tolist(), samples=SAMPLES, progress=False)
    say(f"training a dedicated beta-VAE at each of {len(BETAS)} betas, {passes} each")
    sweep(DEDICATED, BETAS, config, out / "dedicated", jobs=jobs, samples=SAMPLES, progress=progress, say=say)
    comparison = compare_run(out, [out / "dedicated"])[0]
    say("drawing the figures and the report")
    draw(run, say=say)
    report(run, say=say)
    return Quickstart(out, curve, comparison)
