"""Measuring a model's curve: its rate and distortion at each beta, on the same examples with the same noise."""

import dataclasses
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import Dataset

from multirate.block_noise import BLOCK, noise_of_examples
from multirate.curve import Curve, Point
from multirate.data import Source, as_source
from multirate.errors import BetaError, ConversionError, DataError, DivergenceError, UsageError
from multirate.inference import base_of, beta_of, inference, like_parameters
from multirate.invariants import NOISE, Finding, checked, log_warnings, paired_noise
from multirate.memory import keep_freed_memory
from multirate.metrics.base import Batch, Measure
from multirate.metrics.makers import MAKERS, USUAL_MEASURES, known_measures
from multirate.metrics.options import MeasureOptions
from multirate.objectives import TwoTerms
from multirate.paired import FEWEST, Draws
from multirate.recalibrate import has_batchnorm, recalibrated
from multirate.seeding import seeded
from multirate.sharing import first_layer_once
from multirate.terms import Terms
from multirate.totals import Totals, split_rates
from multirate.training.config import TrainConfig
from multirate.training.finite import check_finite
from multirate.wrapper import MultiRate, terms_at


def evaluate(
    model: nn.Module,
    data: Source | Tensor | NDArray[Any] | Dataset[Any],
    betas: int | float | Sequence[float] | Tensor = 20,
    *,
    beta: float | None = None,
    samples: int = 1,
    batch_size: int = BLOCK,
    seed: int = 0,
    measures: Sequence[str] = USUAL_MEASURES,
    measure_options: MeasureOptions | None = None,
    examples: int | None = None,
    recalibrate: Source | None = None,
    objective: str = TrainConfig.objective,
    label: str | None = None,
    progress: bool = True,
) -> Curve:
    """Measure rate and distortion at each beta, averaged over the examples.

    Every beta sees the same examples with the same noise, keyed by seed, example and sample alone: neighbouring points
    differ by beta and not by luck, and a point does not depend on which others were asked for. The model runs in eval
    mode, on its own device, without gradients; sums are kept in float64. The model's training flags and the global
    random generator are left as they were.

    What does not hold of the curve, such as a rate that rises with beta by more than the noise of the examples, is
    kept in it, ``curve.warnings``, and logged by the logger ``multirate``; it is neither an error nor a Python warning
    (:mod:`multirate.invariants`).

    Args:
        model: a :class:`multirate.MultiRate`, or any module with ``terms(x)``.
        data: a source, a tensor or array ``[N, ...]``, or a dataset; examples are taken in its order.
        betas: for a multi-rate model; how many, log-spaced over its range with both ends, or which ones. Of a model
            whose range is of lambda, lambdas: its points have ``beta``, which is 1 / lambda, and ``lambda``.
        beta: the one beta of a plain model, which it was trained for.
        samples: posterior samples per example; more of them lower the noise of the distortion.
        batch_size: examples at a time; rate and distortion do not depend on it, but for rounding and for models that
            draw noise in unusual ways (:func:`multirate.block_noise.noise_of_examples`).
        seed: of the noise.
        measures: what to measure beside rate and distortion, of :data:`multirate.metrics.makers.MEASURES`, or a number
            that one of them gives, such as ``mutual_information``.
        measure_options: how.
        examples: measure only so many, the first ones.
        recalibrate: training data: BatchNorm statistics are estimated anew on them at each beta, and put back
            (:func:`multirate.recalibrate.recalibrated`).
        objective: that the model was trained for, as in :class:`multirate.TrainConfig`; with another than ``beta-vae``
            the points of the curve need not be in any order.
        label: of the curve; by default the model's name after "multi-rate" or "beta-VAE".
        progress: show a bar on standard error, in a terminal.

    Returns:
        The curve.

    Raises:
        UsageError: if an option cannot be right, or a plain model has no beta.
        BetaError: if a beta is outside the model's range.
        ConversionError: if the model has no ``terms``.
        DataError: if there are no examples, or one is not finite.
        TrainingError: if a rate or distortion is not finite; the message names beta and batch.
    """
    base = base_of(model)
    if not callable(getattr(base, "terms", None)):
        raise ConversionError(f"{type(base).__name__} has no method terms(x); add one that returns multirate.Terms")
    grid = _grid(model, betas, beta)
    source = as_source(data, split="test")
    count = _count(source, examples)
    _check_options(samples, batch_size)
    makers = {name: MAKERS[name](measure_options or MeasureOptions()) for name in known_measures(measures)}
    points = [_Point(value, {name: make() for name, make in makers.items()}) for value in grid]
    batches = math.ceil(count / batch_size)
    if all(parameter.device.type == "cpu" for parameter in model.parameters()):
        keep_freed_memory()
    with inference(model), first_layer_once(model), _bar(batches * len(grid), progress) as advance:
        for part in [slice(None)] if recalibrate is None else [slice(i, i + 1) for i in range(len(grid))]:
            with _recalibrated(model, recalibrate, grid[part][0], seed):
                for batch in range(batches):
                    indices = torch.arange(batch * batch_size, min((batch + 1) * batch_size, count))
                    x = like_parameters(source.batch(indices), model)
                    for one in points[part]:
                        one.add(model, source, indices, x, samples, (seed, "evaluate", batch), (batch_size, count))
                        advance()
                for one in points[part]:
                    one.finish(model, seed)
    name = str(getattr(base, "name", "") or type(base).__name__)
    draws, likelihood = count * samples, getattr(base, "likelihood", None)
    curve = Curve(
        label=label or f"{'multi-rate' if isinstance(model, MultiRate) else 'beta-VAE'} {name}",
        model=name,
        data=source.name,
        split=source.split,
        examples=count,
        points=tuple(one.point(model, draws, likelihood) for one in points),
        seed=seed,
        samples=samples,
        details=_details(model, base)
        | {"batch_size": batch_size}
        | split_rates([one.totals for one in points], draws)
        | _of_latents(points)
        | _settings(points[0].measures)
        | ({"recalibrated": True} if recalibrate is not None and has_batchnorm(model) else {})
        | ({} if objective == TrainConfig.objective else {"objective": objective}),
    )
    return _checked(curve, points)


