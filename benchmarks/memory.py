"""The peak memory of a training step, multi-rate over plain.

    python benchmarks/memory.py

Each model trains in a process of its own. Its peak is that of one step after two others: parameters, their gradients,
Adam's two moments, and all that PyTorch allocates in the step, from the profiler's record of every allocation. The
largest resident size of the process, which has Python and PyTorch in it, is given beside.
"""

import argparse
import json
import resource
import subprocess
import sys

import torch
from measuring import THREADS, save
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile
from training_step import SETTINGS, stepping

from multirate.memory import keep_freed_memory
from multirate.rectified import LastGated

NAMES = ("mlp", "resnet", "resnet, paper's gates", "convnet", "lstm", "nvae, small")
KINDS = ("plain", "multi-rate")
# As the multi-rate model, with the gates' backward left to autograd.
LEFT = "multi-rate, autograd's"


def peak_bytes(name: str, kind: str) -> dict[str, int]:
    """Return the bytes that a training step needs at most at once, in this process."""
    keep_freed_memory()
    torch.set_num_threads(THREADS)
    if kind == LEFT:
        LastGated.note = lambda *noted: None
    step = stepping(SETTINGS[name], kind != "plain")
    for _ in range(2):
        step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    now = most = 0
    events = (event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]")
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    optimizer = next(cell.cell_contents for cell in step.__closure__ if hasattr(cell.cell_contents, "param_groups"))
    weights = sum(p.nbytes for group in optimizer.param_groups for p in group["params"])
    moments = sum(t.nbytes for state in optimizer.state.values() for t in state.values())
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "step": most,
        "weights_and_moments": weights + moments,
        "peak": most + weights + moments,
        "resident": resident,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(peak_bytes(*options.one)))
        return
    rows = []
    table = Table(
        "setting",
        "ratio",
        "bar",
        "plain, MB",
        "multi-rate, MB",
        "by autograd",
        "resident",
        title="peak memory of a step",
    )
    for name in NAMES:
        row: dict[str, object] = {"setting": name, "bar": "1.03"}
        for kind in (*KINDS, LEFT):
            command = [sys.executable, __file__, "--one", name, kind]
            row[kind] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        plain, multirate = (row[kind] for kind in KINDS)
        ratios = {of: multirate[of] / plain[of] for of in ("peak", "resident")}
        left = row[LEFT]["peak"] / plain["peak"]
        rows.append(row | {"ratio": ratios["peak"], "resident_ratio": ratios["resident"], "autograd_ratio": left})
        sizes = (f"{row[kind]['peak'] / 1e6:.1f}" for kind in KINDS)
        table.add_row(name, f"{ratios['peak']:.3f}", "1.03", *sizes, f"{left:.3f}", f"{ratios['resident']:.3f}")
    Console(width=120).print(table)
    print(save("memory", rows))


if __name__ == "__main__":
    main()
