"""Build a trial's model and train it; a short loop in which every candidate has its place."""

import dataclasses
import math
from collections.abc import Callable
from functools import lru_cache

import torch
from candidates import (
    CUBIC_RISE,
    HALF_WIDTH,
    AffineMatrix,
    FilmGate,
    PartitionedResponse,
    ResearchResponse,
    betas_at,
    every,
    log_odds,
    loss_weights,
    mixed_quantile,
    stratified,
    u_shaped_quantile,
)
from options import LIBRARY_DEGREE, LIBRARY_SHARPNESS, Trial
from torch import Tensor, nn

from multirate import data, models
from multirate.convert import MultiRate, convert, plan
from multirate.errors import UsageError
from multirate.layers import WEIGHTED, kind_of
from multirate.models.initial import he_normal
from multirate.response import RESPONSES, Response
from multirate.seeding import generator, seeded
from multirate.training.config import TrainConfig
from multirate.training.schedules import learning_rate_factor, warmup_steps
from multirate.wrapper import terms_at

RESPONSE_FACTOR = 7.5


@lru_cache(maxsize=6)
def load_split(name: str, split: str, examples: int | None) -> tuple[Tensor, str]:
    """Return the first examples of a split in one tensor, ``[N, *shape]``, float32, and the likelihood for them."""
    source = data.load(name, split)
    return source.batch(torch.arange(min(examples or len(source), len(source)))), source.likelihood


def build(trial: Trial, x: Tensor, likelihood: str) -> nn.Module:
    """Build a trial's model with weights from the global generator.

    Args:
        trial: its options.
        x: the training data, ``[N, *shape]``.
        likelihood: of the data; model linear is Gaussian all the same.

    Returns:
        A plain VAE for a trial with ``beta``, else a :class:`multirate.MultiRate`.
    """
    linear = trial.model == "linear"
    shape = tuple(x.shape[1:])
    likelihood = "gaussian" if linear else likelihood
    own = {"hidden": trial.hidden} if trial.model == "mlp" else {}
    base = models.build(trial.model, shape=shape, latents=trial.latents, likelihood=likelihood, **own)
    if not linear:
        start_weights(base, trial.initial_weights, trial.initial_scale)
    if trial.output_bias:
        with torch.no_grad():
            base.output.bias.copy_(log_odds(x))
    if trial.model in ("resnet", "convnet"):
        base = base.to(memory_format=torch.channels_last)
    return base if trial.beta is not None else multirate_model(trial, base)


@torch.no_grad()
def start_weights(base: nn.Module, initial_weights: str, scale: float) -> None:
    """Set the hidden layers' initial weights, He's or torch's, times a factor; an MLP comes with He's."""
    parts = [part for part in (base.encoder, base.stem, base.decoder) if part is not None]
    if initial_weights == "he" and base.name != "mlp":
        he_normal(*parts)
    for layer in (layer for part in parts for layer in part.modules()):
        if kind_of(layer, WEIGHTED) is None:
            continue
        if initial_weights == "torch":
            layer.reset_parameters()
        layer.weight.mul_(scale)


def multirate_model(trial: Trial, base: nn.Module) -> MultiRate:
    """Convert a VAE as the trial says; with all candidates off it is the library's default model."""
    named = trial.gates
    if trial.gates in ("film", "none"):
        named = "default" if trial.degree == LIBRARY_DEGREE else "film"
    table = {name: gate for name, gate in RESPONSES[named].items() if name != "latents"}
    table |= {"latents": "threshold"} if trial.gated_latents else {}
    if trial.gates == "none":
        whole = plan(base, response=table)
        latents = tuple(layer for layer in whole.gated if layer.side == "latent")
        model = MultiRate(base, trial.beta_range, dataclasses.replace(whole, gated=latents))
    else:
        model = convert(base, trial.beta_range, response=table)
    start_response(trial, model)
    if trial.partition is not None:
        model.response = PartitionedResponse(model.response, model.beta_range, *trial.partition)
    extras = [*head_gates(trial, model.base), *affine_matrices(trial, model.base)]
    degree = 1 if trial.degree == LIBRARY_DEGREE or trial.gates != "film" else trial.degree
    if degree > 1 or trial.sharpness != LIBRARY_SHARPNESS or extras:
        model.response = ResearchResponse(
            model.response, model.beta_range, degree=degree, sharpness=trial.sharpness, extras=extras
        )
    return model