class _Point:
    """What is measured at one beta.

    Args:
        beta: of the point; lambda, where the model's range is of that.
        measures: by name.
    """

    def __init__(self, beta: float, measures: dict[str, Measure]) -> None:
        self.beta = beta
        self.measures = measures
        self.totals = Totals()
        self.draws: Draws | None = None
        self.numbers: dict[str, float] = {}

    def add(
        self,
        model: nn.Module,
        source: Source,
        indices: Tensor,
        x: Tensor,
        samples: int,
        key: tuple[int, str, int],
        sizes: tuple[int, int],
    ) -> None:
        """Add a batch; the noise of each sample, and of each measure, has a key of its own."""
        drawn = []
        for sample in range(samples):
            own = noise_of_examples(sizes[0], indices, sizes[1], x.device, key[0], sample)
            with seeded(*key, sample), own:
                drawn.append(_terms(model, x, self.beta))
            try:
                self.totals.add(drawn[-1], f"beta {self.beta:g}, batch {key[-1]}", int(indices[0]))
            except DivergenceError:
                check_finite(x, source, indices)
                raise
        self.draws = self.draws or Draws(drawn[0])
        batch = Batch(model, self.beta, x, drawn[0], indices, source)
        for name, measure in self.measures.items():
            with seeded(*key, name):
                measure.update(batch)

    def finish(self, model: nn.Module, seed: int) -> None:
        """Compute the measures' numbers."""
        for name, measure in self.measures.items():
            with seeded(seed, "measure", name):
                self.numbers |= measure.result(model, self.beta)

    def point(self, model: nn.Module, draws: int, likelihood: str | None) -> Point:
        """Return the point of the curve, which has the beta also of a model that is called with lambda."""
        beta = beta_of(model, self.beta)
        given = {"lambda": self.beta} if _of_lambda(model) else {}
        return self.totals.point(beta, draws, likelihood) | given | self.numbers


def _checked(curve: Curve, points: Sequence[_Point]) -> Curve:
    """Return the curve with its standard errors and its warnings, and log these."""
    details: dict[str, Any] = {}
    noise, count, samples = None, curve.examples, curve.samples
    if count >= FEWEST:
        rate, distortion = np.stack([one.totals.groups.deviations(count, samples) for one in points], axis=1)
        noise = paired_noise(rate, distortion, curve.betas)
        errors = np.sqrt(np.square([rate, distortion]).sum(-1))
        details["standard_errors"] = errors.T.tolist()
    extras = [one.totals.extra for one in points]
    if all(extra is not None for extra in extras):
        details["extra"] = [[extra / (count * samples)] for extra in extras if extra is not None]
    told = checked(dataclasses.replace(curve, details=curve.details | details), noise, _other_noise(points))
    log_warnings(told)
    return told


def _other_noise(points: Sequence[_Point]) -> list[Finding]:
    first = points[0]
    for one in points[1:]:
        if first.draws is not None and one.draws is not None and one.draws.differ(first.draws):
            message = (
                f"the noise at {one.beta:.3g} is not that at {first.beta:.3g}, so that differences between points are "
                "luck in part: let the model draw from torch's global random generator, and nothing in evaluation mode "
                "that depends on beta"
            )
            return [Finding(NOISE, message)]
    return []


