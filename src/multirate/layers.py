"""The table of layers that can be gated: where their channels are, and how a gate is folded into their weights.

A gate is a scale (and with FiLM a shift) of each output channel. Folding puts it into weights and bias:
``scale * (W a + b) + shift = (scale * W) a + (scale * b + shift)``.
"""

import copy
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from multirate.errors import BetaError, ConversionError
from multirate.response import Gate


@dataclass(frozen=True)
class Kind:
    """What the library knows of one type of layer.

    Args:
        channels: the number of gates that a layer of this type takes.
        axis: the axis of the gated channels in its output (ignored for recurrent layers).
        fold: puts a gate with ``[C]`` scale and shift into the layer's own parameters.
        inputs: the number of its input channels, along the same axis; 0 if they cannot be gated.
        fold_input: puts a scale of the input's channels, ``[C]``, into the layer's own weight.
    """

    channels: Callable[[Any], int]
    axis: Callable[[Any], int]
    fold: Callable[[Any, Gate], None]
    inputs: Callable[[Any], int] = lambda layer: 0
    fold_input: Callable[[Any, Tensor], None] = lambda layer, scale: None


def copied(base: nn.Module) -> nn.Module:
    """Return a deep copy of a module; nested-tensor shortcuts of transformers, which skip layers' outputs, are off.

    Args:
        base: any module.

    Returns:
        The copy, sharing no memory with ``base``.

    Raises:
        ConversionError: if the module holds something that torch cannot copy.
    """
    try:
        copy_ = copy.deepcopy(base)
    except (RuntimeError, TypeError) as error:
        reason = str(error).split(".")[0]
        raise ConversionError(
            f"{type(base).__name__} cannot be copied: {reason}; remove weight-norm hooks, pruning and kept outputs"
        ) from error
    for module in copy_.modules():
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False
    return copy_


def replace_parameter(layer: nn.Module, name: str, value: Tensor) -> None:
    """Give ``layer`` a new parameter, as trainable as the old one; a tensor shared with other layers is left alone.

    Args:
        layer: the owner.
        name: the parameter's name in the owner.
        value: the new value.
    """
    trainable = getattr(layer, name).requires_grad
    setattr(layer, name, nn.Parameter(value.detach().clone(), requires_grad=trainable))


def _fold(layer: Any, gate: Gate, weight_scale: Tensor) -> None:
    replace_parameter(layer, "weight", layer.weight * weight_scale)
    if layer.bias is not None:
        bias = layer.bias * gate.scale
        replace_parameter(layer, "bias", bias if gate.shift is None else bias + gate.shift)


def _fold_rows(layer: Any, gate: Gate) -> None:
    _fold(layer, gate, gate.scale.reshape(-1, *[1] * (layer.weight.ndim - 1)))


