"""Read models back from disk."""

import copy
from pathlib import Path
from typing import Any

from torch import nn

from multirate.beta import BetaRange
from multirate.errors import ConversionError, DataError
from multirate.models import build
from multirate.plan import GatedLayer, Plan
from multirate.saving import DESCRIPTION, read_description, read_tensors
from multirate.wrapper import MultiRate


def load(folder: str | Path, base: nn.Module | None = None) -> nn.Module:
    """Read a model that :func:`multirate.save` wrote.

    Args:
        folder: the model's folder.
        base: an instance of the saved VAE's class, needed unless it is a built-in network; it is copied.

    Returns:
        The plain or multi-rate model, in evaluation mode, on the CPU.

    Raises:
        DataError: if a file is missing, damaged or of wrong content, or the tensors do not fit the network.
        ConversionError: if the gated layers do not fit the network.
    """
    description, tensors = read_description(folder), read_tensors(folder)
    try:
        network = copy.deepcopy(base) if base is not None else _built_in(description, folder)
        model = network if description["multirate"] is None else _multirate(network, description["multirate"])
    except ConversionError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise DataError(
            f"{Path(folder) / DESCRIPTION} does not describe a model: {reason}; save the model again"
        ) from error
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


def _built_in(description: dict[str, Any], folder: str | Path) -> nn.Module:
    if description["model"] is None:
        raise DataError(f"{folder} holds a {description['class']}, which is not built in; pass an instance as base=...")
    return build(description["model"], **description["options"])


def _multirate(network: nn.Module, description: dict[str, Any]) -> MultiRate:
    layers = tuple(GatedLayer(**layer) for layer in description["gated"])
    return MultiRate(network, BetaRange(**description["beta_range"]), Plan(layers))