def _of_lambda(model: nn.Module) -> bool:
    return isinstance(model, MultiRate) and model.beta_range.weighs == "distortion"


def _of_latents(points: Sequence[_Point]) -> dict[str, list[list[float]]]:
    """Return what measures say of each latent, one list a point."""
    rows = [{k: v for measure in one.measures.values() for k, v in measure.latents().items()} for one in points]
    return {name: [row[name] for row in rows] for name in rows[0]}


def _settings(measures: dict[str, Measure]) -> dict[str, Any]:
    found = {name: settings for name, measure in measures.items() if (settings := measure.settings())}
    return {"measures": found} if found else {}


def _recalibrated(model: nn.Module, data: Source | None, beta: float, seed: int) -> AbstractContextManager[object]:
    if data is None:
        return nullcontext()
    return recalibrated(model, data, beta if isinstance(model, MultiRate) else None, seed=seed)


def _grid(model: nn.Module, betas: int | float | Sequence[float] | Tensor, beta: float | None) -> list[float]:
    """Return the numbers to measure at, in increasing beta."""
    if not isinstance(model, MultiRate):
        if beta is None and not isinstance(betas, Integral):
            chosen = [float(b) for b in torch.as_tensor(betas, dtype=torch.float64).flatten()]
            beta = chosen[0] if len(chosen) == 1 else None
        if beta is None:
            raise UsageError(f"a plain {type(model).__name__} has one beta, the one it was trained for: pass beta=...")
        if not (math.isfinite(beta) and beta > 0):
            raise BetaError(f"beta must be positive and finite; got {beta:g}")
        return [float(beta)]
    if isinstance(betas, Integral) and beta is None:
        return _in_order(model, [float(b) for b in model.beta_range.grid(int(betas))])
    chosen = sorted(float(b) for b in torch.as_tensor(betas if beta is None else beta, dtype=torch.float64).flatten())
    model.beta_range.check(chosen)
    if len(set(chosen)) < len(chosen):
        raise UsageError(f"a {model.beta_range.name} is given twice in {chosen}; give each once")
    return _in_order(model, chosen)


def _in_order(model: nn.Module, increasing: list[float]) -> list[float]:
    return increasing[::-1] if _of_lambda(model) else increasing


def _count(source: Source, examples: int | None) -> int:
    if examples is not None and examples < 1:
        raise UsageError(f"examples must be at least 1; got {examples}")
    if len(source) == 0:
        raise DataError(f"{source.name} has no examples in its {source.split} split; choose another split")
    return len(source) if examples is None else min(examples, len(source))


def _check_options(samples: int, batch_size: int) -> None:
    for name, value in (("samples", samples), ("batch_size", batch_size)):
        if value < 1:
            raise UsageError(f"{name} must be at least 1; got {value}")


def _terms(model: nn.Module, x: Tensor, beta: float) -> Terms:
    terms = terms_at(model, x, beta)
    if not isinstance(terms, Terms) or terms.rate.shape[0] != x.shape[0]:
        found = f"{type(terms).__name__}" if not isinstance(terms, Terms) else f"{terms.rate.shape[0]} rates"
        raise UsageError(f"terms(x) must return multirate.Terms of {x.shape[0]} examples for this batch; got {found}")
    return terms


def _details(model: nn.Module, base: nn.Module) -> dict[str, Any]:
    details: dict[str, Any] = {"parameters": sum(p.numel() for p in base.parameters())}
    if isinstance(model, MultiRate):
        details["response_parameters"] = sum(p.numel() for p in model.response.parameters())
        details["beta_range"] = sorted(
            model.beta_range.beta_of(end) for end in (model.beta_range.low, model.beta_range.high)
        )
        if _of_lambda(model):
            details["lambda_range"] = [model.beta_range.low, model.beta_range.high]
    for name in ("likelihood", "latents"):
        if isinstance(getattr(base, name, None), str | int):
            details[name] = getattr(base, name)
    if isinstance(base, TwoTerms):
        details["rate"] = "the second of two losses"
    if details.get("likelihood") == "squared_error":
        details["distortion"] = "summed squared error, no likelihood: its constant is left out"
    return details


@contextmanager
def _bar(total: int, shown: bool) -> Iterator[Callable[[], None]]:
    console = Console(file=sys.stderr)
    if not (shown and console.is_terminal):
        yield lambda: None
        return
    columns = (TextColumn("evaluate"), BarColumn(), MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)
