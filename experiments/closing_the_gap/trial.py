"""Run trials and append their figures to a table: ``python experiments/closing_the_gap/trial.py trials.yaml``."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from options import Trial
from recipe import load_split, trained
from table import FOUR_BETAS, TABLE, read_rows
from torch import Tensor, nn

from multirate.beta import BetaRange
from multirate.convert import MultiRate
from multirate.errors import DataError, MultirateError, UsageError
from multirate.seeding import seeded
from multirate.wrapper import terms_at

MADE_BY = "trial.py"
_BETAS = 10
_CHUNK = 1000


def betas_to_measure(beta_range: BetaRange) -> list[float]:
    """Return ten log-spaced betas of a range, and 0.01, 0.1, 1 and 10 where they lie inside, in increasing order."""
    grid = {round(beta, 6) for beta in beta_range.grid(_BETAS).tolist()}
    return sorted(grid | {beta for beta in FOUR_BETAS if beta_range.low <= beta <= beta_range.high})


@torch.no_grad()
def measure(model: nn.Module, x: Tensor, betas: Sequence[float]) -> dict[str, list[float]]:
    """Return objective and rate at each beta, nats per example, from one posterior sample with the same noise at each.

    Args:
        model: plain or multi-rate.
        x: data, ``[N, *shape]``.
        betas: where.

    Returns:
        Means over all examples, under ``objective`` and ``rate``.
    """
    measured: dict[str, list[float]] = {"objective": [], "rate": []}
    for beta in betas:
        objective, rate = 0.0, 0.0
        for first in range(0, len(x), _CHUNK):
            with seeded(0, "measure", first):
                terms = terms_at(model, x[first : first + _CHUNK], beta)
            objective += float(terms.objective(beta).sum(dtype=torch.float64))
            rate += float(terms.rate.sum(dtype=torch.float64))
        measured["objective"].append(round(objective / len(x), 3))
        measured["rate"].append(round(rate / len(x), 3))
    return measured


def run(trial: Trial) -> dict[str, Any]:
    """Train a trial's model and measure it.

    Args:
        trial: its options.

    Returns:
        A row of the table: note, every option, betas, objective and rate on the validation and the test split, the
        thresholds at the end (nats of log beta) where latents are gated, seconds of training.
    """
    started = time.perf_counter()
    model = trained(trial)
    seconds = round(time.perf_counter() - started)
    betas = betas_to_measure(trial.beta_range) if trial.beta is None else [trial.beta]
    row: dict[str, Any] = {"note": trial.note, "made_by": MADE_BY, "trial": trial.to_options(), "betas": betas}
    for split in ("validation", "test"):
        row[split] = measure(model, load_split(trial.data, split, trial.examples)[0], betas)
    if isinstance(model, MultiRate) and model.response.thresholds is not None:
        nats = model.response.thresholds.detach().double() * model.beta_range.log_std + model.beta_range.log_mean
        row["thresholds"] = [round(value, 2) for value in nats.tolist()]
    return {**row, "seconds": seconds}


def read_trials(path: Path | None) -> list[Trial]:
    """Read a YAML list of trials, or one JSON object a line from standard input.

    Raises:
        DataError: if the file cannot be read.
        UsageError: if an option is unknown or cannot be right.
    """
    try:
        if path is None:
            read = [json.loads(line) for line in sys.stdin if line.strip()]
        else:
            read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"cannot read trials from {path or 'standard input'}: {error}") from error
    if not isinstance(read, list) or not all(isinstance(options, dict) for options in read):
        raise UsageError(f"{path} must be a list of trials, each a mapping of options")
    return [Trial.from_options(options) for options in read]


def one_line(row: dict[str, Any]) -> str:
    """Return a row's note, seed and test objectives on one line."""
    figures = zip(row["betas"], row["test"]["objective"], strict=True)
    shown = " ".join(f"{beta:g}:{value:.2f}" for beta, value in figures if len(row["betas"]) == 1 or beta in FOUR_BETAS)
    return f"{row['note'] or 'trial'} seed {row['trial']['seed']} | {shown} | {row['seconds']} s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trials that are not in the table yet.

    Args:
        arguments: of the command line.

    Returns:
        0, or 1 if a trial failed.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trials", type=Path, nargs="?", help="YAML list of trials; none: JSON lines on standard input")
    parser.add_argument("--table", type=Path, default=TABLE, help="JSON lines to append to (%(default)s)")
    chosen = parser.parse_args(arguments)
    failed = 0
    for trial in read_trials(chosen.trials):
        if trial in {Trial.from_options(row["trial"]) for row in read_rows(chosen.table)}:
            print(f"{trial.note or 'trial'} seed {trial.seed} | in the table already", flush=True)
            continue
        try:
            row = run(trial)
        except MultirateError as error:
            failed = 1
            print(f"{trial.note or 'trial'} seed {trial.seed} | failed: {error}", flush=True)
            continue
        chosen.table.parent.mkdir(parents=True, exist_ok=True)
        with chosen.table.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(one_line(row), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
