"""Functions of the standardized log beta that bend the maps of gates, and how PyTorch is running."""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

# How many functions of log beta bend a map, beside its affine part: Legendre polynomials, or hidden units.
FEATURES: Mapping[str, int] = {"": 0, "cubic": 2, "mlp": 32}
# Slope of each hidden unit where it starts, a standard deviation of log beta: a soft step.
_HIDDEN_SLOPE = 2.0


def plain_eager() -> bool:
    """Return whether PyTorch runs op by op: no compiler, no functional transform, no forward-mode derivative."""
    return (
        not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
        and torch.autograd.forward_ad._current_level < 0
    )


def without_autocast(device: str) -> AbstractContextManager[object]:
    """Return a block without mixed precision, on a type of device that may not know any."""
    low = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if low else nullcontext()


def bends(column: Tensor) -> Tensor:
    """Return the second and third Legendre polynomial of the place in the range, -1 to 1.

    Args:
        column: standardized log beta, ``[B, 1]``.

    Returns:
        ``[B, 2]``.
    """
    x = column / math.sqrt(3.0)
    square = x.square()
    return torch.cat([1.5 * square - 0.5, (2.5 * square - 1.5) * x], dim=1)


def first_hidden() -> tuple[Tensor, Tensor]:
    """Return weights and biases of the hidden units: soft steps whose middles are spread evenly over the range."""
    count = FEATURES["mlp"]
    weight = torch.full((count,), _HIDDEN_SLOPE, dtype=torch.float64)
    return weight, -weight * torch.linspace(-math.sqrt(3.0), math.sqrt(3.0), count, dtype=torch.float64)