@torch.no_grad()
def start_response(trial: Trial, model: MultiRate) -> None:
    """Set where the slopes of film gates and the thresholds of latents start."""
    response: Response = model.response
    if trial.gates == "film":
        for scale, _ in response.channel_slices():
            if scale is not None:
                slopes = start_slopes(trial, trial.slope, scale.stop - scale.start)
                low, high = trial.scale_ends
                response.bias[scale] = (low + high) / 2
                response.weight[scale] = slopes + (high - low) / (2 * HALF_WIDTH)
    if trial.specialists is not None:
        start_specialists(response, *trial.specialists)
    if response.thresholds is not None:
        first, last = (math.log(trial.high) + start for start in trial.threshold_start)
        even = torch.linspace(first, last, len(response.thresholds), dtype=torch.float64)
        response.thresholds.copy_((even - model.beta_range.log_mean) / model.beta_range.log_std)


def start_specialists(response: Response, share: float, shut: float) -> None:
    """Start a share of the hidden units' scales as a cubic rise from 0 to 1 over the range, the others as a fall."""
    for scale, _ in response.channel_slices():
        if scale is not None and response.curvature is not None:
            rising = every(scale.stop - scale.start, share)
            amount = rising - shut * (1 - rising)
            response.bias[scale] = (1 - rising) + amount * CUBIC_RISE[0]
            response.weight[scale] = amount * CUBIC_RISE[1] / HALF_WIDTH
            response.curvature[:, scale] = amount * torch.tensor(CUBIC_RISE[2:]).reshape(2, 1)


def start_slopes(trial: Trial, slope: float, channels: int) -> Tensor:
    """Return slopes of one size with the trial's signs, ``[channels]``; random ones are the global generator's."""
    if trial.slope_signs == "random":
        return slope * torch.sign(torch.randn(channels))
    return slope * (-1.0) ** torch.arange(channels)


def head_gates(trial: Trial, base: nn.Module) -> list[FilmGate]:
    """Put film gates on heads, stem and output layer if the trial asks for them."""
    gates = []
    for name in ("mean", "log_variance", "stem", "output") if trial.gated_heads else ():
        layer = getattr(base, name)
        if layer is not None:
            slopes = start_slopes(trial, trial.head_slope, kind_of(layer, WEIGHTED).channels(layer))
            gates.append(FilmGate(layer, slopes, trial.log_variance_slope if name == "log_variance" else 0.0))
    return gates


def affine_matrices(trial: Trial, base: nn.Module) -> list[AffineMatrix]:
    """Make the trial's matrices affine in log beta."""
    return [AffineMatrix(base.get_submodule(name)) for name in trial.matrix_layers]


def draw_betas(trial: Trial, n: int, source: torch.Generator, progress: float) -> Tensor:
    """Draw a batch's betas, stratified.

    Args:
        trial: its density.
        n: how many.
        source: of randomness.
        progress: share of the run that is over, for the curriculum.

    Returns:
        ``[n]``, float32.
    """
    skew = trial.beta_range.exponent
    if trial.skew_end is not None:
        skew += (trial.skew_end - skew) * progress
    if trial.u_shape is not None:
        return betas_at(trial.beta_range, u_shaped_quantile(stratified(n, source), trial.u_shape))
    if trial.uniform_share:
        return betas_at(trial.beta_range, mixed_quantile(stratified(n, source), trial.uniform_share, skew))
    low = trial.low
    if trial.growth is not None:
        start, share = trial.growth
        low *= (start / low) ** max(0.0, 1 - progress / share)
    return dataclasses.replace(trial.beta_range, low=low, skew=skew).sample(n, generator=source)


