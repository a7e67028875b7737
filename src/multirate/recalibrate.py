"""BatchNorm statistics of one beta, in place of those of the mixture of betas that training leaves behind."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from multirate.data import Source, as_source
from multirate.errors import BetaError, ConversionError, UsageError
from multirate.inference import at, base_of, inference, like_parameters
from multirate.seeding import generator, seeded
from multirate.wrapper import MultiRate

BatchNorm = nn.modules.batchnorm._BatchNorm


@contextmanager
def recalibrated(
    model: nn.Module,
    data: Source | Tensor | NDArray[Any] | Dataset[Any],
    beta: float | None = None,
    *,
    batches: int = 20,
    batch_size: int = 128,
    seed: int = 0,
) -> Iterator[nn.Module]:
    """Run a block with the BatchNorm statistics of one beta; afterwards they are, bit for bit, what they were.

    Training mixes betas in a batch, and running statistics describe that mixture. Here they are replaced as
    :func:`recalibrate` does.

    Args:
        model: plain or multi-rate, with ``terms``.
        data: training data.
        beta: of a multi-rate model; None for a plain one.
        batches: as in :func:`recalibrate`.
        batch_size: as in :func:`recalibrate`.
        seed: as in :func:`recalibrate`.

    Yields:
        The model.

    Raises:
        UsageError: as :func:`recalibrate`.
        BetaError: as :func:`recalibrate`.
        ConversionError: as :func:`recalibrate`.
    """
    kept = [(buffer, buffer.clone()) for norm in _norms(model) for buffer in _statistics(norm)]
    try:
        yield recalibrate(model, data, beta, batches=batches, batch_size=batch_size, seed=seed)
    finally:
        for buffer, value in kept:
            buffer.copy_(value)


@torch.no_grad()
def recalibrate(
    model: nn.Module,
    data: Source | Tensor | NDArray[Any] | Dataset[Any],
    beta: float | None = None,
    *,
    batches: int = 20,
    batch_size: int = 128,
    seed: int = 0,
) -> nn.Module:
    """Replace the running statistics of every BatchNorm by those at one beta, for good.

    They become the averages, with equal weights, of each batch's mean and unbiased variance, over batches that are
    drawn without replacement. Meanwhile BatchNorms normalise by their batch, as in training; all else is in evaluation
    mode, so that nothing is dropped out. Modes and the global generator are left as found. A multi-rate model answers
    every beta with these statistics from then on: use it on a folded model, or :func:`recalibrated`.

    Weights that were trained on batches of many betas expect the statistics of such batches, and may be worse with
    those of one beta: measure both. It suits models whose batches had one beta each, and folded models that train on.

    Args:
        model: plain or multi-rate, with ``terms``; changed in place. Without a BatchNorm nothing changes.
        data: training data.
        beta: of a multi-rate model; None for a plain one.
        batches: how many; fewer if the data are.
        batch_size: examples of each, at least 2.
        seed: of the choice of examples and of the noise.

    Returns:
        The model.

    Raises:
        UsageError: if a number is too small or the data hold fewer than two examples.
        BetaError: if beta is missing or outside the range of a multi-rate model.
        ConversionError: if the model has no ``terms``.
    """
    base = base_of(model)
    terms: Any = getattr(base, "terms", None)
    if not callable(terms):
        raise ConversionError(f"{type(base).__name__} has no method terms(x); add one that returns multirate.Terms")
    if isinstance(model, MultiRate) and beta is None:
        raise BetaError(f"beta is missing: give one in {model.beta_range}")
    source = as_source(data)
    chosen = _batches(len(source), batches, batch_size, seed)
    norms = _norms(model)
    if not norms:
        return model
    with inference(model), _averaging(norms), at(model, beta):
        for index, indices in enumerate(chosen):
            x = like_parameters(source.batch(indices), model)
            with seeded(seed, "recalibrate", index):
                terms(x)
    return model


def has_batchnorm(model: nn.Module) -> bool:
    """Return whether a model has statistics that :func:`recalibrate` would replace."""
    return bool(_norms(model))


@contextmanager
def _averaging(norms: list[BatchNorm]) -> Iterator[None]:
    """Put BatchNorms into training mode with plain averages, from nothing; the modes are given back by the caller."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _norms(model: nn.Module) -> list[BatchNorm]:
    return [m for m in model.modules() if isinstance(m, BatchNorm) and m.track_running_stats]


def _statistics(norm: BatchNorm) -> list[Tensor]:
    buffers = (norm.running_mean, norm.running_var, norm.num_batches_tracked)
    return [buffer for buffer in buffers if buffer is not None]


def _batches(examples: int, batches: int, batch_size: int, seed: int) -> list[Tensor]:
    if batches < 1 or batch_size < 2:
        raise UsageError(f"batches must be at least 1 and batch_size at least 2; got {batches} and {batch_size}")
    if examples < 2:
        raise UsageError(f"BatchNorm statistics need at least 2 examples; got {examples}")
    order = torch.randperm(examples, generator=generator(seed, "recalibrate"))[: batches * batch_size]
    whole = [indices for indices in order.split(batch_size) if len(indices) == batch_size]
    return whole or [order]
