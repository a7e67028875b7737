"""How cost grows: a step against depth, width, batch and latents, and a curve against the number of its betas.

    python benchmarks/cost.py                # some five minutes; draws benchmarks/results/cost.png

One size of an MLP (four hidden layers of 512, 32 latents, batch 128, 20 betas) is varied at a time. What the gates
cost, multi-rate minus plain, is set against the activations that they gate: the slope of a line through both
logarithms, which is at most 1 where gates grow no faster than activations.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from measuring import RESULTS, THREADS, save, take_turns
from rich.console import Console
from rich.table import Table

import multirate as mr
from multirate.memory import keep_freed_memory
from multirate.objectives import by_name
from multirate.training.config import TrainConfig
from multirate.training.objective import ModelObjective
from multirate.training.optimizer import optimizer_for

USUAL = {"depth": 4, "width": 512, "batch": 128, "latents": 32}
SIZES = {
    "depth": (2, 4, 8, 16, 32),
    "width": (128, 256, 512, 1024, 2048),
    "batch": (32, 64, 128, 256, 512, 1024),
    "latents": (8, 32, 128, 512, 2048),
}
BETAS = (2, 5, 10, 20, 40)


def vae(size: dict[str, int]) -> torch.nn.Module:
    """Return an MLP whose encoder and decoder have half the layers each."""
    torch.manual_seed(0)
    return mr.models.mlp(latents=size["latents"], hidden=(size["width"],) * (size["depth"] // 2))


def images(count: int) -> torch.Tensor:
    """Return random strokes, ``[count, 1, 28, 28]``."""
    return (torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(0)) < 0.2).float()


def stepping(model: torch.nn.Module, batch: int) -> Callable[[], None]:
    """Return a function that takes one step of training."""
    module, optimizer = (
        ModelObjective(model, by_name("beta-vae", dataset_size=60_000)),
        optimizer_for(model, TrainConfig()),
    )
    x, beta = images(batch), mr.BetaRange().sample(batch) if isinstance(model, mr.MultiRate) else torch.ones(batch)

    def step() -> None:
        module(x, beta)[0].mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def steps(what: str, rounds: int) -> list[dict[str, Any]]:
    """Return the cost of a step for each size of one thing."""
    rows = []
    for value in SIZES[what]:
        size = USUAL | {what: value}
        model = mr.convert(vae(size))
        variants = {"plain": stepping(vae(size), size["batch"]), "multi-rate": stepping(model, size["batch"])}
        seconds = take_turns(variants, rounds, warmup=5)
        plain, multirate = (statistics.median(seconds[kind]) for kind in variants)
        activations = size["batch"] * sum(layer.channels for layer in model.plan.gated)
        rows.append(
            {"varied": what, "size": value, "activations": activations, "plain": plain, "multi-rate": multirate}
            | {"gates": multirate - plain, "ratio": multirate / plain}
        )
    return rows


def curves(rounds: int) -> list[dict[str, Any]]:
    """Return the cost of a curve for each number of betas, beside as many passes of the plain model."""
    plain = vae(USUAL).eval()
    model, x = mr.convert(plain).eval(), images(2000)

    def passes(count: int) -> None:
        with torch.no_grad():
            for _ in range(count):
                for part in x.split(500):
                    plain.terms(part)

    rows = []
    for count in BETAS:
        variants = {
            "plain": lambda count=count: passes(count),
            "curve": lambda count=count: mr.evaluate(model, x, count, progress=False),
        }
        seconds = take_turns(variants, rounds, warmup=1)
        one, curve = (statistics.median(seconds[kind]) for kind in variants)
        rows.append({"varied": "betas", "size": count, "plain": one, "multi-rate": curve, "ratio": curve / one})
    return rows


def slope(rows: list[dict[str, Any]]) -> float:
    """Return the exponent with which the gates' cost grows with the activations."""
    logs = np.log([[row["activations"], max(row["gates"], 1e-6)] for row in rows])
    return float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])


def draw(rows: list[dict[str, Any]], slopes: dict[str, float]) -> None:
    """Draw milliseconds against size, one panel a thing varied."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    names = [*SIZES, "betas"]
    figure, axes = plt.subplots(1, len(names), figsize=(4 * len(names), 3.6), layout="constrained")
    for axis, name in zip(axes, names, strict=True):
        own = [row for row in rows if row["varied"] == name]
        sizes = [row["size"] for row in own]
        for kind, style in (("plain", "o--"), ("multi-rate", "o-"), ("gates", "^:")):
            if all(kind in row for row in own):
                label = f"{kind}, multi-rate minus plain" if kind == "gates" else kind
                axis.loglog(sizes, [1e3 * row[kind] for row in own], style, label=label)
        axis.set(
            xlabel=f"{name} of a curve" if name == "betas" else name,
            ylabel="ms a curve" if name == "betas" else "ms a step",
        )
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.minorticks_off()
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        if name in slopes:
            axis.set_title(f"gates ~ activations^{slopes[name]:.2f}", fontsize=10)
        axis.legend(fontsize=8)
    figure.savefig(RESULTS / "cost.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--redraw", action="store_true", help="draw the kept figures again, without measuring")
    options = parser.parse_args()
    if options.redraw:
        kept = json.loads((RESULTS / "cost.json").read_text(encoding="utf-8"))
        draw(kept["rows"], kept["slopes"])
        return
    keep_freed_memory()
    torch.set_num_threads(THREADS)
    table = Table("varied", "size", "plain, ms", "multi-rate, ms", "ratio", title="cost")
    rows, slopes = [], {}
    for what in SIZES:
        own = steps(what, options.rounds)
        rows += own
        slopes[what] = slope(own)
    rows += curves(max(3, options.rounds // 10))
    for row in rows:
        times = (f"{1e3 * row[kind]:.2f}" for kind in ("plain", "multi-rate"))
        table.add_row(row["varied"], str(row["size"]), *times, f"{row['ratio']:.3f}")
    console = Console(width=100)
    console.print(table)
    console.print(
        "exponents of the gates' cost in the activations: " + ", ".join(f"{k} {v:.2f}" for k, v in slopes.items())
    )
    draw(rows, slopes)
    print(save("cost", rows, slopes=slopes))


if __name__ == "__main__":
    main()