def _fold_transposed(layer: Any, gate: Gate) -> None:
    by_group = gate.scale.reshape(layer.groups, -1)
    rows = by_group.repeat_interleave(layer.in_channels // layer.groups, dim=0)
    _fold(layer, gate, rows.reshape(*rows.shape, *[1] * (layer.weight.ndim - 2)))


def _fold_columns(layer: Any, scale: Tensor) -> None:
    replace_parameter(layer, "weight", layer.weight * scale.reshape(1, -1, *[1] * (layer.weight.ndim - 2)))


def _fold_transposed_columns(layer: Any, scale: Tensor) -> None:
    replace_parameter(layer, "weight", layer.weight * scale.reshape(-1, *[1] * (layer.weight.ndim - 1)))


def _undivided_inputs(layer: Any) -> int:
    return int(layer.in_channels) if layer.groups == 1 else 0


def _fold_layer_norm(layer: Any, gate: Gate) -> None:
    column = gate.scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
    replace_parameter(layer, "weight", layer.weight * column)
    if layer.bias is not None:
        bias = layer.bias * column
        replace_parameter(layer, "bias", bias if gate.shift is None else bias + gate.shift.reshape(column.shape))


def _recurrent_channels(layer: Any) -> int:
    directions = 2 if layer.bidirectional else 1
    return int(layer.weight_ih_l0.shape[0]) * int(layer.num_layers) * directions


def gated_recurrent_weights(layer: Any, gate: Gate) -> list[tuple[str, Tensor]]:
    r"""Gate every pre-activation of an LSTM or GRU through its weights.

    A row of ``weight_ih`` and ``weight_hh`` and their biases belong to one pre-activation
    :math:`W_{ih} x + b_{ih} + W_{hh} h + b_{hh}`, and share one gate. Projections of an LSTM (``proj_size``) stay.

    Args:
        layer: the LSTM or GRU.
        gate: scale and shift, ``[C]``, layer after layer and direction after direction.

    Returns:
        Name and gated value of each parameter, in torch's order.
    """
    rows = int(layer.weight_ih_l0.shape[0])
    blocks: dict[str, int] = {}
    gated = []
    for name in layer._flat_weights_names:
        family, suffix = name[: name.index("_l")], name[name.index("_l") :]
        value = getattr(layer, name)
        if family != "weight_hr":
            start = blocks.setdefault(suffix, rows * len(blocks))
            scale = gate.scale[start : start + rows]
            value = value * (scale[:, None] if value.ndim == 2 else scale)
            if family == "bias_ih" and gate.shift is not None:
                value = value + gate.shift[start : start + rows]
        gated.append((name, value))
    return gated


def _fold_recurrent(layer: Any, gate: Gate) -> None:
    for name, value in gated_recurrent_weights(layer, gate):
        replace_parameter(layer, name, value)


def _convolution(dims: int) -> Kind:
    return Kind(
        lambda layer: int(layer.out_channels), lambda layer: -1 - dims, _fold_rows, _undivided_inputs, _fold_columns
    )


def _transposed(dims: int) -> Kind:
    return dataclasses.replace(_convolution(dims), fold=_fold_transposed, fold_input=_fold_transposed_columns)


def _instance_norm(dims: int) -> Kind:
    return Kind(lambda layer: int(layer.num_features), lambda layer: -1 - dims, _fold_rows)


WEIGHTED: Mapping[type[nn.Module], Kind] = {
    nn.Linear: Kind(
        lambda layer: int(layer.out_features),
        lambda layer: -1,
        _fold_rows,
        lambda layer: int(layer.in_features),
        _fold_columns,
    ),
    nn.Conv1d: _convolution(1),
    nn.Conv2d: _convolution(2),
    nn.Conv3d: _convolution(3),
    nn.ConvTranspose1d: _transposed(1),
    nn.ConvTranspose2d: _transposed(2),
    nn.ConvTranspose3d: _transposed(3),
}

_CHANNEL_NORM = Kind(lambda layer: int(layer.num_features), lambda layer: 1, _fold_rows)
_LAYER_NORM = Kind(
    lambda layer: int(layer.normalized_shape[0]), lambda layer: -len(layer.normalized_shape), _fold_layer_norm
)

NORMALIZING: Mapping[type[nn.Module], Kind] = {
    nn.BatchNorm1d: _CHANNEL_NORM,
    nn.BatchNorm2d: _CHANNEL_NORM,
    nn.BatchNorm3d: _CHANNEL_NORM,
    nn.SyncBatchNorm: _CHANNEL_NORM,
    nn.InstanceNorm1d: _instance_norm(1),
    nn.InstanceNorm2d: _instance_norm(2),
    nn.InstanceNorm3d: _instance_norm(3),
    nn.GroupNorm: Kind(lambda layer: int(layer.num_channels), lambda layer: 1, _fold_rows),
    nn.LayerNorm: _LAYER_NORM,
}

RECURRENT: Mapping[type[nn.Module], Kind] = {
    nn.LSTM: Kind(_recurrent_channels, lambda layer: -1, _fold_recurrent),
    nn.GRU: Kind(_recurrent_channels, lambda layer: -1, _fold_recurrent),
}


def kind_of(layer: nn.Module, *tables: Mapping[type[nn.Module], Kind]) -> Kind | None:
    """Look a layer up; a subclass that computes something else than its parent is not found.

    Args:
        layer: any module.
        tables: the tables to look in, all three if none is given.

    Returns:
        Its kind, or None.
    """
    for table in tables or (WEIGHTED, NORMALIZING, RECURRENT):
        for parent, kind in table.items():
            if isinstance(layer, parent):
                same = type(layer).forward is parent.forward
                inner = getattr(parent, "_conv_forward", None)
                return kind if same and getattr(type(layer), "_conv_forward", None) is inner else None
    return None


def spread_gate(gate: Gate, output: Tensor, axis: int, name: str) -> Gate:
    """Bring a gate into the shape and type that multiply a layer's output (or input), example by example.

    A leading axis of ``B * T`` is read as ``B`` examples of ``T`` consecutive rows each; a middle axis, as in
    ``[B, T, C]``, shares its example's gate.

    Args:
        gate: scale and shift, ``[1, C]`` or ``[B, C]``.
        output: the layer's output, channels along ``axis``.
        axis: the channels' axis.
        name: the layer's name, for the message.

    Returns:
        Scale and shift that broadcast with the output.

    Raises:
        BetaError: if the number of betas fits neither the leading axis nor a divisor of it.
    """
    scale, shift = gate
    rows = scale.shape[0]
    if output.ndim != 2 or axis not in (1, -1) or rows not in (1, output.shape[0]):
        repeats, shape = _gate_shape(output, rows, axis, name)
        scale = _spread(scale, repeats, shape)
        shift = None if shift is None else _spread(shift, repeats, shape)
    if scale.dtype != output.dtype:
        scale, shift = scale.to(output.dtype), None if shift is None else shift.to(output.dtype)
    return Gate(scale, shift)


def apply_gate(output: Tensor, gate: Gate, axis: int, name: str) -> Tensor:
    """Scale and shift the channels of a layer's output (or input), example by example.

    Args:
        output: the layer's output, channels along ``axis``.
        gate: scale and shift, ``[1, C]`` or ``[B, C]``.
        axis: the channels' axis.
        name: the layer's name, for the message.

    Returns:
        The gated output, of the output's type.

    Raises:
        BetaError: as :func:`spread_gate`.
    """
    return scale_and_shift(output, spread_gate(gate, output, axis, name))


def scale_and_shift(output: Tensor, gate: Gate, out: Tensor | None = None) -> Tensor:
    """Scale and shift an output.

    Args:
        output: of a layer.
        gate: of :func:`spread_gate`.
        out: where to write, such as the output itself; a new tensor if it is None.

    Returns:
        ``gate.scale * output + gate.shift``, of the output's type, shape and memory format.
    """
    scale, shift = gate
    if shift is None:
        return torch.mul(output, scale, out=out)
    if output.ndim > 2 and output.is_contiguous() and not torch.compiler.is_compiling():
        # Channels that are not the innermost axis: addcmul would read gates element by element.
        return torch.mul(output, scale, out=out).add_(shift)
    return torch.addcmul(shift, output, scale, out=out)


def _gate_shape(output: Tensor, betas: int, axis: int, name: str) -> tuple[int, list[int]]:
    """Return how many rows share a beta, and the shape in which the gates multiply an output."""
    shape, rows, repeats = [1] * output.ndim, output.shape[0], 1
    if betas != 1:
        if rows not in (1, betas) and (rows % betas or rows == 0):
            raise BetaError(
                f"{betas} betas for layer {name!r}, which sees {rows} examples; pass one beta, or one an example"
            )
        if axis % output.ndim == 0:
            raise BetaError(
                f"{betas} betas for layer {name!r}, which sees one example without a batch axis; pass one beta"
            )
        repeats = max(rows // betas, 1)
        shape[0] = betas * repeats
    shape[axis] = -1
    return repeats, shape


def _spread(part: Tensor, repeats: int, shape: list[int]) -> Tensor:
    return (part if repeats == 1 else part.repeat_interleave(repeats, dim=0)).reshape(shape)
