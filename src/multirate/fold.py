"""Take the plain VAE of one beta out of a multi-rate model."""

from types import MethodType

import torch
from torch import nn

from multirate.beta import BetaLike
from multirate.errors import BetaError, ConversionError
from multirate.layers import copied, kind_of
from multirate.rectified import NonlinearityHook
from multirate.response import Gate
from multirate.wrapper import GateHook, InputHook, MultiRate, RecurrentHook


def fold(model: MultiRate, beta: BetaLike) -> nn.Module:
    r"""Return a plain copy of the base whose weights hold the gates at ``beta``.

    :math:`W(\beta) = s(\beta) \odot W`, :math:`b(\beta) = s(\beta) \odot b` (Bae et al. 2023, Eq. 8-9); where a
    normalization follows a layer, its affine map takes the gate instead, and the layer that takes the latents carries
    their gates in its columns. The copy computes what the model computes at
    that beta, to rounding; nothing is divided. A parameter that gated layers share becomes one for each of them. The
    one thing that a fold cannot see is a base that uses a gated layer's weight outside that layer's own call, as
    ``F.linear(x, self.encoder[0].weight.T)`` does: name such a layer in ``ungated``.

    Args:
        model: the multi-rate model; not changed.
        beta: one number of its range.

    Returns:
        A module of the base's class and state-dict keys, in the base's training or evaluation mode, sharing no memory
        with the model.

    Raises:
        BetaError: if beta is not one number of the range.
        ConversionError: if ``model`` is not multi-rate.
    """
    if not isinstance(model, MultiRate):
        raise ConversionError(f"fold takes a multi-rate model; a {type(model).__name__} is plain already")
    with torch.no_grad():
        gates = model.gates(beta)
        if gates[0].scale.shape[0] != 1:
            raise BetaError(f"fold takes one beta; got {gates[0].scale.shape[0]}")
        with model.resting():
            plain = copied(model.base)
        for module in plain.modules():
            _remove_hooks(module)
        for layer, gate in zip(model.plan.gated, gates, strict=True):
            target = plain.get_submodule(layer.at)
            kind = kind_of(target)
            assert kind is not None
            dtype = next(target.parameters()).dtype
            scale, shift = (None if part is None else part[0].to(dtype) for part in gate)
            assert scale is not None
            if layer.on_input:
                kind.fold_input(target, scale)
            else:
                kind.fold(target, Gate(scale, shift))
    return plain


def _remove_hooks(layer: nn.Module) -> None:
    forward = vars(layer).get("forward")
    if isinstance(forward, MethodType) and (forward.__self__, forward.__func__) == (layer, type(layer).forward):
        del layer.forward  # what an evaluation in another thread leaves in a copy
    for hooks in (layer._forward_hooks, layer._forward_pre_hooks):
        for key, hook in list(hooks.items()):
            if isinstance(hook, GateHook | InputHook | NonlinearityHook) or isinstance(
                getattr(hook, "__self__", None), RecurrentHook
            ):
                del hooks[key]
                layer._forward_hooks_always_called.pop(key, None)
                layer._forward_pre_hooks_with_kwargs.pop(key, None)
