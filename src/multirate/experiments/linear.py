"""A trained linear VAE on its exact optimum: the excess in nats, without sampling noise (Bae et al. 2023, Fig. 4)."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from multirate.convert import MultiRate
from multirate.curve import Curve, point
from multirate.data import Source
from multirate.errors import UsageError
from multirate.experiments.building import load_data
from multirate.experiments.run import FinishedRun
from multirate.files import write_json
from multirate.fold import fold
from multirate.models import LinearVAE
from multirate.report.figures import rate_distortion
from multirate.report.style import save
from multirate.theory import LinearVAE as LinearTheory
from multirate.theory import linear_terms

_CHUNK = 10_000


@dataclass(frozen=True)
class LinearResult:
    """What a linear model reaches and what it could reach, on the data that it was trained on.

    Args:
        curve: the model's exact expected rate and distortion.
        optimum: the least objective of any linear VAE with as many latents, at the same betas.
    """

    curve: Curve
    optimum: Curve

    @property
    def excess(self) -> list[float]:
        """Objective above the optimum's at each beta, in nats per example."""
        pairs = zip(self.curve.values("objective"), self.optimum.values("objective"), strict=True)
        return [float(reached - least) for reached, least in pairs]


def moments(source: Source, examples: int | None = None) -> tuple[Tensor, Tensor]:
    """Return mean ``[d]`` and covariance ``[d, d]`` (divided by N) of a source's examples, in float64.

    Args:
        source: of the data.
        examples: only the first so many.
    """
    count = len(source) if examples is None else examples
    size = math.prod(source.shape)
    total, products = torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64)
    for first in range(0, count, _CHUNK):
        x = source.batch(torch.arange(first, min(first + _CHUNK, count))).flatten(1).double()
        total += x.sum(0)
        products += x.T @ x
    mean = total / count
    return mean, products / count - torch.outer(mean, mean)


def exact_terms(model: LinearVAE, mean: Tensor, covariance: Tensor) -> tuple[float, float]:
    r"""Return a plain linear VAE's expected rate and distortion over data of that mean and covariance.

    A bias that is not the best one adds :math:`\tfrac12 \|E\mu + c\|^2` to the rate and half the squared error of the
    mean's reconstruction to the distortion.

    Args:
        model: Gaussian likelihood of unit variance; computed in float64.
        mean: ``[d]``.
        covariance: ``[d, d]``.

    Returns:
        Nats per example.
    """
    model = model.double()
    rate, distortion = linear_terms(*model.effective_parameters(), covariance)
    with torch.no_grad():
        x = mean.reshape(1, *model.shape)
        offset = model.encode(x).mean
        error = x - model(x)
    return float(rate + 0.5 * offset.square().sum()), float(distortion + 0.5 * error.square().sum())


def on_its_optimum(model: nn.Module, source: Source, betas: Sequence[float] | int = 20) -> LinearResult:
    """Hold a linear multi-rate VAE against the closed form.

    Args:
        model: multi-rate, of a :class:`multirate.models.LinearVAE` with Gaussian likelihood.
        source: the data that it was trained on.
        betas: where, or how many log-spaced over the model's range.

    Returns:
        Both curves.

    Raises:
        UsageError: if the model is another.
    """
    if not (isinstance(model, MultiRate) and isinstance(model.base, LinearVAE)) or model.base.likelihood != "gaussian":
        raise UsageError("the optimum is known for multi-rate models of model linear with likelihood gaussian only")
    served = model.beta_range
    grid = sorted(map(served.beta_of, served.grid(betas).tolist())) if isinstance(betas, int) else list(betas)
    mean, covariance = moments(source)
    theory = LinearTheory(covariance, model.base.latents, mean=mean)
    reached = []
    for beta in grid:
        plain = fold(model, served.weight_of(beta))
        assert isinstance(plain, LinearVAE)
        reached.append(point(beta, *exact_terms(plain, mean, covariance)))
    least = [point(beta, float(theory.rate(beta)), float(theory.distortion(beta))) for beta in grid]
    curve = Curve(
        label="multi-rate linear",
        model="linear",
        data=source.name,
        split=source.split,
        examples=len(source),
        points=tuple(reached),
        details={"likelihood": "gaussian", "expectation": "closed form"},
    )
    return LinearResult(curve, dataclasses.replace(curve, label="exact optimum", points=tuple(least)))


def draw_optimum(run: FinishedRun, *, data_dir: str | None = None) -> tuple[LinearResult, list[Path]]:
    """Measure a run of model linear against its optimum; write ``optimum.json`` and ``figures/optimum.png``.

    Args:
        run: finished.
        data_dir: folder of the original data files, in place of the run's.

    Returns:
        The result and the files.

    Raises:
        UsageError: if the run is of another model.
        DataError: if the data cannot be read or a file cannot be written.
    """
    result = on_its_optimum(run.model, load_data(run.spec, "train", data_dir))
    figure = rate_distortion(result.curve, reference=result.optimum)
    written = {
        "largest_excess": max(result.excess),
        "mean_excess": sum(result.excess) / len(result.excess),
        "excess": result.excess,
        "curve": result.curve.to_dict(),
        "optimum": result.optimum.to_dict(),
    }
    paths = [
        write_json(run.folder / "optimum.json", written),
        save(figure, run.folder / "figures" / "optimum.png"),
    ]
    return result, paths
