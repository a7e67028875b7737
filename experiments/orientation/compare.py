"""Over a range of lambda, which of R + lambda D and D + R / lambda trains better, or what lies between?

The objectives lambda^p (D + R / lambda) have the same optimum at each lambda. One multi-rate model is trained with each
p from the same initial weights on the same batches, lambdas and noise, and measured as R + lambda D on test data. Each
has the same step size: Adam does not see a constant factor.

Run it: python experiments/orientation/compare.py --model mlp (two minutes); or, with CompressAI,
--model hyperprior --data IMAGES --steps 1500 --batch 8 --examples 400
"""

import argparse
import json
from pathlib import Path

import torch

import multirate as mr
from multirate.beta import BetaRange
from multirate.data import Source
from multirate.objectives import DistortionWeighted
from multirate.seeding import generator, seeded
from multirate.training.optimizer import parameter_groups

POWERS = (0.0, 0.5, 1.0)
# Thirty-fold, each: binary digits from nearly all to a tenth of their nats; that of CompressAI's published models.
RANGES = {"mlp": (1 / 3, 10.0), "hyperprior": (0.0018, 0.054)}
STEP_SIZE = {"mlp": 2e-3, "hyperprior": 1e-3}


def model_of(name: str, seed: int) -> mr.MultiRate:
    """Make the multi-rate model, the same for every power."""
    beta_range = BetaRange(*RANGES[name], weighs="distortion")
    with seeded(seed):
        if name == "mlp":
            return mr.convert(mr.models.mlp(shape=(1, 28, 28), latents=32), beta_range)
        from compressai.models import ScaleHyperprior

        from multirate.integrations import compressai

        return compressai.convert(ScaleHyperprior(32, 48), beta_range)


def train(model: mr.MultiRate, data: Source, power: float, steps: int, batch: int, step_size: float, seed: int) -> None:
    """Run a loop of one's own: Adam, a step size that falls to 0 over the last 40 percent."""
    objective = DistortionWeighted(power=power)
    optimizer = torch.optim.Adam(parameter_groups(model, step_size), betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (steps - step) / (0.4 * steps)))
    model.train()
    for step in range(steps):
        draw = generator(seed, "batch", step)
        x = data.batch(torch.randint(len(data), (batch,), generator=draw))
        weight = model.beta_range.sample(batch, generator=draw)
        with seeded(seed, "noise", step):
            loss = objective(model.terms(x, beta=weight), weight).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def main() -> None:
    """Train with each power, print R + lambda D at seven lambdas, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=tuple(RANGES), default="mlp")
    parser.add_argument("--data", default="mnist", help="for hyperprior a folder or zip file of faces")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--examples", type=int, default=1000, help="of the test split")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="a JSON file")
    chosen = parser.parse_args()
    options = {"crop": 74, "size": 64} if chosen.model == "hyperprior" else {}
    train_data, test = (mr.data.load(chosen.data, split, **options) for split in ("train", "test"))
    rows: dict[str, list[float]] = {}
    for power in POWERS:
        model = model_of(chosen.model, chosen.seed)
        train(model, train_data, power, chosen.steps, chosen.batch, STEP_SIZE[chosen.model], chosen.seed)
        curve = mr.evaluate(model, test, betas=7, examples=chosen.examples, measures=(), progress=False)
        lambdas = curve.values("lambda")
        rows[f"{power:g}"] = (curve.rates + lambdas * curve.distortions).tolist()
        print(f"p = {power:g}: R + lambda D", *(f"{value:.2f}" for value in rows[f"{power:g}"]), flush=True)
    document = {"lambdas": lambdas.tolist(), "objective": rows, **{k: v for k, v in vars(chosen).items() if k != "out"}}
    document["data"] = Path(chosen.data).stem
    print("at lambda", *(f"{value:.4g}" for value in lambdas))
    if chosen.out is not None:
        chosen.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
