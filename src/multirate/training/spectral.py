r"""Spectral regularisation, which keeps deep hierarchical VAEs stable (Vahdat and Kautz 2020, Section 3.2)."""

import torch
from torch import Tensor, nn

from multirate.errors import UsageError
from multirate.seeding import generator

_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)
_FIRST_ITERATIONS = 10


class SpectralPenalty(nn.Module):
    r"""Sum of the largest singular values of a model's layers, by power iteration that goes on from call to call.

    .. math:: \sum_i s_i, \qquad s_i = \max_{\|u\| = \|v\| = 1} u^T W_i v

    over the weights of all Linear and convolution layers as matrices of one row an output channel, and the scales of
    normalizations as diagonal ones, whose largest singular value is the largest magnitude. For a multi-rate model these
    are the base's own weights, without gates. The vectors :math:`u, v` count as constants, so that the gradient is
    :math:`u v^T`, exact where they have converged. Each call makes one iteration; ten at the start.

    The vectors are this module's only state: keep ``state_dict()`` with the model's checkpoint, and a resumed run
    equals one that was not stopped. The model's parameters are not in it.

    Args:
        model: whose layers count; a parameter that several of them share counts once.
        seed: of the vectors at the start.

    Raises:
        UsageError: if the model has no such layer.
    """

    def __init__(self, model: nn.Module, seed: int = 0) -> None:
        super().__init__()
        # In a tuple, which torch does not register: the layers are not this module's own.
        self._layers = tuple(_owners(model, _LAYERS))
        self._norms = tuple(_owners(model, _NORMS))
        if not self._layers:
            raise UsageError(f"{type(model).__name__} has no layer for spectral regularization; leave it out")
        for index, layer in enumerate(self._layers):
            matrix = layer_matrix(layer)
            start = torch.randn(matrix.shape[0], generator=generator(seed, "spectral", index))
            self.register_buffer(f"left_{index}", _unit(start.to(matrix)))
        with torch.no_grad():
            for _ in range(_FIRST_ITERATIONS - 1):
                self._iterate()

    def forward(self) -> Tensor:
        """Make one power iteration and return the penalty, a scalar with a gradient to the weights."""
        vectors = self._iterate()
        values = [
            left @ (layer_matrix(layer) @ right) for layer, (left, right) in zip(self._layers, vectors, strict=True)
        ]
        values += [norm._parameters["weight"].abs().max() for norm in self._norms]  # type: ignore[union-attr]
        return torch.stack(values).sum()

    @torch.no_grad()
    def _iterate(self) -> list[tuple[Tensor, Tensor]]:
        vectors = []
        for index, layer in enumerate(self._layers):
            matrix = layer_matrix(layer)
            right = _unit(matrix.T @ self.get_buffer(f"left_{index}"))
            left = _unit(matrix @ right)
            setattr(self, f"left_{index}", left)
            vectors.append((left, right))
        return vectors


def spectral_penalty(model: nn.Module, state: SpectralPenalty | None = None) -> Tensor:
    """Return the sum of the largest singular values of a model's layers.

    Args:
        model: whose layers count.
        state: of that model, one iteration further after this call; None computes from new vectors.

    Returns:
        A scalar with a gradient to the weights.

    Raises:
        UsageError: if the model has no layer that counts.
    """
    penalty: Tensor = (SpectralPenalty(model) if state is None else state)()
    return penalty


def layer_matrix(layer: nn.Module) -> Tensor:
    """Return the weight of a Linear or convolution layer as a matrix, one row an output channel.

    A transposed convolution in groups has a row for each channel of one group, side by side in the columns.

    Args:
        layer: of one of these types.
    """
    weight = layer.weight
    assert isinstance(weight, Tensor)
    if isinstance(layer, _TRANSPOSED):
        weight = weight.transpose(0, 1)
    return weight.flatten(1)


def _owners(model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> list[nn.Module]:
    """Return the layers of some types that own a weight which trains, each weight once."""
    found: dict[int, nn.Module] = {}
    for module in model.modules():
        weight = module._parameters.get("weight") if isinstance(module, kinds) else None
        if weight is not None and weight.requires_grad:
            found.setdefault(id(weight), module)
    return list(found.values())


def _unit(vector: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(vector)
    return vector / length.clamp(min=torch.finfo(vector.dtype).tiny)
