"""Measuring honestly: variants take turns in one process, and ratios of medians are kept with their spread."""

import gc
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from multirate.files import write_json

RESULTS = Path(__file__).parent / "results"
THREADS = 2


def take_turns(variants: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 3) -> dict[str, list[float]]:
    """Time each variant once a round, in an order that rotates, so that all see the same machine.

    Args:
        variants: what to run, by name.
        rounds: timed calls of each.
        warmup: calls of each before.

    Returns:
        Seconds of every timed call.
    """
    names = list(variants)
    for name in names:
        for _ in range(warmup):
            variants[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    gc.disable()
    try:
        for index in range(rounds):
            first = index % len(names)
            for name in names[first:] + names[:first]:
                start = time.perf_counter()
                variants[name]()
                seconds[name].append(time.perf_counter() - start)
    finally:
        gc.enable()
    return seconds


def spread(values: list[float]) -> dict[str, float]:
    """Return median and quartiles."""
    low, middle, high = statistics.quantiles(values * 2 if len(values) == 1 else values, n=4, method="inclusive")
    return {"median": middle, "lower_quartile": low, "upper_quartile": high}


def compared(seconds: Mapping[str, list[float]], variant: str, over: str) -> dict[str, Any]:
    """Return the ratio of two variants' medians, and the quartiles of the ratio from round to round.

    Args:
        seconds: of :func:`take_turns`.
        variant: the numerator.
        over: the denominator.
    """
    by_round = [a / b for a, b in zip(seconds[variant], seconds[over], strict=True)]
    quartiles = spread(by_round)
    return {
        "ratio": statistics.median(seconds[variant]) / statistics.median(seconds[over]),
        "ratio_lower_quartile": quartiles["lower_quartile"],
        "ratio_upper_quartile": quartiles["upper_quartile"],
        "rounds": len(by_round),
        "seconds": {name: spread(seconds[name]) for name in (variant, over)},
    }


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, threads, versions, commit."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "numpy", "multirate")},
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _commit() -> str | None:
    """Return the commit, marked where tracked files other than results differ from it."""
    sha = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude,top)benchmarks/results")
    return f"{sha}-dirty" if sha and changed else sha or None


def _git(*words: str) -> str:
    asked = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return asked.stdout.strip()


def save(name: str, rows: list[dict[str, Any]], **more: Any) -> Path:
    """Write a benchmark's rows, with machine and command, to ``benchmarks/results/NAME.json``.

    Args:
        name: of the benchmark.
        rows: JSON values.
        more: further entries.
    """
    RESULTS.mkdir(exist_ok=True)
    script = Path(sys.argv[0]).resolve()
    shown = script.relative_to(Path(__file__).parent.parent) if script.is_relative_to(Path(__file__).parent) else script
    words = ["DIR" if Path(word).is_absolute() else word for word in sys.argv[1:]]  # whoever repeats it has another
    document = {"command": " ".join(["python", str(shown), *words]), "machine": machine(), "rows": rows, **more}
    return write_json(RESULTS / f"{name}.json", document)


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows that have ``setting``, ``ratio`` and perhaps ``bar``.

    Args:
        title: of the table.
        rows: of :func:`compared`, with those entries.
    """
    table = Table("setting", "ratio", "quartiles by round", "bar", "median seconds", title=title)
    for row in rows:
        seconds = "  ".join(f"{name} {values['median']:.4g}" for name, values in row["seconds"].items())
        quartiles = f"{row['ratio_lower_quartile']:.3f} to {row['ratio_upper_quartile']:.3f}"
        table.add_row(row["setting"], f"{row['ratio']:.3f}", quartiles, row.get("bar", ""), seconds)
    Console(width=140).print(table)
