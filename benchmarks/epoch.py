"""The share of the data pipeline, and of the rest of the loop, in a training epoch on MNIST.

    python benchmarks/epoch.py --data-dir data

Trains the MLP, the fastest model and therefore the hardest case, and the ResNet, for some steps of the training loop;
the batch (its order, its examples, its type and layout) is timed within each step.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from measuring import THREADS, save, spread
from rich.console import Console
from rich.table import Table

import multirate as mr
from multirate.data import load
from multirate.memory import keep_freed_memory
from multirate.training.config import TrainConfig
from multirate.training.devices import accelerator_for
from multirate.training.folder import RunFolder
from multirate.training.session import Session

STEPS = {"mlp": 468, "resnet": 30}


def shares(name: str, data: Any) -> dict[str, Any]:
    """Return the seconds of each step and of its batch, for a multi-rate model."""
    torch.manual_seed(0)
    config = TrainConfig(epochs=2)
    batches: list[float] = []
    steps: list[float] = []
    with accelerator_for(config) as accelerator:
        session = Session(mr.convert(mr.models.build(name)), data, None, config, RunFolder(None), accelerator)
        whole = session._batch

        def timed() -> torch.Tensor:
            start = time.perf_counter()
            batch = whole()
            batches.append(time.perf_counter() - start)
            return batch

        session._batch = timed
        for _ in range(STEPS[name]):
            start = time.perf_counter()
            session.take_step()
            if session.log_is_due():
                session.log()
            steps.append(time.perf_counter() - start)
    return {
        "setting": name,
        "ratio": sum(batches) / sum(steps),
        "bar": "0.02",
        "steps": len(steps),
        "seconds": {"batch": spread(batches), "step": spread(steps)},
        "first_batch_seconds": batches[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder that holds mnist/; downloaded if it is left out")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(THREADS)
    data = load("mnist", split="train", data_dir=options.data_dir)
    rows = [shares(name, data) for name in STEPS]
    table = Table("model", "share of the data", "bar", "a batch, ms", "a step, ms", title="data in a training epoch")
    for row in rows:
        times = (f"{row['seconds'][of]['median'] * 1e3:.3g}" for of in ("batch", "step"))
        table.add_row(row["setting"], f"{row['ratio']:.4f}", row["bar"], *times)
    Console(width=100).print(table)
    print(save("epoch", rows))


if __name__ == "__main__":
    main()
