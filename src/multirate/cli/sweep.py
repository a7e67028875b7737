"""``multirate sweep``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from multirate.cli.shared import Screen, Shared, SharedOptions, parse_betas
from multirate.cli.train import TrainingOptions, TrainSpec

RESUME = "go on with the same command: finished betas are kept"


@dataclass(frozen=True)
class SweepSpec(TrainSpec):
    """The specification of a sweep: each run gets its own beta."""

    beta: tyro.conf.Suppress[tyro.conf.Fixed[float | None]] = None
    beta_low: tyro.conf.Suppress[tyro.conf.Fixed[float]] = 0.01
    beta_high: tyro.conf.Suppress[tyro.conf.Fixed[float]] = 10.0
    response: tyro.conf.Suppress[tyro.conf.Fixed[str]] = "default"
    preserve_at: tyro.conf.Suppress[tyro.conf.Fixed[float | None]] = None


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train a dedicated beta-VAE at each beta, the baselines of a multi-rate model; run again, it goes on.

    Example: multirate sweep --betas 0.01,0.1,1,10 --data mnist --model resnet --out runs/mnist-baselines
    """

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder of the sweep: a run in beta-B/ for each beta, and curve.json with all of them."""
    betas: str = "0.01,0.1,1,10"
    """Betas, separated by commas."""
    jobs: int = 1
    """Processes at a time."""
    split: Literal["train", "validation", "test"] = "test"
    """Part of the data to measure on."""
    samples: int = 1
    """Posterior samples an example, in the evaluation."""
    spec: Annotated[SweepSpec, tyro.conf.arg(name="")] = field(default_factory=SweepSpec)
    training: Annotated[TrainingOptions, tyro.conf.arg(name="")] = field(default_factory=TrainingOptions)
    shared: SharedOptions = field(default_factory=Shared)


def run(options: Options) -> None:
    """Train and evaluate the baselines, and print their curve."""
    from multirate.experiments.sweep import sweep

    screen = Screen(options.shared)
    curve = sweep(
        options.spec,
        parse_betas(options.betas),
        options.training.config(),
        options.out,
        jobs=options.jobs,
        split=options.split,
        samples=options.samples,
        say=screen.say,
    )
    screen.curve(curve)
    screen.say(f"wrote {options.out / 'curve.json'}; next: multirate compare RUN {options.out}")
    screen.result(curve.to_dict())
