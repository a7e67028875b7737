"""Make a multi-rate model of any VAE."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from multirate.beta import BetaRange
from multirate.errors import BetaError, ConversionError
from multirate.latents import Name
from multirate.layers import copied, kind_of
from multirate.plan import Patterns, Plan, plan
from multirate.response import Gate
from multirate.wrapper import MultiRate

__all__ = ["MultiRate", "Plan", "convert", "plan"]

_DEAD = 1e-3
# Nats of log beta by which every latent's threshold is above preserve_at.
_OPEN = 1.0


def convert(
    base: nn.Module,
    beta_range: BetaRange | None = None,
    *,
    encoder: Patterns | None = None,
    decoder: Patterns | None = None,
    mean: Name = None,
    log_variance: Name = None,
    latent_input: Name = None,
    ungated: Patterns = (),
    response: str | Mapping[str, str] = "default",
    preserve_at: float | None = None,
    example: Any = None,
) -> MultiRate:
    r"""Make a multi-rate model of a VAE; the VAE itself is not touched.

    With ``preserve_at`` the layers' gates start the same at every beta, the latents' thresholds start where every
    latent is open at that beta, and the copy's weights are divided by those starting gates, so that the model computes
    there what the base computes: a trained VAE becomes multi-rate by fine-tuning. As with :func:`multirate.fold`, no
    gated layer's weight may be used outside that layer's own call.

    Args:
        base: any ``nn.Module``; it is copied.
        beta_range: the range of beta to serve, ``[0.01, 10]`` by default.
        encoder: as in :func:`plan`.
        decoder: as in :func:`plan`.
        mean: as in :func:`plan`.
        log_variance: as in :func:`plan`.
        latent_input: as in :func:`plan`.
        ungated: as in :func:`plan`.
        response: as in :func:`plan`.
        preserve_at: a beta of the range at which to compute what the base computes.
        example: as in :func:`plan`.

    Returns:
        The multi-rate model, in the base's training or evaluation mode.

    Raises:
        ConversionError: as :func:`plan`; if the base is multi-rate already; if ``preserve_at`` meets shared parameters
            or a gate that starts shut.
        BetaError: if ``preserve_at`` is not in the range.
    """
    if any(isinstance(module, MultiRate) for module in base.modules()):
        raise ConversionError("the model is multi-rate already; convert its base, or fold it first")
    beta_range = beta_range or BetaRange()
    layers = plan(
        base,
        encoder=encoder,
        decoder=decoder,
        mean=mean,
        log_variance=log_variance,
        latent_input=latent_input,
        ungated=ungated,
        response=response,
        example=example,
    )
    model = MultiRate(copied(base), beta_range, layers)
    model.training = model.response.training = base.training
    if preserve_at is not None:
        _preserve(model, preserve_at)
    return model


def _preserve(model: MultiRate, beta: float) -> None:
    shared = _shared_parameters(model.base)
    with torch.no_grad():
        model.response.weight.zero_()
        if model.response.thresholds is not None:
            model.beta_range.check(beta)
            open_there = model.beta_range.standardize(beta) + _OPEN / model.beta_range.log_std
            model.response.thresholds.clamp_(min=float(open_there))
        gates = model.gates(beta)
        if gates[0].scale.shape[0] != 1:
            raise BetaError(f"preserve_at takes one beta; got {gates[0].scale.shape[0]}")
        for layer, gate in zip(model.plan.gated, gates, strict=True):
            scale = gate.scale[0]
            if _is_identity(gate):
                continue
            if float(scale.abs().min()) < _DEAD:
                raise ConversionError(
                    f"preserve_at={beta:g}: a gate of {layer.at!r} is shut there; choose another response"
                )
            target = model.base.get_submodule(layer.at)
            if any(id(p) in shared for p in target.parameters(recurse=False)):
                raise ConversionError(
                    f"preserve_at={beta:g}: {layer.at!r} shares a parameter with another layer, which cannot be "
                    "rescaled for one alone; use response='film', whose gates start at 1"
                )
            kind = kind_of(target)
            assert kind is not None
            inverse = 1 / scale.to(next(target.parameters()).dtype)
            if layer.on_input:
                kind.fold_input(target, inverse)
            else:
                shift = None if gate.shift is None else -gate.shift[0].to(inverse.dtype) * inverse
                kind.fold(target, Gate(inverse, shift))


def _is_identity(gate: Gate) -> bool:
    return bool((gate.scale == 1).all()) and (gate.shift is None or bool((gate.shift == 0).all()))


def _shared_parameters(base: nn.Module) -> set[int]:
    owners: dict[int, int] = {}
    for module in base.modules():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    return {parameter for parameter, count in owners.items() if count > 1}
