"""What both exporters need around a trace: dynamic axes, silence, and the one line of an error that says why."""

import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_EXPECTED_WARNINGS: tuple[tuple[str, type[Warning]], ...] = (
    (r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning),
    (r"_check_is_size will be removed in a future PyTorch release", FutureWarning),
    # A gated recurrent layer has its gated weights in this list while it runs, and its own again afterwards.
    (r"The tensor attributes? .*_flat_weights.* assigned during export", UserWarning),
    (r"# The axis name: \S+ will not be used, since it shares the same shape constraints", UserWarning),
)
# The first reports, operator by operator, that torchvision is not installed; the others, at length, what an error says.
_TALKATIVE = (
    "torch.onnx._internal.exporter._registration",
    "torch.export._trace",
    "torch.fx.experimental.symbolic_shapes",
)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what the exporters say of themselves and of libraries that they do not need, and nothing else."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    for logger in loggers:
        logger.addFilter(_nothing)
    try:
        with warnings.catch_warnings():
            for message, category in _EXPECTED_WARNINGS:
                warnings.filterwarnings("ignore", message=message, category=category)
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    return False


def first_cause(error: BaseException) -> str:
    """Return the first line of the innermost error: an exporter wraps it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def dynamic_shapes(
    module: nn.Module, inputs: Mapping[str, Tensor], dynamic: Mapping[str, Mapping[int, str]]
) -> tuple[Any, ...]:
    """Return dynamic axes as :func:`torch.export.export` takes them, equal names as equal sizes.

    Args:
        module: whose ``forward`` takes the inputs; those of its ``*args`` belong together.
        inputs: by name, in their order.
        dynamic: by input, by axis the name of the size.
    """
    sizes = {size: torch.export.Dim(size) for axes in dynamic.values() for size in axes.values()}
    shapes = tuple({axis: sizes[size] for axis, size in dynamic.get(name, {}).items()} for name in inputs)
    kinds = [parameter.kind for parameter in inspect.signature(module.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        return shapes
    named = kinds.index(inspect.Parameter.VAR_POSITIONAL)
    return (*shapes[:named], shapes[named:])
