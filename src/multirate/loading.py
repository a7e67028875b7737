"""Read models back from disk."""

import copy
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from multirate.beta import BetaRange
from multirate.errors import ConversionError, DataError
from multirate.models import build
from multirate.plan import GatedLayer, Plan
from multirate.saving import DESCRIPTION, TENSORS, read_description, read_tensors
from multirate.seeding import preserved_rng
from multirate.wrapper import MultiRate

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Numbers that a network makes besides its parameters: buffers, trials.
_SLACK = 1 << 20
# What building a network raises on a description that is no network's.
_UNFIT = (TypeError, ValueError, AttributeError, IndexError, OverflowError, ArithmeticError, RuntimeError)


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
        network = copy.deepcopy(base) if base is not None else _built_in(description, tensors, folder)
        model = network if description["multirate"] is None else _multirate(network, description["multirate"])
    except ConversionError as error:
        raise ConversionError(f"{folder}: {error}") from error
    except (*_UNFIT, KeyError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise DataError(
            f"{Path(folder) / DESCRIPTION} does not describe a model: {reason}; save the model again"
        ) from error
    parameters = dict(model.named_parameters())
    for name, value in (*parameters.items(), *model.named_buffers()):
        if name in tensors:
            _check_numbers(name, tensors[name], value, is_parameter=name in parameters, folder=folder)
            value.data = value.data.to(tensors[name].dtype)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise DataError(
            f"the tensors of {folder} do not fit {type(network).__name__}: {' '.join(str(error).split())}"
        ) from error
    return model.eval()


def _check_numbers(name: str, stored: Tensor, own: Tensor, *, is_parameter: bool, folder: str | Path) -> None:
    """Raise unless numbers are of the network's kind there, and finite; a buffer may hold infinities."""
    kinds = _FLOATS if own.is_floating_point() else (own.dtype,)
    if stored.dtype not in kinds:
        raise DataError(f"{name} of {folder} is {stored.dtype}, not {own.dtype}; save the model again")
    if stored.is_floating_point() and not bool((stored.isfinite() if is_parameter else ~stored.isnan()).all()):
        raise DataError(f"{name} of {folder} is not finite; save the model of an earlier checkpoint")


def _built_in(description: dict[str, Any], tensors: dict[str, Tensor], folder: str | Path) -> nn.Module:
    if description["model"] is None:
        raise DataError(f"{folder} holds a {description['class']}, which is not built in; pass an instance as base=...")
    options = description["options"]
    stored = sum(tensor.numel() for tensor in tensors.values())
    _check_sizes(options, stored)
    with preserved_rng(), _Budget(stored):  # initial weights, which are replaced
        return build(description["model"], **options)


class _Budget(TorchFunctionMode):
    """While it is entered, no more numbers are made than a network of so many parameters needs."""

    def __init__(self, stored: int) -> None:
        super().__init__()
        self._stored = stored
        self._left = _SLACK + 4 * stored

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        if function in (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn):
            size = options.get("size", args[:1] if function is torch.full else args)
            sides = size[0] if len(size) == 1 and isinstance(size[0], tuple | list) else size
            self._left -= math.prod(side for side in sides if isinstance(side, int))
            if self._left < 0:
                raise ValueError(f"its network needs far more numbers than the {self._stored:,} of {TENSORS}")
        return function(*args, **options)


def _check_sizes(options: Any, stored: int) -> None:
    """Raise ``ValueError`` if an option is a width or a count that so many stored numbers cannot be of."""
    if isinstance(options, dict | list):
        if len(options) > stored:
            raise ValueError(f"it has {len(options):,} options in a row")
        for value in options.values() if isinstance(options, dict) else options:
            _check_sizes(value, stored)
    elif isinstance(options, int) and abs(options) > stored:
        raise ValueError(f"{options} is larger than the whole network")


def _multirate(network: nn.Module, description: dict[str, Any]) -> MultiRate:
    layers = tuple(GatedLayer(**layer) for layer in description["gated"])
    return MultiRate(network, BetaRange(**description["beta_range"]), Plan(layers))
