"""How far linear trials are above the exact optimum: ``python experiments/closing_the_gap/linear.py trials.yaml``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from options import Trial
from recipe import load_split, trained
from torch import nn
from trial import read_trials

from multirate.data import as_source
from multirate.errors import MultirateError, UsageError
from multirate.experiments.linear import on_its_optimum

_BETAS = 20


def excess(trial: Trial, model: nn.Module) -> dict[float, float]:
    """Return a trained linear trial's objective above the closed-form optimum of its training data.

    Args:
        trial: of model linear.
        model: trained by it.

    Returns:
        Nats per example at 20 log-spaced betas of the range, without sampling noise.

    Raises:
        UsageError: if the trial is another, or has parts that no fold knows.
    """
    if trial.model != "linear" or trial.beta is not None or trial.gated_heads or trial.matrix_layers:
        raise UsageError("the excess is for multi-rate trials of model linear, without gated_heads and matrix_layers")
    x, _ = load_split(trial.data, "train", trial.examples)
    betas = trial.beta_range.grid(_BETAS).tolist()
    return dict(zip(betas, on_its_optimum(model, as_source(x), betas).excess, strict=True))


def run(trial: Trial) -> dict[str, Any]:
    """Train a linear trial and return largest and mean excess and the excess at each beta."""
    above = excess(trial, trained(trial))
    return {"largest": max(above.values()), "mean": fmean(above.values()), "excess": above}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run linear trials, one line each; nothing is written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trials", type=Path, nargs="?", help="YAML list of trials; none: JSON lines on standard input")
    for trial in read_trials(parser.parse_args(arguments).trials):
        try:
            found = run(trial)
        except MultirateError as error:
            print(f"{trial.note or 'trial'} | failed: {error}", flush=True)
            continue
        each = " ".join(f"{beta:.3g}:{value:.3f}" for beta, value in found["excess"].items())
        largest, mean = found["largest"], found["mean"]
        print(f"{trial.note or 'trial'} | largest {largest:.3f} mean {mean:.3f} | {each}", flush=True)


if __name__ == "__main__":
    main()
