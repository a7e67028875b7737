"""What two processes with torchrun do to a run: to its losses, and to its throughput.

    python benchmarks/processes.py [--rounds 5] [--steps 60] [--data-dir DIR]

Each arm is a run of its own: `mr.fit` of a multi-rate model on MNIST, joint batches of 128, a line of metrics a step,
by one process with two threads, by one process with one thread, or by two processes of one thread each under `torchrun
--nproc_per_node=2` on gloo.

Losses of the two processes are compared, step by step, with those of the one process. In float64 they have to agree.
In float32 training amplifies the last bit of the gradients' sums from step to step; how far, a control tells: the one
process once more from weights that are one rounding away.

For throughput the arms run anew in every round, in turns; it is that of the steps after the first ten.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from measuring import compared, save, show
from rich.console import Console
from rich.table import Table

import multirate as mr
from multirate.files import write_json
from multirate.seeding import seeded

MODELS: dict[str, dict[str, Any]] = {"mlp": {}, "resnet": {"width": 32}}
BATCH, WARMUP = 128, 10
BAR = 1e-5


@dataclass(frozen=True)
class Arm:
    """How a run is started.

    Args:
        processes: of torchrun; 1 is a plain process.
        threads: of each.
        double: whether it computes in float64.
        nudged: whether all weights start one rounding away.
    """

    processes: int
    threads: int
    double: bool = False
    nudged: bool = False


ONE, ONE_THREAD, TWO = "one process, two threads", "one process, one thread", "two processes, one thread each"
ARMS = {ONE: Arm(1, 2), ONE_THREAD: Arm(1, 1), TWO: Arm(2, 1)}


def work(options: argparse.Namespace) -> None:
    """Train as one of the processes of an arm; the first one writes the history."""
    data = mr.data.load("mnist", "train", data_dir=options.data_dir).batch(torch.arange(options.steps * BATCH))
    with seeded(0):
        model = mr.convert(mr.models.build(options.work, **MODELS[options.work]), mr.BetaRange(0.01, 10.0))
    if options.double:
        model.double()
    if options.nudged:
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(1 + torch.finfo(weight.dtype).eps)
    run = mr.fit(model, data, epochs=1, batch_size=BATCH, seed=0, log_every=1, progress=False)
    if os.environ.get("RANK", "0") == "0":
        write_json(options.out, {"history": run.history})


def train(arm: Arm, name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run one arm and return its history; a start that fails is tried once more, and what it said is shown."""
    count = f"--nproc_per_node={arm.processes}"
    launcher = ["-m", "torch.distributed.run", "--standalone", count] if arm.processes > 1 else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(arm.threads), "ACCELERATE_USE_CPU": "true"}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "history.json"
        arguments = ["--work", name, "--steps", str(options.steps), "--out", str(out)]
        arguments += [] if options.data_dir is None else ["--data-dir", options.data_dir]
        arguments += [f"--{flag}" for flag in ("double", "nudged") if getattr(arm, flag)]
        for attempt in (1, 2):
            command = [sys.executable, *launcher, __file__, *arguments]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                history: list[dict[str, Any]] = json.loads(out.read_text())["history"]
                return history
            print(f"{arm}, start {attempt}: exit code {done.returncode}\n{done.stderr}", file=sys.stderr)
    raise SystemExit(f"{arm} failed twice")


def seconds_a_step(history: list[dict[str, Any]]) -> float:
    """Return the mean over the steps after the warm-up."""
    return float((history[-1]["seconds"] - history[WARMUP - 1]["seconds"]) / (len(history) - WARMUP))


def throughput(name: str, options: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    """Run all arms of one model in turns; return a row for each that is compared with the first, and the histories."""
    seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}
    histories: dict[str, list[dict[str, Any]]] = {}
    names = list(ARMS)
    for index in range(options.rounds):
        first = index % len(names)
        for arm in names[first:] + names[:first]:
            histories[arm] = train(ARMS[arm], name, options)
            seconds[arm].append(seconds_a_step(histories[arm]))
    rows = []
    for arm in (TWO, ONE_THREAD):
        row = compared(seconds, ONE, arm)
        images = {each: BATCH / row["seconds"][each]["median"] for each in (ONE, arm)}
        rows.append({"setting": f"{name}: {arm}", "model": name, "arm": arm, **row, "images_a_second": images})
    return rows, histories


def difference(model: str, setting: str, history: list[dict[str, Any]], other: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how far the losses of two runs are apart, relatively, and from which step on."""
    apart = [abs(a["loss"] - b["loss"]) / abs(b["loss"]) for a, b in zip(history, other, strict=True)]
    above = next((index + 1 for index, value in enumerate(apart) if value >= BAR), None)
    return {"model": model, "setting": setting, "largest": max(apart), "first_step_at_the_bar": above, "steps": apart}


def losses(name: str, options: argparse.Namespace, histories: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Compare two processes with one, in float64 and in float32, and one with one whose weights were nudged."""
    one, two = (train(replace(ARMS[arm], double=True), name, options) for arm in (ONE, TWO))
    nudged = train(replace(ARMS[ONE], nudged=True), name, options)
    return [
        difference(name, "float64: two processes", two, one),
        difference(name, "float32: two processes", histories[TWO], histories[ONE]),
        difference(name, "float32: one process, weights one rounding away", nudged, histories[ONE]),
    ]


def show_losses(rows: list[dict[str, Any]]) -> None:
    """Print how far losses are from those of the one process."""
    table = Table("model", "run", "largest relative difference", "bar", "first step there", title="losses by step")
    for row in rows:
        first = row["first_step_at_the_bar"]
        bar = f"< {BAR:g}" if "two" in row["setting"] else ""
        table.add_row(row["model"], row["setting"], f"{row['largest']:.2g}", bar, "" if first is None else str(first))
    Console(width=140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--data-dir", help="folder of the data sets; by default MULTIRATE_DATA")
    parser.add_argument("--work", choices=list(MODELS), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--double", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--nudged", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options)
        return
    rows, apart = [], []
    for name in MODELS:
        of_model, histories = throughput(name, options)
        rows += of_model
        apart += losses(name, options, histories)
    show_losses(apart)
    show("throughput, over that of one process with two threads", rows)
    save("processes", rows, losses=apart, batch=BATCH, steps=options.steps)


if __name__ == "__main__":
    main()
