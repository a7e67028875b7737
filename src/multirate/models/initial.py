"""Initial weights of the built-in networks' hidden layers."""

import math

import torch
from torch import nn

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@torch.no_grad()
def he_normal(*parts: nn.Module) -> None:
    r"""Draw the weights of every layer in ``parts`` anew, for ReLUs: :math:`N(0, 2 / n)`, and set biases to 0.

    :math:`n` is the number of inputs that one output value sums over (He et al. 2015); a transposed convolution of
    stride s meets only one in :math:`s` of its kernel's positions along each axis. PyTorch's own initialisation has a
    sixth of this variance, so that the signal shrinks in each layer and training starts slowly.

    Args:
        parts: modules whose Linear and convolution layers feed ReLUs; drawn from the global generator.
    """
    for part in parts:
        for layer in part.modules():
            if not isinstance(layer, _LAYERS + _TRANSPOSED):
                continue
            layer.weight.normal_(0.0, math.sqrt(2.0 / _fan_in(layer)))
            if layer.bias is not None:
                layer.bias.zero_()


def _fan_in(layer: nn.Module) -> float:
    if isinstance(layer, nn.Linear):
        return float(layer.in_features)
    assert isinstance(layer, nn.modules.conv._ConvNd)
    positions = math.prod(layer.kernel_size)
    if isinstance(layer, _TRANSPOSED):
        return layer.in_channels / layer.groups * positions / math.prod(layer.stride)
    return layer.in_channels / layer.groups * positions
