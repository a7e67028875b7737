"""One multi-rate model against dedicated beta-VAEs at equal budgets, over seeds, both sides' step size by validation.

python experiments/closing_the_gap/bars.py --name mnist-mlp --model mlp --data mnist --epochs 8

Every run is kept under --out and read back when it is finished, so that the command may be stopped and given again.
"""

import dataclasses
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from multirate.evaluate import evaluate
from multirate.experiments.run import load_data, open_run, train
from multirate.experiments.spec import RunSpec
from multirate.files import write_json
from multirate.training.config import TrainConfig

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Bars:
    """What is compared."""

    name: str
    """Of the result: results/closing-the-gap/<name>.json."""
    model: str = "mlp"
    """Built-in network."""
    data: str = "mnist"
    """Data set by name."""
    epochs: int = 8
    """Of the multi-rate run."""
    dedicated_epochs: int | None = None
    """Of each dedicated run; None: as many."""
    betas: tuple[float, ...] = tuple(round(float(beta), 6) for beta in torch.logspace(-2, 1, 10, dtype=torch.float64))
    """Where dedicated models are trained; ten by default, log-spaced, among them 0.01, 0.1, 1 and 10."""
    learning_rates: tuple[float, ...] = (0.002, 0.004)
    """The grid that both sides choose from by validation: the multi-rate model once, dedicated ones at each beta."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of weights, order and noise."""
    beta_low: float = 0.01
    """Lower end of the multi-rate model's range."""
    channels_last: bool = False
    """Memory format of convolutions."""
    out: Path = ROOT / "runs" / "closing-the-gap"
    """Where the runs are kept."""

    def config(self, epochs: int, learning_rate: float, seed: int) -> TrainConfig:
        """Return the training options of one run; all else is the default."""
        return TrainConfig(epochs=epochs, learning_rate=learning_rate, seed=seed, channels_last=self.channels_last)


def measure(spec: RunSpec, config: TrainConfig, folder: Path, betas: Sequence[float]) -> dict[str, list[float]]:
    """Train one run, or read it back, and return its objectives at ``betas`` on validation and test split, in nats."""
    kept = folder / "measured.json"
    if kept.exists():
        done = json.loads(kept.read_text(encoding="utf-8"))
        if done["betas"] == list(betas):
            return dict(done["objectives"])
    train(spec, config, folder, resume=True)
    model, objectives = open_run(folder).model, {}
    for split in ("validation", "test"):
        options: dict[str, Any] = {"beta": spec.beta} if spec.beta is not None else {"betas": list(betas)}
        curve = evaluate(model, load_data(spec, split), measures=(), **options)
        objectives[split] = [float(value) for value in curve.values("objective")]
    write_json(kept, {"betas": list(betas), "objectives": objectives})
    return objectives


def one_seed(bars: Bars, seed: int) -> dict[str, Any]:
    """Measure both sides at one seed; return gaps on the test split and the step sizes that validation chose."""
    folder = bars.out / f"{bars.data}-{bars.model}" / f"seed-{seed}"
    spec = RunSpec(data=bars.data, model=bars.model)
    dedicated, chosen = [], []
    for beta in bars.betas:
        tried = {}
        for rate in bars.learning_rates:
            epochs = bars.dedicated_epochs or bars.epochs
            place = folder / f"dedicated-{epochs}-{rate:g}" / f"beta-{beta:g}"
            tried[rate] = measure(dataclasses.replace(spec, beta=beta), bars.config(epochs, rate, seed), place, [beta])
        best = min(tried, key=lambda rate: tried[rate]["validation"][0])
        dedicated.append(tried[best]["test"][0])
        chosen.append(best)
    curves = {}
    for rate in bars.learning_rates:
        place = folder / f"multirate-{bars.epochs}-{bars.beta_low:g}-{rate:g}"
        ranged = dataclasses.replace(spec, beta_low=bars.beta_low)
        curves[rate] = measure(ranged, bars.config(bars.epochs, rate, seed), place, bars.betas)
    rate = min(curves, key=lambda rate: statistics.fmean(curves[rate]["validation"]))
    gaps = [reached - least for reached, least in zip(curves[rate]["test"], dedicated, strict=True)]
    return {
        "seed": seed,
        "learning_rate": rate,
        "dedicated_learning_rates": chosen,
        "objective": curves[rate]["test"],
        "dedicated_objective": dedicated,
        "gap": gaps,
    }


def main(bars: Bars) -> None:
    """Run all seeds and write gap at each beta, mean over seeds, with the largest and the mean over betas."""
    rows = [one_seed(bars, seed) for seed in bars.seeds]
    gaps = [statistics.fmean(row["gap"][i] for row in rows) for i in range(len(bars.betas))]
    four = [gap for beta, gap in zip(bars.betas, gaps, strict=True) if beta in (0.01, 0.1, 1.0, 10.0)]
    document = {
        **{key: value for key, value in dataclasses.asdict(bars).items() if key != "out"},
        "gap": gaps,
        "worst": max(gaps),
        "mean": statistics.fmean(gaps),
        "worst_of_four": max(four),
        "mean_of_four": statistics.fmean(four),
        "by_seed": rows,
    }
    write_json(ROOT / "results" / "closing-the-gap" / f"{bars.name}.json", document)
    print(f"{bars.name}: worst {max(gaps):+.2f}, mean {statistics.fmean(gaps):+.2f} nats over {len(rows)} seeds")
    print(" ".join(f"{beta:g}:{gap:+.2f}" for beta, gap in zip(bars.betas, gaps, strict=True)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Bars))
