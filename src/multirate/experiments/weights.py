"""A file of bare weights: names to tensors, as safetensors or as torch.save writes a state dict; no code in it runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from multirate.errors import DataError, UsageError
from multirate.reading import read_file, reason
from multirate.torchfile import read_torch

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict; one inside a checkpoint, under ``state_dict`` or ``model``, is found.

    Args:
        path: ``.safetensors``, or what ``torch.save`` wrote.

    Returns:
        Name to tensor, on the CPU.

    Raises:
        UsageError: if the file is of another kind, or holds no tensors by name.
        DataError: if it is damaged, or holds objects other than tensors and plain values.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path} is no file of weights; give a state dict in {', '.join(SUFFIXES)}, or a run's folder")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load(read_file(path))
        content: Any = read_torch(path, old=True)
    except (OSError, ValueError, SafetensorError) as error:
        raise DataError(
            f"cannot read the weights of {path}: {reason(error)}; save the model's state_dict() again"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise UsageError(f"{path} holds no weights by name; save a model's state_dict()")
    return {str(name): value for name, value in content.items()}


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Give a network bare weights, all of them and no others.

    Args:
        model: changed in place.
        weights: of :func:`read_weights`.
        path: where they are from, for messages.

    Raises:
        UsageError: naming the first weight that is missing, superfluous or of another shape.
    """
    own = model.state_dict()
    remedy = "choose the --model and its options (--latents, --hidden, --model-options) that the weights are of"
    for name in (*own, *weights):
        if name not in weights:
            raise UsageError(f"{path} has no {name}, which this {type(model).__name__} needs; {remedy}")
        if name not in own:
            raise UsageError(f"{path} has {name}, which this {type(model).__name__} does not; {remedy}")
        if weights[name].is_complex() or weights[name].layout != torch.strided or weights[name].is_meta:
            raise UsageError(f"{name} of {path} is no plain tensor of real numbers; save a model's state_dict()")
        ours, theirs = list(own[name].shape), list(weights[name].shape)
        if ours != theirs:
            raise UsageError(f"{name} of {path} is {theirs}, and this {type(model).__name__} needs {ours}; {remedy}")
    model.load_state_dict(dict(weights))
