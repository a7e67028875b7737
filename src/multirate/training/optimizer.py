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

    Gates of layers step further than the rest, and weight decay leaves gates and thresholds alone: a gate of 0 is shut.

    Args:
        model: plain or multi-rate.
        config: of the run.

    Returns:
        Adam in its fused form, or Adamax.

    Raises:
        UsageError: if every parameter is frozen.
    """
    groups = _parameter_groups(model, config)
    betas = (0.9, config.adam_beta2)
    if config.optimizer == "adamax":
        return torch.optim.Adamax(groups, betas=betas)
    return torch.optim.Adam(groups, betas=betas, fused=True)


def _parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    named = dict(model.response.named_parameters()) if isinstance(model, MultiRate) else {}
    gates = [parameter for name, parameter in named.items() if name != "thresholds"]
    of_response = {id(parameter) for parameter in named.values()}
    base = [parameter for parameter in model.parameters() if id(parameter) not in of_response]
    thresholds = [parameter for name, parameter in named.items() if name == "thresholds"]
    parts = (
        (base, config.learning_rate, config.weight_decay),
        (thresholds, config.learning_rate, 0.0),
        (gates, response_learning_rate(config), 0.0),
    )
    groups = [
        {"params": [p for p in parameters if p.requires_grad], "lr": learning_rate, "weight_decay": decay}
        for parameters, learning_rate, decay in parts
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise UsageError("every parameter of the model is frozen; nothing to train")
    return groups
