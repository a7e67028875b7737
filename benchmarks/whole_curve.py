"""A whole curve: one multi-rate run and its evaluation at 20 betas, over ten dedicated beta-VAEs and theirs.

    python benchmarks/whole_curve.py --data-dir data             # some ten minutes
    python benchmarks/whole_curve.py --data-dir data --model mlp --examples 12800

Same network, epochs, batch and loop for both. So that ten runs of a ResNet end within minutes, both the training and
the test examples of MNIST are cut to the same fraction, which leaves every ratio of the work as it is; the multi-rate
run is repeated between the dedicated ones.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from measuring import THREADS, save
from rich.console import Console

import multirate as mr
from multirate.data import load
from multirate.memory import keep_freed_memory

BETAS = mr.BetaRange().grid(10).tolist()
REPEATS_AFTER = (0, 5, 9)


def seconds_of(model: torch.nn.Module, train: Any, test: Any, betas: Any, epochs: int) -> dict[str, float]:
    """Return the seconds of a run and of its evaluation."""
    multirate = isinstance(model, mr.MultiRate)
    start = time.perf_counter()
    mr.fit(model, train, epochs=epochs, progress=False, **({} if multirate else {"beta": betas}))
    trained = time.perf_counter()
    mr.evaluate(model, test, progress=False, **({"betas": betas} if multirate else {"beta": betas}))
    return {"train": trained - start, "evaluate": time.perf_counter() - trained}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder that holds mnist/; downloaded if it is left out")
    parser.add_argument("--model", default="resnet", choices=("resnet", "mlp", "convnet"))
    parser.add_argument("--examples", type=int, default=1280, help="training examples, of 60,000")
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(THREADS)
    train = load("mnist", split="train", data_dir=options.data_dir).batch(torch.arange(options.examples))
    test = load("mnist", split="test", data_dir=options.data_dir).batch(torch.arange(options.examples // 6))
    seconds_of(mr.convert(mr.models.build(options.model)), train[:256], test[:128], 2, 1)
    dedicated, repeats = [], []
    for place, beta in enumerate(BETAS):
        dedicated.append(seconds_of(mr.models.build(options.model), train, test, beta, options.epochs))
        if place in REPEATS_AFTER:
            repeats.append(seconds_of(mr.convert(mr.models.build(options.model)), train, test, 20, options.epochs))
    whole = sum(run["train"] + run["evaluate"] for run in dedicated)
    ratios = sorted((run["train"] + run["evaluate"]) / whole for run in repeats)
    row = {
        "setting": f"{options.model}, {options.epochs} epochs of {options.examples} examples",
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "bar": "0.12",
        "dedicated_seconds": dedicated,
        "multirate_seconds": repeats,
    }
    Console().print(f"{row['setting']}: {row['ratio']:.4f} ({ratios[0]:.4f} to {ratios[-1]:.4f}), bar {row['bar']}")
    print(save("whole_curve" if options.model == "resnet" else f"whole_curve_{options.model}", [row]))


if __name__ == "__main__":
    main()
