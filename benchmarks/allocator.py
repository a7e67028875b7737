"""What it is worth that freed memory stays with the process: the training step with and without.

    python benchmarks/allocator.py                       # some three minutes

The allocator's habits hold for a whole process, so that each measurement is a process of its own, in turns: one leaves
glibc alone, as any program does, and one calls ``multirate.memory.keep_freed_memory``, as ``fit`` does.
"""

import argparse
import json
import statistics
import subprocess
import sys

import torch
from measuring import THREADS, save, take_turns
from rich.console import Console
from training_step import SETTINGS, stepping

from multirate.memory import keep_freed_memory

STEPS = {"mlp": 200, "resnet": 12, "convnet": 4, "nvae, small": 15}
KINDS = ("plain", "multi-rate")


def median_of(name: str, kind: str, kept: bool) -> float:
    """Return the median seconds of a step, in this process."""
    if kept:
        keep_freed_memory()
    torch.set_num_threads(THREADS)
    step = stepping(SETTINGS[name], kind == "multi-rate")
    return statistics.median(take_turns({kind: step}, STEPS[name])[kind])


def measured(name: str, kind: str, kept: bool) -> float:
    """Return the same, of a fresh process."""
    command = [sys.executable, __file__, "--one", name, kind, str(int(kept))]
    return float(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, kind, kept = options.one
        print(json.dumps(median_of(name, kind, bool(int(kept)))))
        return
    rows = []
    for name in STEPS:
        for kind in KINDS:
            rounds = [[measured(name, kind, kept) for kept in (False, True)] for _ in range(options.rounds)]
            given, kept = (statistics.median(times) for times in zip(*rounds, strict=True))
            ratios = sorted(pair[1] / pair[0] for pair in rounds)
            rows.append({"setting": f"{name}, {kind}", "ratio": kept / given, "ratios": ratios, "seconds": rounds})
            Console().print(f"{name}, {kind}: {kept / given:.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})")
    print(save("allocator", rows))


if __name__ == "__main__":
    main()
