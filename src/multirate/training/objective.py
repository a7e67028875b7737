"""What a run minimises: a model and an objective as one forward, and the betas that they see."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from multirate.beta import BetaRange
from multirate.data.source import Source
from multirate.errors import UsageError
from multirate.objectives import DistortionWeighted, Objective, by_name, couples_examples
from multirate.objectives.names import POSTERIOR_OBJECTIVES
from multirate.seeding import generator, seeded
from multirate.training.config import TrainConfig, examples_a_step
from multirate.wrapper import MultiRate, evaluating, terms_at

# Steps that share one stratified draw where a step has one beta: together they cover the whole range.
BLOCK = 16


class ModelObjective(nn.Module):
    """A model's objective as a ``forward``, for what wraps and compiles forwards.

    A model whose range is of lambda minimises the objective at beta = 1 / lambda: of a beta-VAE D + R / lambda.

    Args:
        model: plain or multi-rate.
        objective: of terms and beta.
    """

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        weighs = model.beta_range.weighs if isinstance(model, MultiRate) else "rate"
        self.objective = objective if weighs == "rate" else DistortionWeighted(objective)

    def forward(self, x: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return objective, rate and distortion of each example, ``[B]`` each, in nats.

        Args:
            x: data, ``[B, ...]``.
            beta: ``[B]`` or ``[]``; lambda, where the model's range is of that.
        """
        terms = terms_at(self.model, x, beta)
        return self.objective(terms, beta), terms.rate, terms.distortion


def objective_for(config: TrainConfig, examples: int) -> Objective:
    """Make the objective that a configuration names.

    Args:
        config: of the run.
        examples: in the training data, which minibatch estimates of the aggregate posterior need to know.
    """
    return by_name(config.objective, dataset_size=examples, estimator=config.tc_estimator, free_bits=config.free_bits)


def check_terms(model: nn.Module, source: Source, config: TrainConfig) -> None:
    """Try a model on one example, if the objective needs more than rate and distortion, before anything is written.

    Args:
        model: plain or multi-rate; left as it was.
        source: training data.
        config: of the run.

    Raises:
        UsageError: if its terms lack the posterior or the reconstruction, or a sigma-VAE's variance is learnt already,
            or the model is multi-rate.
    """
    sigma = config.objective == "sigma-vae"
    if not sigma and config.objective not in POSTERIOR_OBJECTIVES:
        return
    base = model.base if isinstance(model, MultiRate) else model
    if sigma and (base is not model or getattr(base, "likelihood", None) == "gaussian_learned"):
        why = "a multi-rate model" if base is not model else "likelihood gaussian_learned"
        remedy = "train its plain VAE" if base is not model else "choose likelihood gaussian or squared_error"
        raise UsageError(f"objective sigma-vae sets the variance of a plain VAE itself, not that of {why}; {remedy}")
    like = next(p for p in model.parameters() if p.is_floating_point())
    x = source.batch(torch.zeros(1, dtype=torch.int64))
    x = x.to(like.device, like.dtype if x.is_floating_point() else x.dtype)
    with evaluating(model), torch.no_grad(), seeded(config.seed, "probe"):
        terms = terms_at(model, x, model.beta_range.low if isinstance(model, MultiRate) else None)
    if sigma and terms.reconstruction is None:
        raise UsageError(
            f"objective sigma-vae needs the mean of the likelihood, which {type(base).__name__}.terms(x) does not "
            "give; let it fill Terms.reconstruction, or choose objective beta-vae"
        )
    if not sigma and terms.posterior is None:
        raise UsageError(
            f"objective {config.objective} needs the posterior of one Gaussian latent vector, which "
            f"{type(base).__name__}.terms(x) does not give; let it fill Terms.posterior, or choose objective beta-vae"
        )


def check_single_examples(model: nn.Module, source: Source, config: TrainConfig, processes: int) -> None:
    """Try a copy of a model with BatchNorm on a batch of one, if that is what a process gets.

    Args:
        model: plain or multi-rate; left as it was.
        source: training data.
        config: of the run.
        processes: of the run.

    Raises:
        UsageError: if a BatchNorm cannot: it has one value a channel, whose variance is 0.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if examples_a_step(config, len(source), processes) > processes or not norms:
        return
    tried, x = copy.deepcopy(model), source.batch(torch.zeros(1, dtype=torch.int64))
    if not tried.training:
        tried.train()
    like = next(p for p in tried.parameters() if p.is_floating_point())
    x = x.to(like.device, like.dtype if x.is_floating_point() else x.dtype)
    try:
        with torch.no_grad(), seeded(config.seed, "probe"):
            terms_at(tried, x, model.beta_range.low if isinstance(model, MultiRate) else None)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UsageError(
            "a BatchNorm cannot train on a batch of one example: it takes the variance of one value a channel; give "
            "batch_size of at least 2 for each process, and as many examples"
        ) from error


def one_beta_a_step(model: nn.Module, objective: Objective) -> bool:
    """Return whether the examples of a batch must share one beta.

    Recurrent layers gate their weights, and objectives that look at the aggregate posterior need one model for it; a
    model may say so too, by an attribute ``couples_examples``, as :class:`multirate.objectives.TwoTerms` does.

    Args:
        model: plain or multi-rate.
        objective: of the run.
    """
    recurrent = isinstance(model, MultiRate) and any(layer.recurrent for layer in model.plan.gated)
    coupled = isinstance(model, MultiRate) and bool(getattr(model.base, "couples_examples", False))
    return recurrent or coupled or couples_examples(objective)


def draw_betas(beta_range: BetaRange, seed: int, step: int, count: int, dtype: torch.dtype) -> Tensor:
    """Draw one beta an example for a step, stratified over the batch.

    Args:
        beta_range: to draw from.
        seed: of the run.
        step: steps done before this one.
        count: examples of the step, over all processes.
        dtype: floating type of the result.

    Returns:
        ``[count]``.
    """
    return beta_range.sample(count, generator=generator(seed, "beta", step), dtype=dtype)


def draw_step_betas(beta_range: BetaRange, seed: int, step: int, count: int, dtype: torch.dtype) -> Tensor:
    """Draw one beta a process for a step, stratified over :data:`BLOCK` steps.

    Each of them alone is distributed as any other draw of the range, so that the mean gradient is that of one beta an
    example; together the betas of a block cover the range.

    Args:
        beta_range: to draw from.
        seed: of the run.
        step: steps done before this one.
        count: processes.
        dtype: floating type of the result.

    Returns:
        ``[count]``.
    """
    block, position = divmod(step, BLOCK)
    betas = beta_range.sample(BLOCK * count, generator=generator(seed, "beta block", block), dtype=dtype)
    return betas[position * count : (position + 1) * count]
