"""Maps of the standardized log beta: how the features that bend them are computed, and summed in one go."""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

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


def plain_autograd() -> bool:
    """Return whether autograd's plain reverse mode is at work, where functions with a backward of their own are of use.

    A compiler fuses the plain operations itself.
    """
    return torch.is_grad_enabled() and plain_eager()


def without_autocast(device: str) -> AbstractContextManager[object]:
    """Return a block without mixed precision, on a type of device that may not know any."""
    low = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if low else nullcontext()


def bends(standardized_log_beta: Tensor) -> tuple[Tensor, Tensor]:
    """Return the second and third Legendre polynomial of the place in the range, -1 to 1, ``[B, 1]`` each."""
    x = standardized_log_beta / math.sqrt(3.0)
    square = x.square()
    return 1.5 * square - 0.5, (2.5 * square - 1.5) * x


class _CubicMaps(torch.autograd.Function):
    """All maps of cubic gates: summed in one buffer, and their coefficients' gradients by one matrix product.

    Autograd of the same sum keeps and reads a matrix ``[B, n]`` for each of the four coefficients.
    """

    @staticmethod
    def forward(column: Tensor, bias: Tensor, weight: Tensor, curvature: Tensor) -> Tensor:
        maps = torch.addcmul(bias, column, weight)
        for bend, coefficients in zip(bends(column), curvature.unbind(), strict=True):
            maps.addcmul_(bend, coefficients)
        return maps

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        column, _, weight, curvature = inputs
        ctx.save_for_backward(column, weight, curvature)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        column, weight, curvature = ctx.saved_tensors
        features = torch.cat([torch.ones_like(column), column, *bends(column)], dim=1)
        with without_autocast(grad.device.type):
            bias_grad, weight_grad, *rest = (features.t() @ grad).unbind()
        column_grad = None
        if ctx.needs_input_grad[0]:
            x = column / math.sqrt(3.0)
            slope = weight + (3 * x * curvature[0] + (7.5 * x.square() - 1.5) * curvature[1]) / math.sqrt(3.0)
            column_grad = (grad * slope).sum(dim=1, keepdim=True)
        return column_grad, bias_grad, weight_grad, torch.stack(rest)


def cubic_maps(column: Tensor, bias: Tensor, weight: Tensor, curvature: Tensor) -> Tensor:
    """Return the maps of cubic gates.

    Args:
        column: standardized log beta, ``[B, 1]``.
        bias: of the affine part, ``[n]``.
        weight: of the affine part, ``[n]``.
        curvature: coefficients of :func:`bends`, ``[2, n]``.

    Returns:
        ``[B, n]``.
    """
    if plain_autograd():
        maps: Tensor = _CubicMaps.apply(column, bias, weight, curvature)  # type: ignore[no-untyped-call]  # untyped in torch
        return maps
    return bent(torch.addcmul(bias, column, weight), column, curvature)


def bent(maps: Tensor, column: Tensor, curvature: Tensor) -> Tensor:
    """Add the features of cubic gates to affine maps ``[B, n]``, one product an element.

    A matrix product of so few features takes several times as long.
    """
    for bend, coefficients in zip(bends(column), curvature.unbind(), strict=True):
        maps = torch.addcmul(maps, bend, coefficients)
    return maps


def first_hidden() -> tuple[Tensor, Tensor]:
    """Return weights and biases of the hidden units: soft steps whose middles are spread evenly over the range."""
    count = FEATURES["mlp"]
    weight = torch.full((count,), _HIDDEN_SLOPE, dtype=torch.float64)
    return weight, -weight * torch.linspace(-math.sqrt(3.0), math.sqrt(3.0), count, dtype=torch.float64)
