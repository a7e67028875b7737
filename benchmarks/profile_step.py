"""Where the time of a training step goes, operation by operation, plain and multi-rate.

    python benchmarks/profile_step.py --models mlp resnet

The profiler's own cost is in these figures, most of all for many small operations; ratios are measured without it by
benchmarks/training_step.py.
"""

import argparse
from collections import defaultdict
from typing import Any

import torch
from measuring import THREADS, save
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile
from training_step import SETTINGS, stepping

from multirate.memory import keep_freed_memory

STEPS = {"mlp": 100, "resnet": 8, "convnet": 3, "nvae, small": 8}
GROUPS = {
    "convolution": ("convolution", "Convolution"),
    "matrix product": ("addmm", "aten::mm", "aten::bmm", "Addmm"),
    "normalization": ("batch_norm", "BatchNorm"),
    "nonlinearity": ("threshold", "relu", "clamp_min", "silu", "Relu"),
    "elementwise product and sum": ("aten::mul", "addcmul", "aten::sum", "aten::add", "aten::sub", "aten::div"),
    "gates' own backward": ("_Gated", "_Cubic", "Addcmul"),
    "optimizer": ("adam", "Optimizer", "Adam"),
}


def profiled(name: str, multirate: bool) -> dict[str, float]:
    """Return milliseconds a step of each group of operations."""
    step = stepping(SETTINGS[name], multirate)
    for _ in range(3):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(STEPS[name]):
            step()
    groups: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        group = next((g for g, words in GROUPS.items() if any(word in event.key for word in words)), "the rest")
        groups[group] += event.self_cpu_time_total / 1e3 / STEPS[name]
    return dict(groups)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=STEPS, default=list(STEPS))
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(THREADS)
    rows: list[dict[str, Any]] = []
    table = Table("model", "operations", "plain, ms", "multi-rate, ms", title="a training step, profiled")
    for name in options.models:
        plain, multirate = (profiled(name, kind) for kind in (False, True))
        for group in [*GROUPS, "the rest"]:
            milliseconds = plain.get(group, 0.0), multirate.get(group, 0.0)
            table.add_row(name, group, *(f"{value:.2f}" for value in milliseconds))
        table.add_row(name, "all", *(f"{sum(part.values()):.2f}" for part in (plain, multirate)), end_section=True)
        rows.append({"setting": name, "plain_ms": plain, "multi-rate_ms": multirate})
    Console(width=100).print(table)
    print(save("profile_step", rows))


if __name__ == "__main__":
    main()
