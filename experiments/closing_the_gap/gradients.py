"""Size, noise and agreement of gradients by beta: ``python experiments/closing_the_gap/gradients.py trials.yaml``."""

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from options import Trial
from recipe import load_split, trained
from torch import Tensor, nn
from trial import read_trials

from multirate.files import write_json
from multirate.seeding import generator, seeded
from multirate.wrapper import terms_at

_BETAS = 7
_BATCHES = 16


@dataclass(frozen=True)
class GradientStatistics:
    r"""The gradient of the mean objective over the base's weights, at each of several betas.

    Args:
        betas: where.
        squared_mean: :math:`\|E g\|^2`, unbiased.
        variance: trace of the covariance of one batch's gradient.
        posterior_variance: the part of it that one batch of examples has left, from the posterior samples alone.
        cosines: of the mean gradients of each two betas, ``[betas, betas]``.
    """

    betas: list[float]
    squared_mean: list[float]
    variance: list[float]
    posterior_variance: list[float]
    cosines: Tensor

    def __str__(self) -> str:
        columns = (self.betas, self.squared_mean, self.variance, self.posterior_variance, self.cosines.tolist())
        return "\n".join(
            f"beta {beta:8.4f}  |mean|^2 {mean:10.1f}  variance {variance:10.1f}, by the posterior {posterior:10.1f}"
            "  cosines " + " ".join(f"{cosine:+.2f}" for cosine in cosines)
            for beta, mean, variance, posterior, cosines in zip(*columns, strict=True)
        )


def gradient_statistics(
    model: nn.Module,
    x: Tensor,
    betas: Sequence[float],
    *,
    batches: int = _BATCHES,
    batch_size: int = 128,
    seed: int = 0,
) -> GradientStatistics:
    """Estimate the gradient's mean and noise at each beta; the batches and the noise are the same at every beta.

    Args:
        model: multi-rate.
        x: data, ``[N, *shape]``.
        betas: where.
        batches: how many to average over, at least 2.
        batch_size: examples in each.
        seed: of batches and noise.

    Returns:
        The statistics; the global generator and the gradients of the parameters are left alone.
    """
    squared_mean, variance, posterior_variance, means = [], [], [], []
    for beta in betas:
        source = generator(seed, "gradients", "examples")
        drawn = [torch.randint(len(x), (batch_size,), generator=source) for _ in range(batches)]
        mean, noise = _moments(model, x, drawn, beta, seed)
        _, noise_of_posterior = _moments(model, x, [drawn[0]] * batches, beta, seed)
        squared_mean.append(float(mean.square().sum()) - noise / batches)
        variance.append(noise)
        posterior_variance.append(noise_of_posterior)
        means.append(mean / mean.norm())
    stacked = torch.stack(means)
    return GradientStatistics(list(betas), squared_mean, variance, posterior_variance, stacked @ stacked.T)


def _moments(model: nn.Module, x: Tensor, batches: Sequence[Tensor], beta: float, seed: int) -> tuple[Tensor, float]:
    """Return the mean of the batches' gradients and the trace of their covariance; each has its own noise."""
    weights = list(model.base.parameters())
    total, squares, n = torch.zeros(()), 0.0, len(batches)
    for number, indices in enumerate(batches):
        with seeded(seed, "gradients", number):
            objective = terms_at(model, x[indices], beta).objective(beta).mean()
        gradient = torch.cat([part.flatten() for part in torch.autograd.grad(objective, weights)])
        total = total + gradient
        squares += float(gradient.square().sum())
    mean = total / n
    return mean, (squares / n - float(mean.square().sum())) * n / (n - 1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train each trial and print its gradients' statistics after some steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trials", type=Path, nargs="?", help="YAML list of trials; none: JSON lines on standard input")
    parser.add_argument("--steps", type=int, nargs="+", default=[50, 390, 1170], help="when (%(default)s)")
    parser.add_argument("--out", type=Path, help="JSON file to write them to as well")
    chosen = parser.parse_args(arguments)
    records = [record for trial in read_trials(chosen.trials) for record in watch(trial, chosen.steps)]
    if chosen.out is not None:
        write_json(chosen.out, records)


def watch(trial: Trial, steps: Sequence[int]) -> list[dict[str, Any]]:
    """Train a trial; print the statistics when so many steps are done, and return them as plain values."""
    records = []
    x, _ = load_split(trial.data, "train", trial.examples)
    betas = trial.beta_range.grid(_BETAS).tolist()

    def after_step(step: int, model: nn.Module) -> None:
        if step in steps:
            size = min(trial.batch_size, len(x))
            print(f"{trial.note or 'trial'}, {step} steps", flush=True)
            found = gradient_statistics(model, x, betas, batch_size=size)
            print(found, flush=True)
            plain = dataclasses.asdict(found) | {"cosines": found.cosines.tolist()}
            records.append({"trial": trial.differences(), "step": step, **plain})

    trained(trial, after_step)
    return records


if __name__ == "__main__":
    main()
