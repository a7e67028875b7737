"""Running a model without changing it: eval mode that is given back, data where the parameters are, one beta held."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from multirate.wrapper import MultiRate, evaluating


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Run a block in eval mode and without gradients, then put each of the model's modules back to the mode it had.

    Args:
        model: any module; modules that were frozen in another mode than the rest stay so afterwards.
    """
    with evaluating(model), torch.no_grad():
        yield


def at(model: nn.Module, beta: float | None) -> AbstractContextManager[object]:
    """Hold ``beta`` for a block: ``model.at(beta)`` of a multi-rate model, nothing for a plain one."""
    if isinstance(model, MultiRate) and beta is not None:
        return model.at(beta)
    return nullcontext()


def beta_of(model: nn.Module, weight: float) -> float:
    """Return the beta that a model is at: of a multi-rate one with a range of lambda one over it, else the weight."""
    return model.beta_range.beta_of(weight) if isinstance(model, MultiRate) else weight


def weight_of(model: nn.Module, beta: float) -> float:
    """Return what a model is called with to be at ``beta``, as a curve has it: the inverse of :func:`beta_of`."""
    return model.beta_range.weight_of(beta) if isinstance(model, MultiRate) else beta


def base_of(model: nn.Module) -> nn.Module:
    """Return the VAE itself: a multi-rate model's base, or the model."""
    return model.base if isinstance(model, MultiRate) else model


def like_parameters(x: Tensor, model: nn.Module) -> Tensor:
    """Move data to the model's device and, if they are floating, to its precision."""
    like = next((p for p in model.parameters() if p.is_floating_point()), None)
    if like is None:
        return x
    return x.to(like.device, like.dtype if x.is_floating_point() else x.dtype)