def parameter_groups(trial: Trial, model: nn.Module) -> list[dict[str, object]]:
    """Give each parameter its step size: weights, gates, thresholds and affine matrices."""
    base = model.base if isinstance(model, MultiRate) else model
    scaled = []
    for path, factor in (entry.split("=") for entry in trial.step_factors):
        try:
            own = list(base.get_submodule(path).parameters())
        except AttributeError as error:
            raise UsageError(f"step_factors: the model has no layer {path!r}") from error
        scaled.append({"params": own, "lr": trial.learning_rate * float(factor)})
    theirs = {id(parameter) for group in scaled for parameter in group["params"]}
    rest = [parameter for parameter in base.parameters() if id(parameter) not in theirs]
    if not isinstance(model, MultiRate):
        return [{"params": rest, "lr": trial.learning_rate}, *scaled]
    matrices = [matrix.weight for matrix in model.response.modules() if isinstance(matrix, AffineMatrix)]
    thresholds = [] if model.response.thresholds is None else [model.response.thresholds]
    elsewhere = {id(parameter) for parameter in (*matrices, *thresholds)}
    gates = [parameter for parameter in model.response.parameters() if id(parameter) not in elsewhere]
    in_nats = trial.threshold_learning_rate
    of_thresholds = trial.learning_rate if in_nats is None else in_nats / model.beta_range.log_std
    groups = (
        ([*rest, *matrices], trial.learning_rate),
        (gates, trial.response_learning_rate or RESPONSE_FACTOR * trial.learning_rate),
        (thresholds, of_thresholds),
    )
    return [*({"params": parameters, "lr": step_size} for parameters, step_size in groups if parameters), *scaled]


def objective(trial: Trial, model: nn.Module, x: Tensor, beta: Tensor) -> Tensor:
    """Return what a step minimises: the mean of the examples' objectives, each with its weight."""
    each = terms_at(model, x, beta).objective(beta)
    return (each if trial.loss_weight_exponent == 0 else each * loss_weights(beta, trial.loss_weight_exponent)).mean()


def train(trial: Trial, model: nn.Module, x: Tensor, after_step: Callable[[int], None] | None = None) -> None:
    """Train a model in place, with noise from the global generator; order and betas are functions of the seed.

    Args:
        trial: its options.
        model: plain or multi-rate.
        x: training data, ``[N, *shape]``.
        after_step: called with the number of steps done.
    """
    config = TrainConfig(decay=trial.decay, decay_fraction=trial.decay_fraction)
    groups = parameter_groups(trial, model)
    averaging = (trial.adam_beta1, trial.adam_beta2)
    optimizer = torch.optim.Adam(groups, betas=averaging, fused=True)
    step_sizes = [group["lr"] for group in groups]
    size = min(trial.batch_size, len(x))
    each_epoch = len(x) // size
    steps = trial.epochs * each_epoch
    warmup = warmup_steps(config, steps)
    source = generator(trial.seed, "trial", "order and betas")
    step = 0
    for _ in range(trial.epochs):
        for indices in torch.randperm(len(x), generator=source)[: each_epoch * size].view(-1, size):
            if trial.beta is None:
                batch = x[indices].repeat(trial.betas_per_example, *[1] * (x.ndim - 1))
                beta = draw_betas(trial, len(batch), source, step / steps)
            else:
                batch, beta = x[indices], torch.full((size,), trial.beta)
            for group, step_size in zip(optimizer.param_groups, step_sizes, strict=True):
                group["lr"] = step_size * learning_rate_factor(step, steps, warmup, config)
            objective(trial, model, batch, beta).backward()
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            if after_step is not None:
                after_step(step)


def trained(trial: Trial, after_step: Callable[[int, nn.Module], None] | None = None) -> nn.Module:
    """Build and train a trial's model; the same trial gives the same model.

    Args:
        trial: its options.
        after_step: called with the number of steps done and the model.

    Returns:
        The model, in evaluation mode.
    """
    x, likelihood = load_split(trial.data, "train", trial.examples)
    with seeded(trial.seed, "trial"):
        model = build(trial, x, likelihood)
        train(trial, model, x, None if after_step is None else lambda step: after_step(step, model))
    return model.eval()
