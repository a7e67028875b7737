"""The optimizer of a run: which parameters take which step sizes."""

from typing import Any

import torch
from torch import nn

from multirate.errors import UsageError
from multirate.training.config import TrainConfig
from multirate.wrapper import MultiRate

RESPONSE_LEARNING_RATE_FACTOR = 7.5


def response_learning_rate(config: TrainConfig) -> float:
    """Return the step size of the gates of a multi-rate model's layers."""
    chosen = config.response_learning_rate
    return RESPONSE_LEARNING_RATE_FACTOR * config.learning_rate if chosen is None else chosen


def optimizer_for(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Make the optimizer of a model's trainable parameters.

    Args:
        model: plain or multi-rate, in the groups of :func:`parameter_groups`.
        config: of the run.

    Returns:
        Adam in its fused form, or Adamax.

    Raises:
        UsageError: if every parameter is frozen.
    """
    groups = parameter_groups(
        model,
        config.learning_rate,
        response_learning_rate=response_learning_rate(config),
        weight_decay=config.weight_decay,
    )
    betas = (0.9, config.adam_beta2)
    if config.optimizer == "adamax":
        return torch.optim.Adamax(groups, betas=betas)
    return torch.optim.Adam(groups, betas=betas, fused=True)


def parameter_groups(
    model: nn.Module,
    learning_rate: float = TrainConfig.learning_rate,
    *,
    response_learning_rate: float | None = None,
    weight_decay: float = 0.0,
) -> list[dict[str, Any]]:
    """Return a model's trainable parameters in groups, for the optimizer of a loop of one's own; ``fit`` uses the same.

    Gates of layers step further than the rest, and weight decay leaves gates and thresholds alone: a gate of 0 is shut.

    Args:
        model: plain, multi-rate, or a module that holds a multi-rate one, such as a ``LightningModule``.
        learning_rate: step size of the base and of the latents' thresholds.
        response_learning_rate: step size of the gates of layers; None: 7.5 times ``learning_rate``.
        weight_decay: of the base's parameters.

    Returns:
        Groups with ``params``, ``lr`` and ``weight_decay``, as ``torch.optim`` takes them.

    Raises:
        UsageError: if every parameter is frozen.
    """
    if response_learning_rate is None:
        response_learning_rate = RESPONSE_LEARNING_RATE_FACTOR * learning_rate
    responses = [module.response for module in model.modules() if isinstance(module, MultiRate)]
    named = [entry for response in responses for entry in response.named_parameters()]
    gates = [parameter for name, parameter in named if name != "thresholds"]
    of_response = {id(parameter) for _, parameter in named}
    base = [parameter for parameter in model.parameters() if id(parameter) not in of_response]
    thresholds = [parameter for name, parameter in named if name == "thresholds"]
    parts = (
        (base, learning_rate, weight_decay),
        (thresholds, learning_rate, 0.0),
        (gates, response_learning_rate, 0.0),
    )
    groups = [
        {"params": [p for p in parameters if p.requires_grad], "lr": step_size, "weight_decay": decay}
        for parameters, step_size, decay in parts
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise UsageError("every parameter of the model is frozen; nothing to train")
    return groups
