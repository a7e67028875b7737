"""Read models back from disk."""

import copy
from pathlib import Path
from typing import Any

from torch import nn

from multirate.beta import BetaRange
from multirate.errors import DataError
from multirate.models import build
from multirate.plan import GatedLayer, Plan
from multirate.saving import read_description, read_tensors
from multirate.wrapper import MultiRate


def load(folder: str | Path, base: nn.Module | None = None) -> nn.Module:
    """Read a model that :func:`multirate.save` wrote.

    Args:
        folder: the model's folder.
        base: an instance of the saved VAE's class, needed unless it is a built-in network; it is copied.

    Returns:
        The plain or multi-rate model, in evaluation mode, on the CPU.

    Raises:
        DataError: if a file is missing or damaged, or the tensors do not fit the network.
        ConversionError: if the gated layers do not fit the network.
    """
    description, tensors = read_description(folder), read_tensors(folder)
    if base is not None:
        network = copy.deepcopy(base)
    elif description["model"] is not None:
        network = build(description["model"], **description["options"])
    else:
        raise DataError(f"{folder} holds a {description['class']}, which is not built in; pass an instance as base=...")
    model = network if description["multirate"] is None else _multirate(network, description["multirate"])
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if name in tensors:
            value.data = value.data.to(tensors[name].dtype)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise DataError(
            f"the tensors of {folder} do not fit {type(network).__name__}: {' '.join(str(error).split())}"
        ) from error
    return model.eval()


def _multirate(network: nn.Module, description: dict[str, Any]) -> MultiRate:
    layers = tuple(GatedLayer(**layer) for layer in description["gated"])
    return MultiRate(network, BetaRange(*description["beta_range"]), Plan(layers))
