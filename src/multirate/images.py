"""Pictures that a model makes at several betas: reconstructions, and samples from the same prior draws."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from multirate.errors import ConversionError, TrainingError, UsageError
from multirate.inference import at, base_of, inference, like_parameters
from multirate.seeding import seeded
from multirate.wrapper import MultiRate

FloatImages = NDArray[np.float32]


def reconstructions(model: nn.Module, x: Tensor | NDArray[Any], betas: Sequence[float] | None = None) -> FloatImages:
    """Reconstruct examples at each beta: the likelihood's mean at the posterior's mean, so that nothing is random.

    Args:
        model: a multi-rate model, or a plain one, with ``encode`` and ``decode``.
        x: data, ``[n, *shape]``.
        betas: one row each; None for a plain model, which has one row.

    Returns:
        Float32, ``[n_beta, n, *shape]``.

    Raises:
        ConversionError: if the model lacks ``encode`` or ``decode``.
        UsageError: if betas are missing for a multi-rate model, or several for a plain one.
        BetaError: if a beta is outside the model's range.
        TrainingError: if a picture is not finite.
    """
    encode, decode = _methods(model, "encode", "decode")
    batch = like_parameters(torch.as_tensor(x), model)
    return _rows(model, betas, lambda: decode(encode(batch).mean).mean)


def prior_samples(model: nn.Module, betas: Sequence[float] | None = None, n: int = 8, seed: int = 0) -> FloatImages:
    """Decode the same prior draws at each beta, each shown as the likelihood's mean.

    Args:
        model: a multi-rate model, or a plain one, with ``prior`` and ``decode``.
        betas: one row each; None for a plain model, which has one row.
        n: how many draws, the columns.
        seed: of the draws.

    Returns:
        Float32, ``[n_beta, n, *shape]``; column j is one latent vector at every beta.

    Raises:
        ConversionError: if the model lacks ``prior`` or ``decode``.
        UsageError: if ``n`` is below 1, betas are missing for a multi-rate model, or several for a plain one.
        BetaError: if a beta is outside the model's range.
        TrainingError: if a picture is not finite.
    """
    if n < 1:
        raise UsageError(f"n must be at least 1; got {n}")
    prior, decode = _methods(model, "prior", "decode")

    def draw() -> Tensor:
        with seeded(seed, "prior_samples"):
            z = prior().sample((n,))
        # A prior of independent latents may have them as its batch shape: Normal(zeros(Z), ones(Z)).
        shape = prior().event_shape or z.shape[1:]
        return decode(z.reshape(n, *shape)).mean  # type: ignore[no-any-return]

    return _rows(model, betas, draw)


def _rows(model: nn.Module, betas: Sequence[float] | None, draw: Callable[[], Tensor]) -> FloatImages:
    if isinstance(model, MultiRate):
        if betas is None or len(betas) == 0:
            raise UsageError(f"betas are missing: give at least one in {model.beta_range}")
    elif betas is not None and len(betas) != 1:
        raise UsageError(f"a plain {type(model).__name__} has one beta; got {len(betas)}: leave betas out")
    rows: list[FloatImages] = []
    with inference(model):
        for beta in [None] if betas is None else betas:
            with at(model, None if beta is None else float(beta)):
                row = draw().float().cpu()
            if not bool(row.isfinite().all()):
                where = "" if beta is None else f" at beta {beta:g}"
                raise TrainingError(f"the model's pictures are not finite{where}; train with a smaller learning rate")
            rows.append(row.numpy())
    return np.stack(rows)


def _methods(model: nn.Module, *names: str) -> list[Callable[..., Any]]:
    base = base_of(model)
    for name in names:
        if not callable(getattr(base, name, None)):
            raise ConversionError(
                f"{type(base).__name__} has no method {name}: pictures need "
                "encode(x) -> posterior, decode(z) -> likelihood and prior(), all torch.distributions"
            )
    return [getattr(base, name) for name in names]
